"""The login index: what the login command knows of the chain, in one SQLite file.

The whole file is made anew in memory and replaces the old one atomically, so the command needs no
lock, no journal and no right to write. Its schema is shared with `dpki.agent.login` alone.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from dpki.agent.login import INDEX_VERSION
from dpki.model import AuthorityId, Hash32, to_timestamp

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE authority (
    id BLOB PRIMARY KEY, key BLOB NOT NULL, maximum_lifetime INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE certificate (
    hash BLOB PRIMARY KEY, authority BLOB NOT NULL, serial INTEGER NOT NULL,
    not_after INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE access (
    account TEXT, authority BLOB, principal TEXT, PRIMARY KEY (account, authority, principal)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, order=True)
class IndexedAuthority:
    """A CA whose users may log in; `key` is its SSH public key blob."""

    id: AuthorityId
    key: bytes
    maximum_lifetime: timedelta


@dataclass(frozen=True, order=True)
class IndexedCertificate:
    """A certificate that counts: anchored, not revoked, for this device or none."""

    hash: Hash32
    authority: AuthorityId
    serial: int
    not_after: datetime


@dataclass(frozen=True, order=True)
class Access:
    """A local account that a principal of a CA may use."""

    account: str
    authority: AuthorityId
    principal: str


@dataclass(frozen=True)
class LoginIndex:
    """All that the login command decides from.

    Attributes:
        chain_time: Time of the block that it was made from.
        fresh_until: After this it admits nobody; None where the operator chose to stay open.
    """

    chain_time: datetime
    fresh_until: datetime | None
    authorities: tuple[IndexedAuthority, ...]
    certificates: tuple[IndexedCertificate, ...]
    access: tuple[Access, ...]


def encode_index(index: LoginIndex) -> bytes:
    """Return the index as the bytes of a SQLite database file."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        fresh_until = None if index.fresh_until is None else to_timestamp(index.fresh_until)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [
                ("version", INDEX_VERSION),
                ("chain_time", to_timestamp(index.chain_time)),
                ("fresh_until", fresh_until),
            ],
        )
        connection.executemany(
            "INSERT INTO authority VALUES (?, ?, ?)",
            [
                (bytes(a.id), a.key, int(a.maximum_lifetime.total_seconds()))
                for a in sorted(index.authorities)
            ],
        )
        connection.executemany(
            "INSERT INTO certificate VALUES (?, ?, ?, ?)",
            [
                (bytes(c.hash), bytes(c.authority), c.serial, to_timestamp(c.not_after))
                for c in sorted(index.certificates)
            ],
        )
        connection.executemany(
            "INSERT INTO access VALUES (?, ?, ?)",
            [(a.account, bytes(a.authority), a.principal) for a in sorted(index.access)],
        )
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()
