"""The admin's names for CAs and devices. The chain knows only ids and addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from dpki.config.values import verify_name
from dpki.devices.document import KeyDocument, encode_key_document, parse_key_document
from dpki.errors import UsageError
from dpki.issuance.database import Database, Scalar
from dpki.issuance.selection import FLEET, verify_labels
from dpki.model import Address, AuthorityId


@dataclass(frozen=True)
class NamedDevice:
    """A device under its local name.

    Attributes:
        document: Its newest key document that is known here; the chain says whether it is current.
        labels: What else is to be remembered of it, such as its site; its fleet is one of them.
    """

    name: str
    address: Address
    document: KeyDocument
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def fleet(self) -> str | None:
        """The fleet that it belongs to, if any."""
        return self.labels.get(FLEET)


class Index:
    """The index of names in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_authority(self, name: str, ca: AuthorityId) -> None:
        """Record a CA's name; the same again changes nothing.

        Raises:
            UsageError: The name or the CA is already taken by another.
        """
        with self._database.transaction():
            for taken, identifier in self.authorities().items():
                if (taken, identifier) == (name, ca):
                    return
                if taken == name or identifier == ca:
                    raise UsageError(f"the name {taken} already stands for CA {identifier}")
            self._database.change(
                "INSERT INTO authorities VALUES (?, ?)", verify_name(name), bytes(ca)
            )

    def authorities(self) -> dict[str, AuthorityId]:
        """Return every named CA, by name."""
        rows = self._database.rows("SELECT name, id FROM authorities ORDER BY name")
        with self._database.decoded():
            return {cast(str, name): AuthorityId(cast(bytes, id)) for name, id in rows}

    def find_authority(self, name: str) -> AuthorityId:
        """Return the CA of this name.

        Raises:
            UsageError: There is none.
        """
        ca = self.authorities().get(name)
        if ca is None:
            raise UsageError(
                f"there is no CA named {name[:80]!r} here",
                hint="see the names with: dpki ca list; make one with: dpki ca create",
            )
        return ca

    def add_device(
        self,
        name: str,
        address: Address,
        document: KeyDocument,
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Record a device; the same again takes its newer key document, and labels on top.

        Raises:
            UsageError: The name or the device is already taken by another, or a label is none.
        """
        verify_labels(labels)
        with self._database.transaction():
            self.verify_free(name, address)
            self._note_sealing(address, document)
            self._database.change(
                "INSERT INTO devices (name, address, document) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET document = excluded.document",
                verify_name(name),
                bytes(address),
                encode_key_document(document),
            )
            self._label(address, labels)

    def rename_device(self, name: str, new: str) -> None:
        """Give a device another name.

        Certificates keep the name that they were issued for.

        Raises:
            UsageError: There is no such device, or the new name is none, or taken.
        """
        with self._database.transaction():
            self.find_device(name)
            if self._devices("WHERE name = ?", verify_name(new)):
                raise UsageError(
                    f"the name {new} is taken",
                    hint="choose another name; see them with: dpki device list",
                )
            self._database.change("UPDATE devices SET name = ? WHERE name = ?", new, name)

    def label_devices(
        self, devices: Iterable[NamedDevice], labels: Mapping[str, str], without: Iterable[str] = ()
    ) -> None:
        """Set labels of devices, and take some off; all of it or nothing.

        Args:
            without: Keys; those that a device doesn't have are no error.

        Raises:
            UsageError: A label is none.
        """
        verify_labels(labels)
        keys = tuple(without)
        with self._database.transaction():
            for device in devices:
                for key in keys:
                    self._database.change(
                        "DELETE FROM labels WHERE device = ? AND key = ?",
                        bytes(device.address),
                        key,
                    )
                self._label(device.address, labels)

    def verify_writable(self) -> None:
        """Find out, before a transaction is sent, whether a name could be recorded.

        Raises:
            DpkiError: It could not.
        """
        self._database.verify_writable()

    def verify_free(self, name: str, address: Address) -> None:
        """Refuse a name that stands for another device, and a device that has another name.

        Raises:
            UsageError: One of the two.
        """
        for device in self._devices("WHERE name = ? OR address = ?", name, bytes(address)):
            if (device.name == name) != (device.address == address):
                raise UsageError(
                    f"the name {device.name} already stands for device {device.address}",
                    hint="choose another name; see them with: dpki device list",
                )

    def update_document(self, address: Address, document: KeyDocument) -> None:
        """Record a device's newer key document; one without a name stays unknown."""
        with self._database.transaction():
            self._note_sealing(address, document)
            self._database.change(
                "UPDATE devices SET document = ? WHERE address = ?",
                encode_key_document(document),
                bytes(address),
            )

    def devices(self) -> tuple[NamedDevice, ...]:
        """Return every named device, by name."""
        return self._devices("")

    def find_device(self, name: str) -> NamedDevice:
        """Return the device of this name.

        Raises:
            UsageError: There is none.
        """
        for device in self._devices("WHERE name = ?", name):
            return device
        raise UsageError(
            f"there is no device named {name[:80]!r} here",
            hint="see the names with: dpki device list; enrol one with: dpki device enroll",
        )

    def device_at(self, address: Address) -> NamedDevice | None:
        """Return the device with this address, if it has a name here."""
        for device in self._devices("WHERE address = ?", bytes(address)):
            return device
        return None

    def name_of(self, address: Address) -> str | None:
        """Return what the device with this address is called here; None for one without a name.

        Its key document is not read, as it is for a `NamedDevice`.
        """
        for (name,) in self._database.rows(
            "SELECT name FROM devices WHERE address = ?", bytes(address)
        ):
            return cast(str, name)
        return None

    def _devices(self, where: str, *values: Scalar) -> tuple[NamedDevice, ...]:
        rows = self._database.rows(
            f"SELECT name, address, document FROM devices {where} ORDER BY name", *values
        )
        with self._database.decoded():
            labels = self._labels(where, *values)
            return tuple(
                NamedDevice(
                    cast(str, name),
                    Address(cast(bytes, address)),
                    parse_key_document(cast(bytes, document)),
                    MappingProxyType(labels.get(cast(bytes, address), {})),
                )
                for name, address, document in rows
            )

    def _labels(self, where: str, *values: Scalar) -> dict[bytes, dict[str, str]]:
        found: dict[bytes, dict[str, str]] = {}
        for device, key, value in self._database.rows(
            "SELECT device, key, value FROM labels WHERE device IN"
            f" (SELECT address FROM devices {where}) ORDER BY key",
            *values,
        ):
            found.setdefault(cast(bytes, device), {})[cast(str, key)] = cast(str, value)
        return found

    def _note_sealing(self, address: Address, document: KeyDocument) -> None:
        """Where a document brings other sealing keys, have nothing that came before prove them."""
        known = self.device_at(address)
        if known is not None and known.document.sealing != document.sealing:
            self._database.change(
                "UPDATE devices SET sealed_after = (SELECT coalesce(max(number), 0) FROM batches)"
                " WHERE address = ?",
                bytes(address),
            )

    def _label(self, address: Address, labels: Mapping[str, str]) -> None:
        for key, value in labels.items():
            self._database.change(
                "INSERT INTO labels VALUES (?, ?, ?)"
                " ON CONFLICT (device, key) DO UPDATE SET value = excluded.value",
                bytes(address),
                key,
                value,
            )
