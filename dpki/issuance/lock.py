"""One issuing process at a time in one home: between reading a serial and anchoring it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from dpki.errors import DpkiError
from dpki.files import translated

PATIENCE = timedelta(minutes=2)
_PAUSE_SECONDS = 0.05


@contextmanager
def hold(path: Path, patience: timedelta = PATIENCE) -> Iterator[None]:
    """Hold the lock file for the block; the kernel lets go of it however the process ends.

    Two processes that read the same next serial would not corrupt anything, for the contract takes
    only one of them; but one would have signed for nothing.

    Raises:
        DpkiError: Another process held it all the time, or it could not be made.
    """
    with translated(path, "nothing was begun"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, time.monotonic() + patience.total_seconds())
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise DpkiError(
                    f"another dpki is issuing with this home (it holds {path})",
                    hint="wait until it is done, then run the command again",
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
