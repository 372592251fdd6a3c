"""SQLite files of our own: opened only where they are ours, brought up to date, failures in words.

A file that is another program's, of a later version or damaged is refused before anything in it is
changed: what it should have been is better found elsewhere than mended here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dpki import files
from dpki.errors import ConfigError, DpkiError, MalformedInput

PATIENCE_SECONDS = 30
"""How long to wait for another process to finish its transaction."""

_SMALLEST_PAGE = 512


@dataclass(frozen=True)
class Schema:
    """What a file of ours holds.

    Attributes:
        what: What people call the file, with its article.
        steps: SQL from each version to the next. Once released, a step's text never changes.
        recovery: What to do about a file that can't be used.
    """

    what: str
    steps: tuple[str, ...]
    recovery: str

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self.steps)


def open_database(
    path: Path,
    schema: Schema,
    *pragmas: str,
    check: Callable[[sqlite3.Connection], None] = lambda connection: None,
    fill: Callable[[sqlite3.Connection], object] = lambda connection: None,
) -> sqlite3.Connection:
    """Open a file of this schema; made, private, where there is none, else brought up to date.

    Args:
        pragmas: Set once the file is known to be ours.
        check: Looks, before anything is changed, into one that was there already.
        fill: Writes what a new one must never be without.

    Raises:
        ConfigError: It is of a later version, or something else; it is as it was.
        DpkiError: It can't be read or written, or is damaged.
    """
    with files.translated(path, "it was not opened"):
        # SQLite gives its side files the permissions of the main one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # SQLite takes a file of one byte for a new one.
        if 0 < path.stat().st_size < _SMALLEST_PAGE:
            raise DpkiError(f"{schema.what} {path} is damaged", hint=schema.recovery)
    with translated(path, schema):
        connection = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_SECONDS)
        try:
            if _verify(connection, path, schema):
                check(connection)
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            _bring_up_to_date(connection, schema, fill)
        except BaseException:
            connection.close()
            raise
        return connection


class DomainDatabase:
    """An open file that belongs to one trust domain: its table `domain` says to which.

    One thread only.

    Args:
        path: The file; made, private, where there is none, with its folder.
        domain: The domain's id; the file of another one is refused.
        another: What to do about the file of another domain.

    Raises:
        ConfigError: The file is of another domain or a later version, or is none of ours; it is as
            it was.
        DpkiError: It could not be opened, or is damaged.
    """

    def __init__(
        self, path: Path, schema: Schema, domain: str, another: str, *pragmas: str
    ) -> None:
        self._path, self._schema = path, schema

        def verify(connection: sqlite3.Connection) -> None:
            with translated(path, schema):
                found = connection.execute("SELECT id FROM domain").fetchall()
            if len(found) != 1:
                raise DpkiError(f"{schema.what} {path} is damaged", hint=schema.recovery)
            if found != [(domain,)]:
                raise ConfigError(
                    f"{path} belongs to the trust domain {found[0][0]}, not to {domain}",
                    hint=another,
                )

        files.make_private_directory(path.parent)
        self._connection = open_database(
            path,
            schema,
            *pragmas,
            check=verify,
            fill=lambda new: new.execute("INSERT INTO domain VALUES (?)", (domain,)),
        )
        try:
            # Once more: somebody else may have made it at the same moment, for another domain.
            verify(self._connection)
        except BaseException:
            self._connection.close()
            raise

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
        """Make everything in the block happen, durably, or nothing of it."""
        with translated(self._path, self._schema):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back what a full disk has broken off.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def decoded(self) -> AbstractContextManager[None]:
        """Blame the file for values in the block that nobody can have written."""
        return decoded(self._path, self._schema)

    def translated(self) -> AbstractContextManager[None]:
        """Turn what SQLite refuses into a `DpkiError`."""
        return translated(self._path, self._schema)


def copy_database(path: Path, schema: Schema) -> bytes:
    """Return a file as of now, what is still in its write-ahead log included.

    Others may write meanwhile: it is one state, not a mixture.

    Raises:
        DpkiError: It can't be read.
    """
    with (
        translated(path, schema),
        closing(
            sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_SECONDS)
        ) as connection,
    ):
        connection.execute("BEGIN")
        return connection.serialize()


@contextmanager
def translated(path: Path, schema: Schema) -> Iterator[None]:
    """Turn what SQLite refuses into a `DpkiError`."""
    try:
        yield
    # A damaged file can make SQLite speak in bytes that are no text, or ask for gigabytes.
    except (UnicodeDecodeError, MemoryError) as error:
        raise DpkiError(f"{schema.what} {path} is damaged", hint=schema.recovery) from error
    except sqlite3.Error as error:
        raise DpkiError(
            f"{schema.what} {path} failed: {error}", hint=_remedy(error, path, schema)
        ) from error


@contextmanager
def decoded(path: Path, schema: Schema) -> Iterator[None]:
    """Turn values that we never wrote, as a damaged file may hold them, into a `DpkiError`."""
    try:
        yield
    # OSError: what the system says of a time beyond all time.
    except (MalformedInput, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise DpkiError(f"{schema.what} {path} is damaged", hint=schema.recovery) from error


def _verify(connection: sqlite3.Connection, path: Path, schema: Schema) -> bool:
    """Refuse what is not ours; return whether there is anything in it yet."""
    # One look: another process may be making the file at this moment.
    connection.execute("BEGIN")
    version, found = _version(connection), _objects(connection)
    connection.execute("ROLLBACK")
    if not 0 <= version <= schema.version:
        raise ConfigError(
            f"{path} is of version {version}, this dpki understands {schema.version}",
            hint="use the dpki that wrote it",
        )
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        _run(model, schema.steps[:version])
        if found != _objects(model):
            raise ConfigError(f"{path} is not {schema.what} of dpki", hint=schema.recovery)
    return version > 0


def _bring_up_to_date(
    connection: sqlite3.Connection, schema: Schema, fill: Callable[[sqlite3.Connection], object]
) -> None:
    if _version(connection) == schema.version:
        return  # whoever only looks needs no room
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        _run(connection, schema.steps[version:])
        if version == 0:
            fill(connection)
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself has rolled back what a full disk has broken off.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version")
    return int(version)


def _objects(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Return tables, indices and triggers with their SQL, but for those of SQLite itself."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master")
    return {
        (kind, name, " ".join(str(sql).split()))
        for kind, name, sql in rows
        if not str(name).startswith("sqlite_")
    }


def _run(connection: sqlite3.Connection, steps: Sequence[str]) -> None:
    for step in steps:
        for statement in _statements(step):
            connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would commit, and half a schema must not stay."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _remedy(error: sqlite3.Error, path: Path, schema: Schema) -> str:
    """Return what to do next; the codes are those of sqlite.org/rescode.html."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return schema.recovery
        case sqlite3.SQLITE_FULL:
            remedy = f"make room on the file system of {path.parent}"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            remedy = "wait until the other dpki is done"
        case _:
            remedy = f"check free space and permissions of {path.parent}"
    return f"{remedy}, then run the command again; what was committed is still there"
