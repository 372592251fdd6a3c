"""What the DeviceRegistry's events may follow from, and what they change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dpki.audit.acts import Act
from dpki.audit.evidence import broken, require
from dpki.audit.occurrence import Occurrence
from dpki.audit.state import Book, DeviceRecord, State
from dpki.model import Address, DeviceState, Hash32


@dataclass
class DeviceRules:
    """Rules of the devices' events."""

    state: State
    book: Book

    def apply(self, occurrence: Occurrence) -> Act | None:
        """Change the state as the event says, and return who has to have caused it.

        Raises:
            Broken: The event can't follow from the state.
        """
        handler = _HANDLERS.get(occurrence.name)
        if handler is None:
            broken("an event is one that the contract emits", "another event", occurrence.name)
        return handler(self, occurrence)

    def _enrolled(self, event: Occurrence) -> Act:
        device, registrar = self._device(event), self._registrar(event)
        known = self.book.device(device)
        require(known is None, "a device is enrolled once", "a device never enrolled", device)
        self.book.put_device(DeviceRecord(device, self._document(event), DeviceState.ACTIVE, 1))
        return Act(event, registrar, ("enroll",), bytes(12) + device)

    def _document_updated(self, event: Occurrence) -> None:
        known, nonce = self._active(event), event.values["nonce"]
        require(nonce == known.nonce, "a device's signatures follow", known.nonce, nonce)
        self.book.put_device(
            DeviceRecord(known.address, self._document(event), known.state, nonce + 1)
        )

    def _device_retired(self, event: Occurrence) -> Act:
        known, registrar = self._active(event), self._registrar(event)
        self.book.put_device(
            DeviceRecord(known.address, known.document, DeviceState.RETIRED, known.nonce)
        )
        return Act(event, registrar, ("retire",), bytes(12) + known.address)

    def _registrar_changed(self, event: Occurrence) -> Act | None:
        account, allowed = Address.parse(event.values["registrar"]), event.values["allowed"]
        self.state.registrars[account] = allowed
        if not self.state.is_created:
            require(allowed, "a domain begins with registrars", "an allowed one", allowed)
            return None
        return Act(event, self.state.governor, ("setRegistrar",), bytes(12) + account)

    def _device(self, event: Occurrence) -> Address:
        return Address.parse(event.values["device"])

    def _document(self, event: Occurrence) -> Hash32:
        document = Hash32(event.values["keyDocument"])
        require(any(document), "a device has a key document", "a digest", document)
        return document

    def _active(self, event: Occurrence) -> DeviceRecord:
        device = self._device(event)
        known = self.book.device(device)
        if known is None or known.state is not DeviceState.ACTIVE:
            broken("only an active device changes", "an active device", device)
        return known

    def _registrar(self, event: Occurrence) -> Address:
        registrar = Address.parse(event.values["registrar"])
        require(
            self.state.registrars.get(registrar, False),
            "a registrar enrols and retires devices",
            "a registrar",
            registrar,
        )
        return registrar


_HANDLERS: Mapping[str, Callable[[DeviceRules, Occurrence], Act | None]] = {
    "DeviceEnrolled": DeviceRules._enrolled,
    "KeyDocumentUpdated": DeviceRules._document_updated,
    "DeviceRetired": DeviceRules._device_retired,
    "RegistrarChanged": DeviceRules._registrar_changed,
}
