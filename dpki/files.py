"""Atomic, private files.

A reader sees the old content or the new one, never a mixture, and after a power cut one of the two
is there (claim T7): write beside, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dpki.errors import DpkiError

PRIVATE = 0o600
PUBLIC = 0o644

_ROOM = 16 * 1024
"""Bytes that `verify_writable` asks for: more than anything that it is asked before."""

_REMEDIES = {
    errno.ENOSPC: "make room on the file system of {folder}",
    errno.EDQUOT: "make room in {folder}: the quota is used up",
    errno.EFBIG: "allow larger files (ulimit -f)",
    # To the agent's service all is read-only but what its unit names, by the device.toml of then.
    errno.EROFS: "mount the file system of {folder} writable; for its service: dpki agent install",
    errno.EACCES: "let the user that runs dpki write in {folder}",
    errno.EPERM: "let the user that runs dpki write in {folder}",
    errno.ENOENT: "make the folder {folder}",
    errno.EIO: "look after the disk of {folder}",
}


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE, owner: int | None = None) -> None:
    """Replace the file at `path` by `data`, atomically and durably.

    The folder must exist. The temporary file is private until it is complete, so that a secret is
    never readable by others, not even for a moment.

    Args:
        mode: Permission bits of the new file, whatever the umask.
        owner: Number of the user that it belongs to; None for whoever runs this.

    Raises:
        DpkiError: The file could not be written; the old content is untouched.
    """
    with written_beside(path, data, mode=mode, owner=owner) as temporary, translated(path):
        temporary.replace(path)
        with translated(path, "it is the earlier one or the new one"):
            fsync_directory(path.parent)


def write_together(contents: Mapping[Path, bytes], *, mode: int, owner: int | None = None) -> None:
    """Replace files of one folder, as `write_atomic` does one: a full disk leaves all or none.

    Args:
        mode: As for `write_atomic`.
        owner: As for `write_atomic`.

    Raises:
        DpkiError: They could not be written.
    """
    with ExitStack() as stack:
        ready = {
            path: stack.enter_context(written_beside(path, data, mode=mode, owner=owner))
            for path, data in contents.items()
        }
        for path, temporary in ready.items():
            with translated(path):
                temporary.replace(path)
        for path in ready:
            with translated(path, "it is the earlier one or the new one"):
                fsync_directory(path.parent)


def create_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Make the file at `path`, atomically and durably, and never replace one: for keys.

    The folder must exist. As with `write_atomic`, the content is private until it is complete.

    Raises:
        DpkiError: There is a file already, which is untouched; or it could not be written.
    """
    with written_beside(path, data, mode=mode) as temporary, translated(path):
        try:
            # A hard link, unlike a rename, fails when the name is taken.
            path.hardlink_to(temporary)
        except FileExistsError as error:
            raise DpkiError(
                f"{path} exists already and is not overwritten",
                hint="move it away first, if it really is to be given up",
            ) from error
        try:
            temporary.unlink()
            fsync_directory(path.parent)
        except BaseException:
            # Nobody was told that it is there.
            path.unlink(missing_ok=True)
            raise


@contextmanager
def written_beside(
    path: Path, data: bytes, *, mode: int = PRIVATE, owner: int | None = None
) -> Iterator[Path]:
    """Yield a file with this content beside `path`, safely on the disk; gone after the block.

    What a killed process leaves of it, `remove_leftovers` finds.

    Raises:
        DpkiError: It could not be written.
    """
    temporary = _beside(path, "tmp")
    try:
        with translated(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(temporary, flags, PRIVATE), "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                if owner is not None:
                    os.fchown(file.fileno(), owner, -1)
                os.fsync(file.fileno())
        yield temporary
    finally:
        # Renamed already, as a rule. Where it can't be removed, the next sweep will.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def verify_writable(path: Path) -> None:
    """Find out whether a file can be written, before something that can't be taken back is done.

    It writes a few blocks beside it and removes them.

    Raises:
        DpkiError: It could not be written now.
    """
    with written_beside(path, bytes(_ROOM)):
        pass


@contextmanager
def staged(target: Path, word: str) -> Iterator[Path]:
    """Yield a new private folder beside `target`, for the block to fill and to `settle`.

    It is gone after the block, if it has not become `target`; and what earlier processes left that
    were killed in theirs is swept away first.

    Args:
        word: What the folder's name ends with.

    Raises:
        DpkiError: It could not be made.
    """
    stage = _beside(target, word)
    with translated(target):
        make_private_directory(target.parent)
        _sweep_stages(target, word)
        stage.mkdir(mode=0o700)
        descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Held as long as this process lives: whoever sweeps takes nothing from a living one.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield stage
    finally:
        os.close(descriptor)
        shutil.rmtree(stage, ignore_errors=True)


def settle(stage: Path, target: Path) -> None:
    """Give a staged folder its name, durably: in place of nothing, or of an empty folder.

    Raises:
        OSError: Something has come there meanwhile, or it can't be made durable; it is not there.
    """
    stage.rename(target)
    try:
        fsync_directory(target.parent)
    except BaseException:
        # Removing needs no room, unlike a rename; and nobody was told that it is there.
        shutil.rmtree(target, ignore_errors=True)
        raise


def _sweep_stages(target: Path, word: str) -> None:
    for path in target.parent.iterdir():
        if not re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.{word}", path.name):
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


@contextmanager
def translated(path: Path, left: str = "") -> Iterator[None]:
    """Turn the system's refusal to write `path` into a `DpkiError` that says what to do.

    Args:
        left: What is as it was; by default, the earlier file.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check free space and permissions")
        remedy = remedy.format(folder=path.parent)
        raise DpkiError(
            f"could not write {path}: {error.strerror or error}",
            hint=f"{remedy}; {left or 'the earlier file is untouched'}",
        ) from error


def find_leftovers(directory: Path, name: str = "*") -> list[Path]:
    """Return the temporary files of `name` in the folder: a killed writer's, or a living one's."""
    return sorted(directory.glob(f".{name}.{'[0-9a-f]' * 12}.tmp"))


def remove_leftovers(directory: Path, name: str = "*") -> None:
    """Remove temporary files that a killed writer of `name` left in the folder.

    The caller holds the lock that keeps other writers away.
    """
    for path in find_leftovers(directory, name):
        # What can't be removed now does no harm, and is tried again.
        with suppress(OSError):
            path.unlink()


def erase(path: Path) -> None:
    """Remove a file durably, if it is there, with the copies that killed writers left of it.

    Raises:
        OSError: One is still there.
    """
    for each in (*find_leftovers(path.parent, path.name), path):
        each.unlink(missing_ok=True)
    if path.parent.is_dir():
        fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make earlier renames and removals in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_folder(name: str) -> Path:
    """Return one of the user's folders for what may be lost: `$XDG_STATE_HOME/dpki/<name>`.

    Without that variable below `~/.local/state` (XDG Base Directory Specification 0.8).
    """
    chosen = os.environ.get("XDG_STATE_HOME", "")
    base = Path(chosen) if chosen.startswith("/") else Path("~/.local/state").expanduser()
    return base / "dpki" / name


def make_private_directory(path: Path) -> None:
    """Create the folder and its parents for the owner only; an existing one is left as it is.

    Raises:
        DpkiError: It could not be made.
    """
    with translated(path, "nothing was written"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def load_bounded(path: Path, *, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        DpkiError: It can't be read, or is larger.
    """
    return _load_bounded(path, str(path), limit)


def load_standard_input(*, limit: int) -> bytes:
    """Read at most `limit` bytes from standard input, to its end.

    As it is, and not by the name /dev/stdin: neither a socket can be opened again, nor the terminal
    of whom one was before `sudo -u`.

    Raises:
        DpkiError: It can't be read, or has more.
    """
    return _load_bounded(0, "standard input", limit)


def _load_bounded(file: Path | int, name: str, limit: int) -> bytes:
    try:
        with open(file, "rb", closefd=file != 0) as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise DpkiError(f"could not read {name}: {error.strerror}") from error
    if len(data) > limit:
        raise DpkiError(f"{name} is larger than {limit} bytes")
    return data


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{word}")
