"""A disk that refuses from its n-th change on, as a full one does, or a read-only one.

`walk` does the work again and again, refused at every change in turn until there is none left.
Refused are the calls that Python makes: new files, folders, links and names, what is to be synced,
and SQLite's writing statements. tests/small_disk.py is the real thing, for fewer points.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dpki.errors import DpkiError

_NEW = os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_WRITING = (
    "BEGIN IMMEDIATE",
    "INSERT",
    "REPLACE",
    "UPDATE",
    "DELETE",
    "CREATE",
    "COMMIT",
    "PRAGMA user_version =",
)
# Which of an event's arguments is the name that needs room.
_NAMES = {"os.mkdir": 0, "os.link": 1, "os.rename": 1}
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


@dataclass
class Refusal:
    """From which change on, below which folders, with which of the system's errors."""

    at: int
    folders: tuple[Path, ...]
    code: int
    seen: int = 0
    changes: list[str] = field(default_factory=list)

    @property
    def happened(self) -> bool:
        return self.seen >= self.at

    def refuses(self, what: str, path: str) -> bool:
        if self not in _now or not any(
            Path(path).is_relative_to(folder) for folder in self.folders
        ):
            return False
        self.seen += 1
        self.changes.append(f"{what} {path}")
        return self.happened

    def error(self, path: str) -> OSError:
        return OSError(self.code, os.strerror(self.code), path)


_now: list[Refusal] = []
_installed: list[Callable[..., None]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _now:
        return
    if event == "open":
        path, flags = arguments[0], arguments[2]
        if not isinstance(path, str | os.PathLike) or not (flags or 0) & _NEW:
            return
    elif event in _NAMES:
        path = arguments[_NAMES[event]]
    else:
        return
    if os.path.lexists(path):
        return  # a name that is there takes no more room
    path = str(Path(path).absolute())
    if _now[-1].refuses(event, path):
        raise _now[-1].error(path)


class _Connection(sqlite3.Connection):
    """A connection to a file on that disk."""

    path = ""

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self._refuse(statement)
        return super().execute(statement, *arguments)

    def executemany(self, statement: str, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self._refuse(statement)
        return super().executemany(statement, *arguments)

    def _refuse(self, statement: str) -> None:
        if statement.startswith(_WRITING) and _now and _now[-1].refuses(statement, self.path):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


@contextmanager
def refusing(at: int, *folders: Path, code: int = errno.ENOSPC) -> Iterator[Refusal]:
    """Refuse the n-th change below the folders, and every later one."""
    if not _installed:
        # A hook stays for the life of the process; without a refusal it does nothing.
        sys.addaudithook(_hook)
        _installed.append(_hook)
    refusal = Refusal(at, folders, code)
    connect = sqlite3.connect

    def synced(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if refusal.refuses("fsync", path):
            raise refusal.error(path)
        # A walk would wait for a real disk a thousand times.

    def connected(path: str | Path, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(path, *arguments, factory=_Connection, **options)
        connection.path = str(path)  # type: ignore[attr-defined]
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(sqlite3, "connect", connected)
        _now.append(refusal)
        try:
            yield refusal
        finally:
            _now.pop()


@contextmanager
def resting() -> Iterator[None]:
    """Let the disk take everything for a while."""
    refusals = _now[:]
    _now.clear()
    try:
        yield
    finally:
        _now.extend(refusals)


def walk(*folders: Path, code: int = errno.ENOSPC) -> Iterator[Refusal]:
    """Yield a refusal for each change in turn; the caller works under `refusing` with it.

    Ends after the first that was not reached.
    """
    for at in count(1):
        with refusing(at, *folders, code=code) as refusal:
            yield refusal
        if not refusal.happened:
            return


def leftovers(*folders: Path) -> list[Path]:
    """Return the temporary files and folders that something has left."""
    return [path for folder in folders for path in folder.rglob(".*.*")]


def refused(work: Callable[[], object], *folders: Path) -> DpkiError | None:
    """Do the work; return its error, which names a path on that disk and says what to do."""
    try:
        work()
    except DpkiError as error:
        helpful = bool(error.hint) and any(str(folder) in error.message for folder in folders)
        return error if helpful else pytest.fail(f"{error.message!r}, {error.hint!r}")
    return None


def killed_anywhere(
    work: Callable[[], object], folder: Path, *, below: Path = Path("/")
) -> Iterator[int]:
    """Do the work again and again, killed at each change in turn; yield after each death.

    Args:
        folder: Each begins with it as it is now.
        below: Only changes below this one count, and what is written into databases.
    """
    with tempfile.TemporaryDirectory() as kept:
        before = Path(kept) / "before"
        subprocess.run(["cp", "-a", folder, before], check=True)
        for at in count(1):
            shutil.rmtree(folder)
            subprocess.run(["cp", "-a", before, folder], check=True)
            if not run_and_die(work, at, below):
                return
            yield at


def run_and_die(work: Callable[[], object], at: int, below: Path = Path("/")) -> bool:
    """Work in a child that is killed right before its `at`-th change; return whether it was."""
    child = os.fork()
    if child == 0:
        seen = 0

        def change() -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            is_write = (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            )
            if (event in _CHANGES or is_write) and Path(str(arguments[0])).is_relative_to(below):
                change()

        connect = sqlite3.connect

        def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(
                lambda statement: change() if statement.startswith(_WRITING) else None
            )
            return connection

        sqlite3.connect = connected
        sys.addaudithook(hook)
        try:
            work()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, "what was to be killed failed by itself"
    return os.WIFSIGNALED(status)
