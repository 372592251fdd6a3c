"""The login index: what the login command knows of the chain, in one SQLite file.

The whole file is made anew in memory and replaces the old one atomically, so the command needs no
lock, no journal and no right to write. Its schema is shared with `dpki.agent.login` alone.

How new it is stands beside each CA, because each may have its own outage policy, and its own chain.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent.login import INDEX_VERSION
from dpki.errors import DpkiError
from dpki.model import AuthorityId, Hash32, from_timestamp, to_timestamp

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE authority (
    id BLOB PRIMARY KEY, key BLOB NOT NULL, maximum_lifetime INTEGER NOT NULL,
    chain_time INTEGER NOT NULL, fresh_until INTEGER
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
    """A CA whose users may log in.

    Attributes:
        key: Its SSH public key blob.
        chain_time: Time of the block that all this was decided from.
        fresh_until: After this nobody gets in with its certificates; None where the operator chose
            to stay open.
    """

    id: AuthorityId
    key: bytes
    maximum_lifetime: timedelta
    chain_time: datetime
    fresh_until: datetime | None


@dataclass(frozen=True, order=True)
class IndexedCertificate:
    """A certificate that counts: anchored, not revoked, of nobody's or an active device."""

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
    """All that a login is decided from."""

    authorities: tuple[IndexedAuthority, ...]
    certificates: tuple[IndexedCertificate, ...]
    access: tuple[Access, ...]


def encode_index(index: LoginIndex) -> bytes:
    """Return the index as the bytes of a SQLite database file; the same one, the same bytes."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (INDEX_VERSION,))
        connection.executemany(
            "INSERT INTO authority VALUES (?, ?, ?, ?, ?)",
            [
                (
                    bytes(a.id),
                    a.key,
                    int(a.maximum_lifetime.total_seconds()),
                    to_timestamp(a.chain_time),
                    None if a.fresh_until is None else to_timestamp(a.fresh_until),
                )
                for a in sorted(index.authorities, key=lambda a: a.id)
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


def load_index(path: Path) -> LoginIndex | None:
    """Return the installed index; None where there is none of this version that can be read."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            return _read_index(connection)
        finally:
            connection.close()
    # It is made anew then, whatever is wrong with it.
    except (sqlite3.Error, ValueError, TypeError, OverflowError, MemoryError, DpkiError):
        return None


def _read_index(connection: sqlite3.Connection) -> LoginIndex | None:
    if connection.execute("SELECT key, value FROM meta").fetchall() != [("version", INDEX_VERSION)]:
        return None
    authorities = connection.execute("SELECT * FROM authority ORDER BY id").fetchall()
    certificates = connection.execute("SELECT * FROM certificate").fetchall()
    access = connection.execute("SELECT * FROM access").fetchall()
    return LoginIndex(
        tuple(
            IndexedAuthority(
                AuthorityId(id),
                key,
                timedelta(seconds=lifetime),
                from_timestamp(made),
                None if until is None else from_timestamp(until),
            )
            for id, key, lifetime, made, until in authorities
        ),
        tuple(
            IndexedCertificate(Hash32(hash), AuthorityId(ca), serial, from_timestamp(until))
            for hash, ca, serial, until in certificates
        ),
        tuple(Access(account, AuthorityId(ca), principal) for account, ca, principal in access),
    )
