"""One process at a time: a lock file, and who holds it, for those who wait."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.errors import DpkiError
from dpki.files import translated

PATIENCE = timedelta(minutes=10)
"""How long to wait: several others may each wait two minutes for a block."""

_PAUSE_SECONDS = 0.05
_LIMIT = 200


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class Turn:
    """How a process waits for its turn.

    Attributes:
        doing: What those who wait for us are told that we do, such as `dpki ssh issue`.
        tell: Told once, in words, whom we wait for; not called where nobody is before us.
    """

    doing: str = "dpki"
    tell: Callable[[str], None] = _silent


@contextmanager
def hold(path: Path, turn: Turn | None = None, patience: timedelta = PATIENCE) -> Iterator[None]:
    """Hold the lock file for the block; the kernel lets go of it however the process ends.

    Raises:
        DpkiError: Another process held it all the time, or it could not be made.
    """
    turn = turn or Turn()
    with translated(path, "nothing was begun"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, turn, time.monotonic() + patience.total_seconds())
        _sign_in(descriptor, turn.doing)
        yield
    finally:
        os.close(descriptor)


def _acquire_at_once(descriptor: int, path: Path) -> None:
    # Who only looks whether somebody holds it (`find_holder`) does so for a moment.
    end = time.monotonic() + 4 * _PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(_PAUSE_SECONDS)
                continue
            raise DpkiError(
                f"{_holder(descriptor)} is at work in {path.parent}",
                hint="wait until it is done, or stop it; dpki agent status works meanwhile",
            ) from error
        return


@contextmanager
def hold_alone(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock file for the block, where nobody does: whoever does may do so for years.

    Args:
        doing: What others are told that we do.

    Raises:
        DpkiError: Another process holds it; says which.
    """
    with translated(path, "nothing was begun"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire_at_once(descriptor, path)
        _sign_in(descriptor, doing)
        yield
    finally:
        os.close(descriptor)


def find_holder(path: Path) -> str | None:
    """Return who holds the lock file now; None where nobody does.

    Raises:
        DpkiError: The file can't be looked at.
    """
    if not path.exists():
        return None
    with translated(path, "nothing was changed"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, turn: Turn, end: float) -> None:
    is_told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            if time.monotonic() >= end:
                raise DpkiError(
                    f"{holder} did not let go of {path} in time",
                    hint="wait until it is done, then run the command again",
                ) from error
            if not is_told:
                turn.tell(f"waiting for {holder}")
                is_told = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _sign_in(descriptor: int, doing: str) -> None:
    name = f"{doing} (process {os.getpid()})".encode()[:_LIMIT]
    # On a full disk those who wait don't learn the name; the turn is ours all the same.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, name, 0)


def _holder(descriptor: int) -> str:
    """Return the name of the holder; one that has not signed in yet has none."""
    name = os.pread(descriptor, _LIMIT, 0).decode(errors="replace")
    return name if name and name.isprintable() else "another dpki"
