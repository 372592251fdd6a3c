"""A disk of a few pages, really mounted, that gets full and read-only on demand.

In a child process with mounts of its own: root's, or those of a user namespace for anybody else. So
it works for everybody, and nothing is left of it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_DROP_FROM_BOUNDING_SET, _NO_NEW_PRIVILEGES, _CAPABILITY_VERSION = 24, 38, 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Disk:
    """A mounted file system."""

    path: Path

    def leave(self, pages: int) -> None:
        """Leave so much room, and no more."""
        found = os.statvfs(self.path)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        # A size of nothing at all would mean no limit.
        self._remount(f"size={max(used + pages * PAGE, PAGE)}")

    def enlarge(self) -> None:
        """Give it plenty of room."""
        self._remount("size=64m")

    def freeze(self) -> None:
        """Make it read-only."""
        self._remount("", _READ_ONLY)

    def thaw(self) -> None:
        """Make it writable."""
        self._remount("")

    def _remount(self, options: str, flags: int = 0) -> None:
        _mount(self.path, "tmpfs", _REMOUNT | flags, options)


def on_a_small_disk(folder: Path, work: Callable[[Disk], None]) -> None:
    """Do the work in a child process in which the folder, as it is, lies on a disk of its own.

    Raises:
        AssertionError: The work did not succeed; the message is its traceback.
    """
    _in_a_child(lambda: (_move_to_a_disk(folder), work(Disk(folder))))


def in_a_sandbox(writable: Sequence[Path], kept: Sequence[int], work: Callable[[], None]) -> None:
    """Do the work in a child process that can write below these folders alone.

    As the service's unit has it: no new privileges, and of root's capabilities only the kept ones.

    Raises:
        AssertionError: The work did not succeed; the message is its traceback.
    """

    def confined() -> None:
        _isolate_mounts()
        for folder in writable:
            _mount(folder, str(folder), _BIND, "")
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in mounts:
            if Path(mount) not in writable and not mount.startswith(("/proc", "/sys", "/dev")):
                _mount(Path(mount), "", _BIND | _REMOUNT | _READ_ONLY, "")
        _drop_capabilities(kept)
        work()

    _in_a_child(confined)


def _in_a_child(work: Callable[[], object]) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as said:
            try:
                work()
                said.write("done")
            except BaseException:  # noqa: BLE001 - all of it is the parent's business
                said.write(traceback.format_exc())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as saying:
        said = saying.read()
    os.waitpid(child, 0)
    assert said == "done", said


def _drop_capabilities(kept: Sequence[int]) -> None:
    for number in range(64):
        if number not in kept:
            _LIBC.prctl(_DROP_FROM_BOUNDING_SET, number, 0, 0, 0)
    _check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    mask = sum(1 << number for number in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)))


def _move_to_a_disk(folder: Path) -> None:
    _isolate_mounts()
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(folder, Path(elsewhere, "copy"), symlinks=True)
        _mount(folder, "tmpfs", 0, f"size=64m,mode={folder.stat().st_mode & 0o7777:o}")
        shutil.copytree(Path(elsewhere, "copy"), folder, symlinks=True, dirs_exist_ok=True)


def _isolate_mounts() -> None:
    user, group = os.geteuid(), os.getegid()
    if _LIBC.unshare(_NEW_MOUNTS) != 0:
        # Not root, or a root that may not mount: in a user namespace of its own everybody may.
        _check(_LIBC.unshare(_NEW_MOUNTS | _NEW_USER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(Path("/"), "", _RECURSIVE | _PRIVATE, "")


def _mount(path: Path, kind: str, flags: int, options: str) -> None:
    _check(
        _LIBC.mount(
            os.fsencode(kind),
            os.fsencode(path),
            os.fsencode(kind),
            ctypes.c_ulong(flags),
            options.encode(),
        )
    )


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
