"""Follows a domain and keeps what is to be told until it was told, in a small SQLite file.

Where it stands and what it found are one transaction, and an alert goes only when its way says that
it took it: none is lost and, as every alert has an id of its own, none is told twice on a way that
looks at ids. Blocks are looked at again for a while, since a reorganisation may change them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from dpki.audit.alerts import Alert, Expected, alert_of, anything
from dpki.audit.code import fetch_code, is_ours
from dpki.audit.feed import Feed
from dpki.audit.occurrence import COUNCIL, contracts_of, decode_log
from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.logs import Log
from dpki.chain.rpc import Call, Reader, fetch_block
from dpki.errors import CouldNotCheck
from dpki.model import Address, Block, DomainId
from dpki.sqlite import DomainDatabase, Schema

OVERLAP = 64
"""Blocks that are looked at again: a reorganisation may have changed them."""

_ROLES = (0, 2)
"""The slots of governor and guardian (TrustDomain)."""

_SCHEMA = """
CREATE TABLE domain (
  id TEXT NOT NULL
) STRICT;

CREATE TABLE position (
  number INTEGER PRIMARY KEY CHECK (number = 1),
  first INTEGER NOT NULL,
  block INTEGER NOT NULL
) STRICT;

CREATE TABLE alerts (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
  document TEXT NOT NULL
) STRICT;

CREATE TABLE owed (
  alert INTEGER NOT NULL REFERENCES alerts (number),
  way TEXT NOT NULL,
  PRIMARY KEY (alert, way)
) STRICT, WITHOUT ROWID;
"""

SCHEMA = Schema(
    "the watch's state",
    (_SCHEMA,),
    "move it away; the next watch begins at the newest block, or where --from says",
)


@dataclass(frozen=True)
class Owed:
    """An alert that a way has not taken yet."""

    number: int
    way: str
    document: dict[str, object]


class Memory(DomainDatabase):
    """Where a watch stands and what it still owes; see `DomainDatabase`."""

    def __init__(self, path: Path, domain: DomainId) -> None:
        super().__init__(
            path, SCHEMA, str(domain), "name another file with --state", "synchronous = FULL"
        )

    def begin(self, first: int) -> None:
        """Say, before the first look, which block it begins at; later it changes nothing."""
        with self.translated():
            self._connection.execute(
                "INSERT OR IGNORE INTO position VALUES (1, ?, ?)", (first, first - 1)
            )

    def position(self) -> tuple[int, int] | None:
        """Return the first and the last block that were looked at; None before the first look."""
        with self.translated():
            row = self._connection.execute("SELECT first, block FROM position").fetchone()
        with self.decoded():
            return None if row is None else (int(row[0]), int(row[1]))

    def note(self, block: int, domain: str, alerts: Iterable[Alert], ways: Sequence[str]) -> int:
        """Keep what was found up to a block, all or nothing; return how many alerts are new."""
        new = 0
        with self.transaction():
            for alert in alerts:
                document = json.dumps(alert.to_json(domain), ensure_ascii=False)
                cursor = self._connection.execute(
                    "INSERT OR IGNORE INTO alerts (id, document) VALUES (?, ?)",
                    (bytes(alert.id), document),
                )
                if not cursor.rowcount:
                    continue
                new += 1
                self._connection.executemany(
                    "INSERT INTO owed VALUES (?, ?)", [(cursor.lastrowid, w) for w in ways]
                )
            self._connection.execute("UPDATE position SET block = max(block, ?)", (block,))
        return new

    def owed(self, way: str) -> list[Owed]:
        """Return what a way has not taken yet, the oldest first."""
        with self.translated():
            rows = self._connection.execute(
                "SELECT alert, document FROM owed JOIN alerts ON number = alert WHERE way = ?"
                " ORDER BY alert",
                (way,),
            ).fetchall()
        with self.decoded():
            return [Owed(number, way, json.loads(document)) for number, document in rows]

    def taken(self, owed: Owed) -> None:
        """Record that a way took an alert."""
        with self.translated():
            self._connection.execute(
                "DELETE FROM owed WHERE alert = ? AND way = ?", (owed.number, owed.way)
            )


@dataclass
class Sentry:
    """Looks at what happened since the last look.

    Attributes:
        ways: What takes alerts.
        expected: Which issues nobody needs to be told of.
        confirmations: How many blocks, the newest included, must stand upon an event.
    """

    reader: Reader
    domain: Domain
    memory: Memory
    ways: Sequence[str]
    expected: Expected = anything
    confirmations: int = 1
    _councils: dict[Address, bool] = field(default_factory=dict)

    def look(self, start: int | None = None) -> int:
        """Look once, and return how many alerts are new.

        Args:
            start: Where to begin when nothing was looked at yet; None for the newest block.

        Raises:
            EndpointUnavailable, CouldNotCheck: No answer, or nonsense; it stands where it stood.
            HistoryContradicted: A contract emits what is none of its events.
        """
        head = self._head()
        begin = head.number + 1 if start is None else max(start, self.domain.block.number)
        self.memory.begin(begin)
        earliest, latest = self.memory.position() or (begin, begin - 1)
        first = max(latest + 1 - OVERLAP, earliest)
        followed = [*contracts_of(self.domain), *self._current_councils(head)]
        new, feed = 0, Feed(self.reader)
        for end, logs in feed.all_logs(followed, first, head.number):
            alerts = self._alerts(feed, logs)
            new += self.memory.note(end, str(self.domain.id), alerts, self.ways)
        return new

    def _alerts(self, feed: Feed, logs: Sequence[Log]) -> list[Alert]:
        names, found = contracts_of(self.domain), []
        times = feed.times(logs)
        for _, group in groupby(logs, lambda log: log.transaction):
            before: Counter[Address] = Counter()
            for log in group:
                name = names.get(log.contract, COUNCIL)
                event = decode_log(log, name, times[log.block_number])
                alert = alert_of(event, before[log.contract], self.expected)
                before[log.contract] += 1
                if alert is not None:
                    found.append(alert)
        return found

    def _head(self) -> Block:
        head = fetch_block(self.reader, "latest")
        if head is None:
            raise CouldNotCheck(
                f"{self.reader.name} has no newest block", hint="ask another RPC endpoint"
            )
        number = max(head.number - self.confirmations + 1, self.domain.block.number)
        block = head if number == head.number else fetch_block(self.reader, number)
        if block is None:
            raise CouldNotCheck(f"{self.reader.name} has no block {number}", hint="try again")
        return block

    def _current_councils(self, block: Block) -> list[Address]:
        """Return the governor and guardian of now that are councils."""
        at = {"blockHash": str(block.hash), "requireCanonical": True}
        home = str(self.domain.id.address)
        calls = [Call("eth_getStorageAt", [home, f"0x{slot:064x}", at]) for slot in _ROLES]
        words = [decode.word(answer, self.reader.name) for answer in self.reader.batch(calls)]
        holders = sorted({Address(word[12:]) for word in words} - {Address.zero()})
        for holder in holders:
            if holder not in self._councils:
                code = fetch_code(self.reader, holder, block)
                self._councils[holder] = is_ours(code, COUNCIL)
        return [holder for holder in holders if self._councils[holder]]
