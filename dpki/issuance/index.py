"""The admin's names for CAs and devices. The chain knows only ids and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from dpki.config.values import verify_name
from dpki.devices.document import KeyDocument, encode_key_document, parse_key_document
from dpki.errors import UsageError
from dpki.issuance.database import Database
from dpki.model import Address, AuthorityId


@dataclass(frozen=True)
class NamedDevice:
    """A device under its local name.

    Attributes:
        document: Its newest key document that is known here; the chain says whether it is current.
    """

    name: str
    address: Address
    document: KeyDocument


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

    def add_device(self, name: str, address: Address, document: KeyDocument) -> None:
        """Record a device; the same again takes its newer key document.

        Raises:
            UsageError: The name or the device is already taken by another.
        """
        with self._database.transaction():
            self.verify_free(name, address)
            self._database.change(
                "INSERT INTO devices VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET document = excluded.document",
                verify_name(name),
                bytes(address),
                encode_key_document(document),
            )

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
        for device in self.devices():
            if (device.name == name) != (device.address == address):
                raise UsageError(
                    f"the name {device.name} already stands for device {device.address}",
                    hint="choose another name; see them with: dpki device list",
                )

    def update_document(self, address: Address, document: KeyDocument) -> None:
        """Record a device's newer key document; one without a name stays unknown."""
        self._database.change(
            "UPDATE devices SET document = ? WHERE address = ?",
            encode_key_document(document),
            bytes(address),
        )

    def devices(self) -> tuple[NamedDevice, ...]:
        """Return every named device, by name."""
        rows = self._database.rows("SELECT name, address, document FROM devices ORDER BY name")
        with self._database.decoded():
            return tuple(
                NamedDevice(
                    cast(str, name),
                    Address(cast(bytes, address)),
                    parse_key_document(cast(bytes, document)),
                )
                for name, address, document in rows
            )

    def find_device(self, name: str) -> NamedDevice:
        """Return the device of this name.

        Raises:
            UsageError: There is none.
        """
        for device in self.devices():
            if device.name == name:
                return device
        raise UsageError(
            f"there is no device named {name[:80]!r} here",
            hint="see the names with: dpki device list; enrol one with: dpki device enroll",
        )

    def device_at(self, address: Address) -> NamedDevice | None:
        """Return the device with this address, if it has a name here."""
        for device in self.devices():
            if device.address == address:
                return device
        return None
