"""Which one-time keys of devices are used: each for one certificate (docs/formats.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.devices.document import Prekey, ed25519_of
from dpki.issuance.database import Database
from dpki.model import Address


@dataclass(frozen=True)
class UsedPrekey:
    """What a certificate doesn't say of the one-time key that it is for."""

    number: int
    x25519: bytes

    def for_certificate(self, blob: bytes) -> Prekey:
        """Return the whole key, given the certificate."""
        ssh = ed25519_of(parse_ssh_certificate(blob).subject_key)
        return Prekey(self.number, ssh, self.x25519)


class UsedPrekeys:
    """The used one-time keys in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, batch: int, serial: int, device: Address, prekey: Prekey) -> None:
        """Record that a certificate is for this key.

        Raises:
            DpkiError: Another one is, in a batch that is not void.
        """
        self._database.change(
            "INSERT INTO prekeys VALUES (?, ?, ?, ?, ?)",
            batch,
            serial,
            bytes(device),
            prekey.number,
            prekey.x25519,
        )

    def of_batch(self, batch: int) -> dict[int, UsedPrekey]:
        """Return the keys that a batch's certificates are for, by serial."""
        rows = self._database.rows(
            "SELECT serial, number, x25519 FROM prekeys WHERE batch = ?", batch
        )
        return {
            cast(int, serial): UsedPrekey(cast(int, number), cast(bytes, x25519))
            for serial, number, x25519 in rows
        }
