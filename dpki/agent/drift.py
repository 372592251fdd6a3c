"""Whether anybody touched what sshd reads, ours or others': by what the file system says of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

_RELATIVE_TO = Path("/etc/ssh")
"""Where sshd looks for an Include that is no absolute path (sshd_config(5))."""

_DEPTH = 16
"""As deep as sshd follows Include."""

_ORDINARY = {"host": "none", "addr": "::1", "laddr": "::1", "lport": "22", "rdomain": ""}
"""sshd wants to know all that any Match block asks for."""

_CRITERIA = {
    "host": "host",
    "address": "addr",
    "localaddress": "laddr",
    "localport": "lport",
    "rdomain": "rdomain",
}
"""What a Match block may ask of a connection, and what `sshd -T -C` calls it."""

Fingerprint = tuple[tuple[str, tuple[int, ...] | None], ...]


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Return what changes when somebody touches one of these files, or replaces it."""
    return tuple((str(path), _look(path)) for path in sorted(set(paths)))


def config_files(main_config: Path) -> list[Path]:
    """Return the server's configuration with everything that it includes, now."""
    found: list[Path] = []
    _follow(main_config, found, 0)
    return found


def connections(main_config: Path) -> list[str]:
    """Return an ordinary connection, and one for each Match block, as `sshd -T -C` takes them."""
    found = [_ORDINARY]
    for path in config_files(main_config):
        for line in _lines(path):
            words = _words(line.replace("=", " "), "match")
            asked = {
                _CRITERIA[name.lower()]: specimen
                for name, patterns in zip(words[::2], words[1::2], strict=False)
                if name.lower() in _CRITERIA and (specimen := _specimen(patterns))
            }
            if asked:
                found.append(_ORDINARY | asked)
    said = (",".join(f"{name}={value}" for name, value in each.items()) for each in found)
    return list(dict.fromkeys(said))


def _specimen(patterns: str) -> str:
    """Return something that the first of the patterns matches; nothing where anything does."""
    for pattern in patterns.split(","):
        if not pattern.startswith("!") and set(pattern) != {"*"}:
            return pattern.partition("/")[0].replace("*", "0").replace("?", "0")
    return ""


def _follow(path: Path, found: list[Path], depth: int) -> None:
    if path in found or depth > _DEPTH:
        return
    found.append(path)
    for line in _lines(path):
        for pattern in _words(line.replace("=", " ", 1), "include"):
            pattern = pattern if pattern.startswith("/") else str(_RELATIVE_TO / pattern)
            for included in sorted(Path("/").glob(pattern.lstrip("/"))):
                _follow(included, found, depth + 1)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []  # its absence is seen in the fingerprint, and sshd says what it thinks of it


def _words(line: str, keyword: str) -> list[str]:
    """Return what follows the keyword in a line that begins with it."""
    words = line.split(maxsplit=1)
    if len(words) != 2 or words[0].lower() != keyword:
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
