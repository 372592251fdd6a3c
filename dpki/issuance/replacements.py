"""Devices that take the place of others: which are under way, and what they are owed.

A replacement is noted before anything is done. What is left of it is read off the chain and the
journal each time, so that a run that was killed at any moment is gone on with by the same command.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from dpki.errors import UsageError
from dpki.issuance.batch import JournaledBatch, JournaledCertificate
from dpki.issuance.database import Database, Scalar
from dpki.issuance.reissue import Holder, Renewals, Standings, plan_renewals
from dpki.model import Address, from_timestamp, to_timestamp


@dataclass(frozen=True)
class Replacement:
    """One device in the place of another.

    Attributes:
        name: The old one's name, which the new one gets.
        begun: When it was begun: what the old one held then is what the new one is owed.
        is_done: Whether the new one has it all.
    """

    old: Address
    new: Address
    name: str
    begun: datetime
    is_done: bool = False


class Replacements:
    """The replacements in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, wish: Replacement) -> Replacement:
        """Note a replacement; one of the same device that is under way keeps when it was begun.

        Raises:
            UsageError: The old device is replaced already, or the new one takes another's place.
        """
        with self._database.transaction():
            for found in self._load("WHERE old = ? OR new = ?", bytes(wish.old), bytes(wish.new)):
                if found.old != wish.old:
                    raise UsageError(f"device {wish.new} takes the place of {found.name} already")
                if found.is_done:
                    raise UsageError(f"device {wish.old} is replaced already, by {found.new}")
            self._database.change(
                "INSERT INTO replacements (old, new, name, begun) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (old) DO UPDATE SET new = excluded.new",
                bytes(wish.old),
                bytes(wish.new),
                wish.name,
                to_timestamp(wish.begun.replace(microsecond=0)),
            )
        (noted,) = self._load("WHERE old = ?", bytes(wish.old))
        return noted

    def of_new(self, device: Address) -> Replacement | None:
        """Return the replacement by this device; None where it takes nobody's place."""
        for found in self._load("WHERE new = ?", bytes(device)):
            return found
        return None

    def owing(self, replacement: Replacement) -> tuple[Replacement, ...]:
        """Return this one, and those before it that were never done, the newest first.

        A device that is replaced before it has got everything passes on what it is owed.
        """
        chain = [replacement]
        while (before := self.of_new(chain[-1].old)) is not None and not before.is_done:
            chain.append(before)
        return tuple(chain)

    def finish(self, replacement: Replacement) -> None:
        """Note that the new device has all that it was owed."""
        with self._database.transaction():
            for one in self.owing(replacement):
                self._database.change(
                    "UPDATE replacements SET done = 1 WHERE old = ?", bytes(one.old)
                )

    def _load(self, where: str, *values: Scalar) -> tuple[Replacement, ...]:
        rows = self._database.rows(
            f"SELECT old, new, name, begun, done FROM replacements {where}", *values
        )
        with self._database.decoded():
            return tuple(
                Replacement(
                    Address(cast(bytes, old)),
                    Address(cast(bytes, new)),
                    cast(str, name),
                    from_timestamp(cast(int, begun)),
                    is_done=bool(done),
                )
                for old, new, name, begun, done in rows
            )


def retired_name(name: str, taken: Iterable[str]) -> str:
    """Return what a device is called once another has its name.

    It begins otherwise, so that no pattern such as `gate-*` means a retired device too.
    """
    names = set(taken)
    number = 1
    while (free := f"retired-{number}.{name}"[:64]) in names:
        number += 1
    return free


def plan_replacement(old: Standings, new: Standings) -> Renewals:
    """Decide which of one CA's certificates the new device is owed.

    Of each set of principals the newest counts, as in `plan_renewals`: what was revoked before is
    not brought back to life, and what the new device was given and lost is not given again.

    Args:
        old: The old device's, as they stood when the replacement was begun.
        new: The new device's, as they stand now.
    """
    return plan_renewals(old, new, _principals_of)


def batches_of(batches: Iterable[JournaledBatch], device: Address) -> tuple[JournaledBatch, ...]:
    """Return the batches that hold a certificate of this device."""
    return tuple(b for b in batches if any(c.device == device for c in b.certificates))


def _principals_of(certificate: JournaledCertificate) -> Holder:
    return (frozenset(certificate.certificate.principals),)
