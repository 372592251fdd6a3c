"""What devices said that they have installed: taken in once each, and never something older."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from dpki.bundle.seal import SealingSecrets
from dpki.devices.acknowledgement import (
    AcknowledgedCertificate,
    Stage,
    Statement,
    opening_of,
    verify_acknowledgement,
)
from dpki.errors import MalformedInput, OutOfSequence, WrongContext
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.model import Address, AuthorityId, DomainId, Hash32, from_timestamp, to_timestamp
from dpki.transport.base import MESSAGE_LIMIT, Message

Certificate = tuple[Address, AuthorityId, int, Hash32]
"""A certificate as a device names it: itself, CA, serial, hash."""


@dataclass(frozen=True)
class Heard:
    """The newest acknowledgement of a device.

    Attributes:
        digest: What it signed.
        block: The block that it decided from.
        mode: Who decides a login there.
        prekeys: How many one-time keys it had left.
        taken: When it was taken in.
    """

    sequence: int
    digest: Hash32
    block: int
    mode: str
    prekeys: int
    taken: datetime


class Acknowledgements:
    """The acknowledgements in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> dict[Address, Heard]:
        """Return the newest of each device."""
        return self._newest("")

    def newest_of(self, device: Address) -> Heard | None:
        """Return the newest of a device; None for one that has said nothing yet."""
        return self._newest("WHERE device = ?", bytes(device)).get(device)

    def _newest(self, where: str, *values: bytes) -> dict[Address, Heard]:
        rows = self._database.rows(
            "SELECT device, sequence, digest, block, mode, prekeys, taken FROM acknowledgements"
            f" {where}",
            *values,
        )
        with self._database.decoded():
            return {
                Address(cast(bytes, device)): Heard(
                    cast(int, sequence),
                    Hash32(cast(bytes, digest)),
                    cast(int, block),
                    cast(str, mode),
                    cast(int, prekeys),
                    from_timestamp(cast(int, taken)),
                )
                for device, sequence, digest, block, mode, prekeys, taken in rows
            }

    def stages(self) -> dict[Certificate, Stage]:
        """Return how far each certificate has come, as the devices said last."""
        rows = self._database.rows(
            "SELECT device, authority, serial, hash, stage FROM acknowledged"
        )
        with self._database.decoded():
            return {
                (
                    Address(cast(bytes, device)),
                    AuthorityId(cast(bytes, authority)),
                    cast(int, serial),
                    Hash32(cast(bytes, hash)),
                ): Stage(stage)
                for device, authority, serial, hash, stage in rows
            }

    def proven(self) -> frozenset[Address]:
        """Return the devices that opened what was sealed for the keys that their documents name."""
        rows = self._database.rows(
            "SELECT DISTINCT device FROM acknowledged JOIN devices ON device = address"
            " WHERE opened > sealed_after"
        )
        with self._database.decoded():
            return frozenset(Address(cast(bytes, device)) for (device,) in rows)

    def record(self, statement: Statement, now: datetime) -> None:
        """Record what a device said; a trigger refuses what is not newer.

        Of certificates that it was never issued nothing is kept: there is no end to what one that
        lies could name.

        Raises:
            DpkiError: It could not be recorded.
        """
        device = bytes(statement.device)
        with self._database.transaction():
            self._database.change(
                "INSERT INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (device) DO UPDATE SET sequence = excluded.sequence,"
                " digest = excluded.digest, block = excluded.block, mode = excluded.mode,"
                " prekeys = excluded.prekeys, taken = excluded.taken",
                device,
                statement.sequence,
                bytes(statement.digest),
                statement.block,
                statement.mode,
                statement.prekeys,
                to_timestamp(now),
            )
            for one, hash, batch in self._issued(statement):
                self._database.change(
                    "INSERT INTO acknowledged VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (device, authority, serial, hash)"
                    " DO UPDATE SET stage = excluded.stage, opened = excluded.opened",
                    device,
                    bytes(one.authority),
                    one.serial,
                    hash,
                    one.stage.value,
                    batch,
                )

    def _issued(self, statement: Statement) -> Iterator[tuple[AcknowledgedCertificate, bytes, int]]:
        """Yield those of a device's certificates that this journal has for it: hash and batch."""
        for one in statement.certificates:
            rows = self._database.rows(
                "SELECT certificate, batch FROM certificates JOIN batches ON batches.number = batch"
                " WHERE device = ? AND authority = ? AND serial = ?",
                bytes(statement.device),
                bytes(one.authority),
                one.serial,
            )
            for blob, batch in rows:
                if opening_of(statement.device, cast(bytes, blob)) == one.opening:
                    yield one, hashlib.sha256(cast(bytes, blob)).digest(), cast(int, batch)


def take_in(
    database: Database,
    message: Message,
    secret: SealingSecrets,
    domain: DomainId,
    now: datetime,
) -> Statement | None:
    """Check an acknowledgement and record it; return None for one that was taken in before.

    Args:
        secret: What acknowledgements are sealed for.

    Raises:
        CheckedFalse: It is forged, altered, oversized, for somebody else, of a device that has no
            name here, or older than what was taken in; nothing was recorded.
        DpkiError: It could not be recorded.
    """
    if message.is_oversized:
        raise MalformedInput(f"it is larger than {MESSAGE_LIMIT} bytes")
    statement = verify_acknowledgement(message.data, secret, domain)
    if statement.device != message.topic.device:
        raise WrongContext(f"it is of device {statement.device}, in another's place")
    if Index(database).name_of(statement.device) is None:
        raise WrongContext(f"device {statement.device} has no name here")
    heard = Acknowledgements(database)
    before = heard.newest_of(statement.device)
    if before is not None and before.digest == statement.digest:
        return None
    if before is not None and statement.sequence <= before.sequence:
        raise OutOfSequence(
            f"device {statement.device} said this as number {statement.sequence}, and number"
            f" {before.sequence} was taken in already",
            hint="somebody repeats an old message, or the device's clock was put back and its"
            " folder lost: see dpki agent status there",
        )
    heard.record(statement, now)
    return statement
