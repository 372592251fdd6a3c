"""Where each sealed bundle is, and where it still has to go: the outbox."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from dpki.issuance.database import Database


class Place(enum.Enum):
    """What is known of a bundle in one store; the value is what the journal and people read."""

    KEPT = "kept"
    PENDING = "pending"
    """It could not be put there: in the outbox."""
    REMOVED = "removed"


@dataclass(frozen=True)
class Placement:
    """A bundle in a store.

    Attributes:
        batch: The journal's number of the batch.
        serial: The certificate's.
        store: The store's name.
    """

    batch: int
    serial: int
    store: str
    place: Place


class Placements:
    """The placements in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, placements: Iterable[Placement]) -> None:
        """Record what became of some, all together; what is newer counts."""
        with self._database.transaction():
            for one in placements:
                self._database.change(
                    "INSERT INTO placements VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (batch, serial, store) DO UPDATE SET state = excluded.state",
                    one.batch,
                    one.serial,
                    one.store,
                    one.place.value,
                )

    def load(self) -> dict[tuple[int, int], dict[str, Place]]:
        """Return the places of every bundle, by batch and serial, then by store."""
        found: dict[tuple[int, int], dict[str, Place]] = {}
        rows = self._database.rows("SELECT batch, serial, store, state FROM placements")
        with self._database.decoded():
            for batch, serial, store, state in rows:
                places = found.setdefault((cast(int, batch), cast(int, serial)), {})
                places[cast(str, store)] = Place(state)
        return found


@contextmanager
def journaled(placements: Placements, batch: int) -> Iterator[Callable[[int, str, bool], None]]:
    """Yield what is told of serials, stores and whether they have the bundle; record it at the end.

    Also where the block fails: which stores have what is then worth knowing most.
    """
    known: dict[tuple[int, str], bool] = {}

    def tell(serial: int, store: str, kept: bool) -> None:
        known[serial, store] = kept

    try:
        yield tell
    finally:
        if known:
            placements.record(
                Placement(batch, serial, store, Place.KEPT if kept else Place.PENDING)
                for (serial, store), kept in known.items()
            )
