"""The agent's own database: its memory, and the anchored certificates that it has checked.

SQLite in rollback-journal mode, owner only. One transaction a run: killed at any instruction, the
agent finds the old state or the new one (claim T7).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from dpki.agent.memory import Mark, Memory, Seen
from dpki.agent.observation import Known, WatchedBatch
from dpki.model import (
    Address,
    AuthorityId,
    Block,
    Entry,
    Hash32,
    from_timestamp,
    to_timestamp,
)
from dpki.sqlite import Schema, decoded, open_database, translated

FILE_NAME = "agent.db"

_TABLES = """
CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE seen (
    authority BLOB PRIMARY KEY, revoked BLOB NOT NULL, revoked_below INTEGER NOT NULL,
    is_retired INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE certificate (
    authority BLOB, serial INTEGER, hash BLOB NOT NULL, device BLOB NOT NULL,
    not_after INTEGER NOT NULL, locator BLOB NOT NULL, block INTEGER NOT NULL,
    PRIMARY KEY (authority, serial)
) STRICT, WITHOUT ROWID;
CREATE TABLE coverage (
    authority BLOB PRIMARY KEY, serial INTEGER NOT NULL, block INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_WATCHED = """
CREATE TABLE watched (
    authority BLOB, first_serial INTEGER, count INTEGER NOT NULL, block INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (authority, first_serial)
) STRICT, WITHOUT ROWID;
"""

# A device's, not nobody's.
_HELD = f"device != x'{'00' * 20}'"

_HOLDERS = f"""
CREATE TABLE retired (device BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE INDEX holder ON certificate (device) WHERE {_HELD};
"""

SCHEMA = Schema(
    "the agent's database",
    (_TABLES, _WATCHED, _HOLDERS),
    "move it away, and the agent reads the chain anew; it was not changed",
)


# Whether a row of `watched` is the batch of a row of `certificate`.
_HOLDS = (
    "certificate.authority = watched.authority AND certificate.serial >= watched.first_serial"
    " AND certificate.serial < watched.first_serial + watched.count"
)


@dataclass(frozen=True)
class Coverage:
    """How far a CA's certificates were read.

    Attributes:
        serial: Of a user CA, the first serial not yet read in a block that can't change any more;
            of a host CA, its next serial when it was looked at last.
        block: The block to go on from; what is known from later ones may still change.
    """

    serial: int
    block: int


class AgentState:
    """The open database; see `open_state`. What is wrong in it is a `DpkiError`, everywhere."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def memory(self) -> Memory:
        """Return what was remembered last."""
        with self._reading():
            rows = self._connection.execute("SELECT * FROM seen")
            seen = {
                AuthorityId(authority): Seen(parse_bitmap(revoked), below, bool(retired))
                for authority, revoked, below, retired in rows
            }
            retired = self._connection.execute("SELECT device FROM retired")
            return Memory(
                seen,
                self._mark("floor"),
                self._mark("candidate"),
                frozenset(Address(device) for (device,) in retired),
            )

    def reads_every_host(self) -> bool:
        """Whether coverage of host CAs is of every host's certificates, and not of leads."""
        with self._reading():
            return self._note("hosts") == "every"

    def save_every_host(self, every: bool) -> None:
        """Remember what coverage of host CAs is of."""
        self._save_note("hosts", "every" if every else "own")

    def coverage(self, authority: AuthorityId) -> Coverage | None:
        """Return how far the CA's certificates were read; None before the first time."""
        with self._reading():
            row = self._connection.execute(
                "SELECT serial, block FROM coverage WHERE authority = ?", (bytes(authority),)
            ).fetchone()
            return None if row is None else Coverage(*row)

    def known(self) -> tuple[Known, ...]:
        """Return every unexpired certificate that was checked."""
        with self._reading():
            rows = self._connection.execute("SELECT * FROM certificate ORDER BY authority, serial")
            # Thousands are of one CA, of nobody's device, in no store: each value is kept once.
            authority_of, device_of = cache(AuthorityId), cache(Address)
            locator_of, time_of = cache(Hash32), cache(from_timestamp)
            return tuple(
                Known(
                    authority_of(authority),
                    serial,
                    Entry(Hash32(hash), device_of(device), time_of(until), locator_of(locator)),
                    block,
                )
                for authority, serial, hash, device, until, locator, block in rows
            )

    def holders(self) -> tuple[Address, ...]:
        """Return every device that holds a certificate that was checked."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT DISTINCT device FROM certificate WHERE {_HELD} ORDER BY device"
            )
            return tuple(Address(device) for (device,) in rows)

    def watched(self) -> tuple[WatchedBatch, ...]:
        """Return every batch of which it is not final yet that its watchdogs confirmed it."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT authority, first_serial, count, block FROM watched WHERE NOT settled"
                " ORDER BY authority, first_serial"
            )
            return tuple(WatchedBatch(AuthorityId(authority), *rest) for authority, *rest in rows)

    def has_unwatched(self, authority: AuthorityId, first_serial: int) -> bool:
        """Whether a certificate from that serial on was read when the CA did not look watched."""
        with self._reading():
            ((found,),) = self._connection.execute(
                "SELECT EXISTS (SELECT 1 FROM certificate WHERE authority = ? AND serial >= ?"
                f" AND NOT EXISTS (SELECT 1 FROM watched WHERE {_HOLDS}))",
                (bytes(authority), first_serial),
            )
            return bool(found)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything inside or nothing of it."""
        with translated(self._path, SCHEMA):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back what a full disk has broken off.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def save_memory(self, memory: Memory) -> None:
        """Replace what is remembered."""
        self._connection.executemany(
            "REPLACE INTO seen VALUES (?, ?, ?, ?)",
            [
                (bytes(id), encode_bitmap(seen.revoked), seen.revoked_below, int(seen.is_retired))
                for id, seen in memory.seen.items()
            ],
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO retired VALUES (?)",
            [(bytes(device),) for device in sorted(memory.retired)],
        )
        self._save_mark("floor", memory.floor)
        self._save_mark("candidate", memory.candidate)

    def save_known(
        self,
        authority: AuthorityId,
        coverage: Coverage,
        certificates: Iterable[Known],
        watched: Iterable[WatchedBatch] = (),
    ) -> None:
        """Replace what is known of a CA from blocks that may have changed since.

        Args:
            coverage: Where reading goes on the next time.
            certificates: All that was found since the coverage before.
            watched: The batches among it that watchdogs have to confirm.
        """
        before = self.coverage(authority)
        since = (bytes(authority), -1 if before is None else before.block)
        self._connection.execute("DELETE FROM certificate WHERE authority = ? AND block > ?", since)
        self._connection.execute("DELETE FROM watched WHERE authority = ? AND block > ?", since)
        self._connection.executemany(
            "REPLACE INTO watched VALUES (?, ?, ?, ?, 0)",
            [(bytes(b.authority), b.first_serial, b.count, b.block) for b in watched],
        )
        self._connection.executemany(
            "REPLACE INTO certificate VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    bytes(known.authority),
                    known.serial,
                    bytes(known.entry.certificate_hash),
                    bytes(known.entry.device),
                    to_timestamp(known.entry.not_after),
                    bytes(known.entry.locator),
                    known.block,
                )
                for known in certificates
            ],
        )
        self._connection.execute(
            "REPLACE INTO coverage VALUES (?, ?, ?)",
            (bytes(authority), coverage.serial, coverage.block),
        )

    def forget_coverage(self, authority: AuthorityId) -> None:
        """Read the CA's certificates from the domain's first block again the next time."""
        self._connection.execute("DELETE FROM coverage WHERE authority = ?", (bytes(authority),))

    def forget_from(self, authority: AuthorityId, serial: int) -> bool:
        """Forget the CA's certificates from a serial on, and return whether there were any."""
        of = (bytes(authority), serial)
        gone = self._connection.execute(
            "DELETE FROM certificate WHERE authority = ? AND serial >= ?", of
        )
        self._connection.execute(
            "DELETE FROM watched WHERE authority = ? AND first_serial >= ?", of
        )
        return gone.rowcount > 0

    def rewind(self, authority: AuthorityId, block: int) -> None:
        """Read the CA's certificates after that block again the next time."""
        self._connection.execute(
            "UPDATE coverage SET serial = 1, block = MIN(block, ?) WHERE authority = ?",
            (block, bytes(authority)),
        )

    def settle(self, batches: Iterable[tuple[AuthorityId, int]]) -> None:
        """Stop asking about batches that count for ever, by CA and first serial."""
        self._connection.executemany(
            "UPDATE watched SET settled = 1 WHERE authority = ? AND first_serial = ?",
            [(bytes(authority), first) for authority, first in batches],
        )

    def forget_expired(self, by: datetime) -> None:
        """Forget the certificates that had expired by then, and batches that hold no others."""
        self._connection.execute(
            "DELETE FROM certificate WHERE not_after <= ?", (to_timestamp(by),)
        )
        self._connection.execute(
            f"DELETE FROM watched WHERE NOT EXISTS (SELECT 1 FROM certificate WHERE {_HOLDS})"
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with translated(self._path, SCHEMA), decoded(self._path, SCHEMA):
            yield

    def _note(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _save_note(self, key: str, value: str) -> None:
        self._connection.execute("REPLACE INTO note VALUES (?, ?)", (key, value))

    def _mark(self, key: str) -> Mark | None:
        text = self._note(key)
        if text is None:
            return None
        fields = json.loads(text)
        if fields is None:
            return None
        number, hash, time = fields["block"]
        return Mark(
            Block(number, Hash32.parse(hash), from_timestamp(time)),
            {AuthorityId.parse(id): serial for id, serial in fields["serials"].items()},
            {Address.parse(device): nonce for device, nonce in fields["nonces"].items()},
            # A mark that was written before there were watchdogs knows of none.
            {AuthorityId.parse(id): (v, s) for id, (v, s) in fields.get("watches", {}).items()},
            frozenset((AuthorityId.parse(id), s) for id, s in fields.get("accepted", ())),
        )

    def _save_mark(self, key: str, mark: Mark | None) -> None:
        fields = None
        if mark is not None:
            block = mark.block
            fields = {
                "block": [block.number, str(block.hash), to_timestamp(block.time)],
                "serials": {str(id): serial for id, serial in mark.serials.items()},
                "nonces": {str(device): nonce for device, nonce in mark.nonces.items()},
                "watches": {str(id): watch for id, watch in mark.watches.items()},
                "accepted": sorted((str(id), first) for id, first in mark.accepted),
            }
        self._save_note(key, json.dumps(fields))


@contextmanager
def open_state(directory: Path) -> Iterator[AgentState]:
    """Open the database in the device's folder, creating it if need be.

    Raises:
        ConfigError: It was written by a later version, or by somebody else; it is as it was.
        DpkiError: It can't be read or written.
    """
    path = directory / FILE_NAME
    connection = open_database(path, SCHEMA, "synchronous = FULL")
    try:
        yield AgentState(path, connection)
    finally:
        connection.close()


def encode_bitmap(serials: frozenset[int]) -> bytes:
    """Return serials as bits, the lowest first."""
    bits = bytearray(max(serials, default=0) // 8 + 1)
    for serial in serials:
        bits[serial // 8] |= 1 << serial % 8
    return bytes(bits)


def parse_bitmap(bits: bytes) -> frozenset[int]:
    """Return the serials that `encode_bitmap` made the bits of."""
    return frozenset(
        8 * index + bit
        for index, byte in enumerate(bits)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    )
