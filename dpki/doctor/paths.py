"""Files and folders: who owns them and who else could change or read them.

sshd checks only the interpreter of the login command; the script, its index, the KRL and the CA
list are ours to check, with every folder above them.
"""

from __future__ import annotations

import enum
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpki.doctor.finding import AS_ROOT, Finding, Level

_OTHERS_WRITE = 0o022


class Kind(enum.Enum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "folder"
    LINK = "symbolic link"
    OTHER = "neither file nor folder"
    MISSING = "missing"
    HIDDEN = "not to be seen by this user"


@dataclass(frozen=True)
class PathFacts:
    """What the file system says of a path, links not followed."""

    path: Path
    kind: Kind
    owner: int = 0
    mode: int = 0
    size: int = 0


def look_at(path: Path) -> PathFacts:
    """Return the facts of a path."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return PathFacts(path, Kind.MISSING)
    except OSError:
        return PathFacts(path, Kind.HIDDEN)
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}
    kind = kinds.get(stat.S_IFMT(found.st_mode), Kind.OTHER)
    return PathFacts(path, kind, found.st_uid, stat.S_IMODE(found.st_mode), found.st_size)


def look_above(path: Path) -> list[PathFacts]:
    """Return the facts of a folder and every folder above it, the top one first."""
    resolved = path.resolve()
    return [look_at(folder) for folder in reversed((resolved, *resolved.parents))]


def judge(
    part: str,
    facts: PathFacts,
    *,
    mode: int,
    owners: Iterable[int],
    kind: Kind = Kind.FILE,
    missing: str,
) -> Finding:
    """Return whether a file or folder is there, is owned rightly, and open to nobody else.

    Args:
        mode: The permission bits that it may have at most.
        owners: User numbers that may own it.
        missing: What brings it back.
    """
    where, quoted = str(facts.path), shlex.quote(str(facts.path))

    def problem(said: str, mend: str) -> Finding:
        return Finding(part, Level.PROBLEM, said, where, mend)

    if facts.kind is Kind.HIDDEN:
        return Finding(part, Level.COULD_NOT_CHECK, "this user can't see it", where, AS_ROOT)
    if facts.kind is Kind.MISSING:
        return problem("it is missing", missing)
    if facts.kind is not kind:
        return problem(f"it is a {facts.kind.value}, not a {kind.value}", missing)
    allowed = sorted(set(owners))
    if facts.owner not in allowed:
        return problem(f"it belongs to user number {facts.owner}", f"chown {allowed[0]} {quoted}")
    if facts.mode & ~mode:
        said = f"its mode is {facts.mode:04o}: others can {_rights(facts.mode & ~mode)} it"
        return problem(said, f"chmod {facts.mode & mode:04o} {quoted}")
    return Finding(part, Level.OK, f"mode {facts.mode:04o}, user number {facts.owner}", where)


def judge_folders(part: str, folders: Iterable[PathFacts], owners: Iterable[int]) -> Finding:
    """Return whether nobody else could replace what stands below these folders."""
    last = ""
    for facts in folders:
        last = str(facts.path)
        # A sticky folder such as /tmp lets nobody rename what is another's.
        open_to_others = facts.mode & _OTHERS_WRITE and not facts.mode & stat.S_ISVTX
        found = judge(
            part,
            PathFacts(facts.path, facts.kind, facts.owner, _OTHERS_WRITE if open_to_others else 0),
            mode=~_OTHERS_WRITE,
            owners=owners,
            kind=Kind.DIRECTORY,
            missing=f"mkdir -m 0755 {shlex.quote(last)}",
        )
        if found.level is Level.PROBLEM and open_to_others:
            said = f"others can replace what is in it (mode {facts.mode:04o})"
            return Finding(part, Level.PROBLEM, said, last, f"chmod go-w {shlex.quote(last)}")
        if found.level is not Level.OK:
            return found
    return Finding(part, Level.OK, "it and every folder above can be changed by no other", last)


def _rights(bits: int) -> str:
    words = [
        word for mask, word in ((0o044, "read"), (0o022, "change"), (0o011, "run")) if bits & mask
    ]
    return " and ".join(words) or "use"
