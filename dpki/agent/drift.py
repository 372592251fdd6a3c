"""Whether anybody touched what sshd reads, ours or others': by what the file system says of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

_RELATIVE_TO = Path("/etc/ssh")
"""Where sshd looks for an Include that is no absolute path (sshd_config(5))."""

_DEPTH = 16
"""As deep as sshd follows Include."""

Fingerprint = tuple[tuple[str, tuple[int, ...] | None], ...]


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Return what changes when somebody touches one of these files, or replaces it."""
    return tuple((str(path), _look(path)) for path in sorted(set(paths)))


def config_files(main_config: Path) -> list[Path]:
    """Return the server's configuration with everything that it includes, now."""
    found: list[Path] = []
    _follow(main_config, found, 0)
    return found


def _follow(path: Path, found: list[Path], depth: int) -> None:
    if path in found or depth > _DEPTH:
        return
    found.append(path)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return  # its absence is seen in the fingerprint, and sshd says what it thinks of it
    for line in lines:
        for pattern in _included(line):
            pattern = pattern if pattern.startswith("/") else str(_RELATIVE_TO / pattern)
            for included in sorted(Path("/").glob(pattern.lstrip("/"))):
                _follow(included, found, depth + 1)


def _included(line: str) -> list[str]:
    words = line.replace("=", " ", 1).split(maxsplit=1)
    if len(words) != 2 or words[0].lower() != "include":
        return []
    try:
        return shlex.split(words[1], comments=True)
    except ValueError:
        return []


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        looks = [path.lstat(), path.stat()]
    except OSError:
        return None
    return tuple(
        part
        for seen in looks
        for part in (
            seen.st_ino,
            seen.st_size,
            seen.st_mode,
            seen.st_uid,
            seen.st_gid,
            seen.st_mtime_ns,
            seen.st_ctime_ns,
        )
    )
