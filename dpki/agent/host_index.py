"""The index of host certificates that count: what `dpki.agent.host_lookup` decides from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files as package_files
from pathlib import Path

from dpki.agent.host_lookup import INDEX_VERSION
from dpki.chain.snapshot import Snapshot
from dpki.config.sshd import is_plain_path
from dpki.errors import UsageError
from dpki.files import PUBLIC, translated, write_together
from dpki.model import AuthorityId, AuthorityKind, to_timestamp
from dpki.verification.anchored_hosts import AnchoredHost
from dpki.verification.known_hosts import known_hosts_line
from dpki.verification.revocations import authority_key

INDEX = "hosts.db"
COMMAND = "host_lookup.py"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE authority (
    id BLOB PRIMARY KEY, key BLOB NOT NULL, line TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE certificate (
    hash BLOB, authority BLOB, serial TEXT, not_after INTEGER NOT NULL,
    PRIMARY KEY (hash, authority, serial)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, order=True)
class HostAuthority:
    """A host CA.

    Attributes:
        key: Its SSH public key blob.
        line: Its known_hosts line.
    """

    id: AuthorityId
    key: bytes
    line: str


@dataclass(frozen=True)
class HostIndex:
    """All that a host is judged by.

    Attributes:
        chain_time: Time of the block that it was made from.
        fresh_until: From then on, it knows nothing.
    """

    authorities: tuple[HostAuthority, ...]
    certificates: tuple[AnchoredHost, ...]
    chain_time: datetime
    fresh_until: datetime


def make_host_index(
    snapshot: Snapshot, hosts: Iterable[AnchoredHost], pattern: str, fresh_until: datetime
) -> HostIndex:
    """Return the index of a domain's host certificates.

    Every host CA of the domain stands in it, so that a suspended or retired one's certificates are
    refused and not taken for a stranger's.

    Args:
        pattern: Hosts that the CAs may speak for.
        fresh_until: From then on, it knows nothing.

    Raises:
        UsageError: The pattern could not stand in a known_hosts file.
    """
    return HostIndex(
        tuple(
            HostAuthority(authority.id, key, line)
            for authority in snapshot.authorities.values()
            if authority.kind is AuthorityKind.SSH_HOST
            and (key := authority_key(authority)) is not None
            and (line := known_hosts_line(authority, pattern)) is not None
        ),
        tuple(sorted(hosts)),
        snapshot.block.time,
        fresh_until,
    )


def encode_host_index(index: HostIndex) -> bytes:
    """Return the index as the bytes of a SQLite database file."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [
                ("version", INDEX_VERSION),
                ("chain_time", to_timestamp(index.chain_time)),
                ("fresh_until", to_timestamp(index.fresh_until)),
            ],
        )
        connection.executemany(
            "INSERT INTO authority VALUES (?, ?, ?)",
            [(bytes(a.id), a.key, a.line) for a in sorted(index.authorities)],
        )
        connection.executemany(
            "INSERT INTO certificate VALUES (?, ?, ?, ?)",
            [
                (bytes(h.hash), bytes(h.authority), str(h.serial), to_timestamp(h.not_after))
                for h in sorted(index.certificates)
            ],
        )
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def write_lookup(directory: Path, index: bytes) -> None:
    """Write the command and its index into a folder, which is made if need be: both, or neither.

    Raises:
        UsageError: ssh would not read the folder's path as one word.
        DpkiError: They could not be written.
    """
    if not is_plain_path(str(directory)) or any(c.isspace() for c in str(directory)):
        raise UsageError(
            f"ssh can't be given the path {str(directory)!r}",
            hint="use a path without spaces, quotes and % signs",
        )
    with translated(directory, "nothing was written into it"):
        directory.mkdir(parents=True, exist_ok=True)
    contents = {directory / COMMAND: lookup_command(), directory / INDEX: index}
    write_together(contents, mode=PUBLIC)


def lookup_command() -> bytes:
    """Return the command's script."""
    return package_files("dpki.agent").joinpath(COMMAND).read_bytes()


def command_line(directory: Path) -> str:
    """Return what to put into ssh_config: the command, with what ssh tells it."""
    script, index = directory / COMMAND, directory / INDEX
    return f"KnownHostsCommand /usr/bin/python3 -I -S -E {script} {index} %I %H %K"
