"""Atomic, private files.

A reader sees the old content or the new one, never a mixture, and after a power cut one of the two
is there (claim T7): write beside, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from dpki.errors import DpkiError

PRIVATE = 0o600
PUBLIC = 0o644


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Replace the file at `path` by `data`, atomically and durably.

    The folder must exist. The temporary file is private until it is complete, so that a secret is
    never readable by others, not even for a moment.

    Args:
        mode: Permission bits of the new file, whatever the umask.

    Raises:
        DpkiError: The file could not be written; the old content is untouched.
    """
    _write(path, data, mode, replace=True)


def create_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Make the file at `path`, atomically and durably, and never replace one: for keys.

    The folder must exist. As with `write_atomic`, the content is private until it is complete.

    Raises:
        DpkiError: There is a file already, which is untouched; or it could not be written.
    """
    _write(path, data, mode, replace=False)


def _write(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                # A hard link, unlike a rename, fails when the name is taken.
                path.hardlink_to(temporary)
                temporary.unlink()
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)
    except FileExistsError as error:
        raise DpkiError(
            f"{path} exists already and is not overwritten",
            hint="move it away first, if it really is to be given up",
        ) from error
    except OSError as error:
        raise DpkiError(
            f"could not write {path}: {error.strerror}",
            hint="check free space and permissions; the earlier file is untouched",
        ) from error


def remove_leftovers(directory: Path, name: str = "*") -> None:
    """Remove temporary files that a killed writer of `name` left in the folder.

    The caller holds the lock that keeps other writers away.
    """
    for path in directory.glob(f".{name}.{'[0-9a-f]' * 12}.tmp"):
        path.unlink(missing_ok=True)


def fsync_directory(path: Path) -> None:
    """Make earlier renames and removals in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(path: Path) -> None:
    """Create the folder and its parents for the owner only; an existing one is left as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def load_bounded(path: Path, *, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        DpkiError: It can't be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise DpkiError(f"could not read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise DpkiError(f"{path} is larger than {limit} bytes")
    return data
