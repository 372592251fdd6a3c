"""What an audit has seen, in one SQLite file: so that it goes on where it stood.

What a run of blocks changed and how far it got are one transaction: killed at any moment, the audit
resumes from the last whole one. The file is an index and no authority: whatever it says is held
against the chain's proven state at each audit's end, but for certificates' hashes, which are behind
the batches' roots.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dpki.audit.schema import SCHEMA
from dpki.audit.state import BatchRecord, CertificateRecord, DeviceRecord, State
from dpki.bundle import codec
from dpki.chain.layout import Progress
from dpki.chain.logs import Log
from dpki.errors import ConfigError
from dpki.files import make_private_directory
from dpki.model import (
    Address,
    Block,
    DeviceState,
    DomainId,
    Hash32,
    from_timestamp,
    to_timestamp,
)
from dpki.sqlite import decoded, open_database, translated

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


class Index:
    """The open index of one trust domain: a `Book`. One thread only.

    Args:
        path: The file; made, private, where there is none.
        domain: The trust domain; the file of another one is refused.

    Raises:
        ConfigError: The file is of another domain or a later version, or is none of ours; it is as
            it was.
        DpkiError: It could not be opened, or is damaged.
    """

    def __init__(self, path: Path, domain: DomainId) -> None:
        self._path = path
        make_private_directory(path.parent)

        def verify(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT id FROM domain").fetchall()
            if rows != [(str(domain),)]:
                raise ConfigError(
                    f"the audit's index {path} is of another trust domain",
                    hint="name another file with --index",
                )

        self._connection = open_database(
            path,
            SCHEMA,
            "journal_mode = WAL",
            "synchronous = NORMAL",
            check=verify,
            fill=lambda new: new.execute("INSERT INTO domain VALUES (?)", (str(domain),)),
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything in the block happen, or nothing of it."""
        with translated(self._path, SCHEMA):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

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
        with decoded(self._path, SCHEMA):
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
        with decoded(self._path, SCHEMA):
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
        with decoded(self._path, SCHEMA):
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
        with decoded(self._path, SCHEMA):
            device = Address.zero() if row[1] is None else Address(row[1])
            return CertificateRecord(authority, serial, Hash32(row[0]), device, row[2])

    def word(self, authority: int, index: int) -> int:
        """Return the revocation bits of serials 256·index and the 255 after."""
        row = self._row(
            "SELECT bits FROM words WHERE authority = ? AND number = ?", authority, index
        )
        with decoded(self._path, SCHEMA):
            return 0 if row is None else int.from_bytes(row[0])

    def put_word(self, authority: int, index: int, word: int) -> None:
        """Keep revocation bits."""
        self._connection.execute(
            "INSERT OR REPLACE INTO words VALUES (?, ?, ?)", (authority, index, word.to_bytes(32))
        )

    def words(self) -> Iterator[tuple[int, int, int]]:
        """Return every revocation word that is not zero: CA, index, bits; in that order."""
        for authority, number, bits in self._each("SELECT * FROM words ORDER BY 1, 2"):
            with decoded(self._path, SCHEMA):
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
        with decoded(self._path, SCHEMA):
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
        with decoded(self._path, SCHEMA):
            address, document, state, nonce = row
            return DeviceRecord(
                Address(address),
                Hash32(document),
                DeviceState(state),
                nonce,
            )

    def _row(self, statement: str, *values: int | bytes) -> _Row | None:
        with translated(self._path, SCHEMA):
            row: _Row | None = self._connection.execute(statement, values).fetchone()
            return row

    def _rows(self, statement: str) -> list[_Row]:
        with translated(self._path, SCHEMA):
            return self._connection.execute(statement).fetchall()

    def _each(self, statement: str) -> Iterator[_Row]:
        with translated(self._path, SCHEMA):
            yield from self._connection.execute(statement)
