"""What an audit has seen, in one SQLite file: so that it goes on where it stood.

What a run of blocks changed and how far it got are one transaction: killed at any moment, the audit
resumes from the last whole one. The file is an index and no authority: whatever it says is held
against the chain's proven state at each audit's end, but for certificates' hashes, which are behind
the batches' roots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpki.audit.schema import SCHEMA
from dpki.audit.state import BatchRecord, CertificateRecord, DeviceRecord, State
from dpki.bundle import codec
from dpki.chain.layout import Progress
from dpki.chain.logs import Log
from dpki.model import (
    Address,
    Block,
    DeviceState,
    DomainId,
    Hash32,
    from_timestamp,
    to_timestamp,
)
from dpki.sqlite import DomainDatabase

_COUNTS_LIMIT = 65_536

_TABLES = (
    "progress",
    "batches",
    "certificates",
    "words",
    "devices",
    "councils",
    "council_logs",
)

_Row = tuple[Any, ...]


@dataclass(frozen=True)
class Seen:
    """How far an audit got.

    Attributes:
        block: Everything up to this block was replayed.
    """

    block: Block
    state: State
    counts: Counter[str]


class Index(DomainDatabase):
    """The open index of one trust domain: a `Book`; see `DomainDatabase`."""

    def __init__(self, path: Path, domain: DomainId) -> None:
        super().__init__(
            path,
            SCHEMA,
            str(domain),
            "name another file with --index",
            "journal_mode = WAL",
            "synchronous = NORMAL",
        )

    def clear(self) -> None:
        """Forget everything, so that the next audit begins at the first block."""
        with self.transaction():
            for table in _TABLES:
                self._connection.execute(f"DELETE FROM {table}")

    # -- progress ----------------------------------------------------------------------------------

    def seen(self) -> Seen | None:
        """Return how far the audit got; None where it never began."""
        row = self._row("SELECT block, hash, time, state, counts FROM progress")
        if row is None:
            return None
        number, hash, time, state, counts = row
        with self.decoded():
            return Seen(
                Block(number, Hash32(hash), from_timestamp(time)),
                State.load(state),
                Counter(dict(codec.loads_strict(counts, _COUNTS_LIMIT))),
            )

    def save(self, block: Block, state: State, counts: Counter[str]) -> None:
        """Say how far the audit got, inside a transaction."""
        self._connection.execute(
            "INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?, ?, ?)",
            (
                block.number,
                bytes(block.hash),
                to_timestamp(block.time),
                state.dump(),
                codec.dumps(dict(counts)),
            ),
        )

    def put_council(self, address: Address) -> None:
        """Remember that a council is followed."""
        self._connection.execute("INSERT OR IGNORE INTO councils VALUES (?)", (bytes(address),))

    def councils(self) -> list[Address]:
        """Return the councils that are followed."""
        rows = self._rows("SELECT address FROM councils ORDER BY address")
        with self.decoded():
            return [Address(address) for (address,) in rows]

    def put_council_log(self, log: Log, time: int) -> None:
        """Keep an event of a council: its rounds are made again from them."""
        self._connection.execute(
            "INSERT INTO council_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                log.block_number,
                log.index,
                time,
                bytes(log.block_hash),
                bytes(log.transaction or Hash32.zero()),
                bytes(log.contract),
                b"".join(log.topics),
                log.data,
            ),
        )

    def council_logs(self) -> Iterator[tuple[Log, int]]:
        """Return the councils' events in the chain's order, each with its block's time."""
        rows = self._rows(
            "SELECT block, number, time, hash, sent, council, topics, data FROM council_logs"
            " ORDER BY block, number"
        )
        with self.decoded():
            for block, number, time, hash, sent, council, topics, data in rows:
                words = tuple(Hash32(topics[i : i + 32]) for i in range(0, len(topics), 32))
                yield (
                    Log(words, data, block, Hash32(hash), number, Address(council), Hash32(sent)),
                    time,
                )

    # -- the book ----------------------------------------------------------------------------------

    def batch(self, authority: int, first_serial: int) -> BatchRecord | None:
        """Return the batch that begins there."""
        row = self._row(
            "SELECT * FROM batches WHERE authority = ? AND first_serial = ?",
            authority,
            first_serial,
        )
        return None if row is None else self._batch(row)

    def batch_of(self, authority: int, serial: int) -> BatchRecord | None:
        """Return the batch that holds a serial."""
        row = self._row(
            "SELECT * FROM batches WHERE authority = ? AND first_serial <= ?"
            " ORDER BY first_serial DESC LIMIT 1",
            authority,
            serial,
        )
        found = None if row is None else self._batch(row)
        return found if found and serial < found.first_serial + found.count else None

    def put_batch(self, batch: BatchRecord) -> None:
        """Keep a batch, new or changed."""
        made = batch.progress
        self._connection.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                batch.authority,
                batch.first_serial,
                batch.count,
                bytes(batch.commitment),
                batch.lifetime,
                made.version,
                made.weight,
                made.confirmations,
                made.objections,
                int(made.confirmed),
            ),
        )

    def batches(self) -> Iterator[BatchRecord]:
        """Return every batch, by CA and first serial."""
        for row in self._each("SELECT * FROM batches ORDER BY authority, first_serial"):
            yield self._batch(row)

    def put_certificates(self, certificates: list[CertificateRecord]) -> None:
        """Keep a batch's certificates."""
        self._connection.executemany(
            "INSERT INTO certificates VALUES (?, ?, ?, ?, ?)",
            (
                (
                    one.authority,
                    one.serial,
                    bytes(one.hash),
                    bytes(one.device) if any(one.device) else None,
                    one.not_after,
                )
                for one in certificates
            ),
        )

    def certificate(self, authority: int, serial: int) -> CertificateRecord | None:
        """Return what was anchored under a serial."""
        row = self._row(
            "SELECT hash, device, not_after FROM certificates WHERE authority = ? AND serial = ?",
            authority,
            serial,
        )
        if row is None:
            return None
        with self.decoded():
            device = Address.zero() if row[1] is None else Address(row[1])
            return CertificateRecord(authority, serial, Hash32(row[0]), device, row[2])

    def word(self, authority: int, index: int) -> int:
        """Return the revocation bits of serials 256·index and the 255 after."""
        row = self._row(
            "SELECT bits FROM words WHERE authority = ? AND number = ?", authority, index
        )
        with self.decoded():
            return 0 if row is None else int.from_bytes(row[0])

    def put_word(self, authority: int, index: int, word: int) -> None:
        """Keep revocation bits."""
        self._connection.execute(
            "INSERT OR REPLACE INTO words VALUES (?, ?, ?)", (authority, index, word.to_bytes(32))
        )

    def words(self) -> Iterator[tuple[int, int, int]]:
        """Return every revocation word that is not zero: CA, index, bits; in that order."""
        for authority, number, bits in self._each("SELECT * FROM words ORDER BY 1, 2"):
            with self.decoded():
                word = int.from_bytes(bits)
            yield authority, number, word

    def device(self, address: Address) -> DeviceRecord | None:
        """Return a device that was enrolled."""
        row = self._row("SELECT * FROM devices WHERE address = ?", bytes(address))
        return None if row is None else self._device(row)

    def put_device(self, device: DeviceRecord) -> None:
        """Keep a device, new or changed."""
        self._connection.execute(
            "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?)",
            (bytes(device.address), bytes(device.document), int(device.state), device.nonce),
        )

    def devices(self) -> Iterator[DeviceRecord]:
        """Return every device, by address."""
        for row in self._each("SELECT * FROM devices ORDER BY address"):
            yield self._device(row)

    # -- internal ----------------------------------------------------------------------------------

    def _batch(self, row: _Row) -> BatchRecord:
        with self.decoded():
            authority, first, count, commitment, lifetime, version, weight, yes, no, done = row
            return BatchRecord(
                authority,
                first,
                count,
                Hash32(commitment),
                lifetime,
                Progress(version, weight, yes, no, confirmed=bool(done)),
            )

    def _device(self, row: _Row) -> DeviceRecord:
        with self.decoded():
            address, document, state, nonce = row
            return DeviceRecord(
                Address(address),
                Hash32(document),
                DeviceState(state),
                nonce,
            )

    def _row(self, statement: str, *values: int | bytes) -> _Row | None:
        with self.translated():
            row: _Row | None = self._connection.execute(statement, values).fetchone()
            return row

    def _rows(self, statement: str) -> list[_Row]:
        with self.translated():
            return self._connection.execute(statement).fetchall()

    def _each(self, statement: str) -> Iterator[_Row]:
        with self.translated():
            yield from self._connection.execute(statement)
