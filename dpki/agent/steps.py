"""In which order files change: what refuses first, what admits last. Pure.

After each single step, nobody gets in whom neither the old files nor the new ones let in; and once
the removals are done, nobody whom the new ones don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpki.agent.accounts import common_access
from dpki.agent.sshd import InstalledFiles
from dpki.certificates.krl import parse_krl, refuse_the_same, unite_krls
from dpki.errors import MalformedInput
from dpki.files import PUBLIC


@dataclass(frozen=True)
class Write:
    """Have a file with this content; one that is right is left alone.

    Attributes:
        owner: Number of the user that it belongs to; None for whoever runs this.
        joins_next: Whether it is of no use without the next one, nor that one without it.
    """

    path: Path
    content: bytes = field(repr=False)
    mode: int = PUBLIC
    owner: int | None = None
    joins_next: bool = False


@dataclass(frozen=True)
class Remove:
    """Have no such file."""

    path: Path


Step = Write | Remove


@dataclass(frozen=True)
class Wanted:
    """What sshd and its login command should read.

    Attributes:
        krl: Content of RevokedKeys.
        user_authorities: Content of TrustedUserCAKeys.
        login_command: The script.
        login_index: What it decides from.
        accounts: Files mode's file of each account, by its name.
        break_glass: The only plain authorized key; None for none.
    """

    krl: bytes
    user_authorities: bytes
    login_command: bytes
    login_index: bytes
    accounts: Mapping[str, bytes]
    break_glass: bytes | None


def removals(files: InstalledFiles, found: Mapping[Path, bytes], wanted: Wanted) -> list[Step]:
    """Return the steps that take access away, and add none.

    Args:
        found: Content of the files that are there.
    """
    steps: list[Step] = [Write(files.krl, refusing_both(found.get(files.krl), wanted.krl))]
    if (listed := found.get(files.user_authorities)) is not None:
        before = set(listed.splitlines(keepends=True))
        kept = [ca for ca in wanted.user_authorities.splitlines(keepends=True) if ca in before]
        steps.append(Write(files.user_authorities, b"".join(kept)))
    for path, content in sorted(found.items()):
        if path.parent == files.accounts:
            common = common_access(content, wanted.accounts.get(path.name, b""))
            steps.append(Write(path, common) if common else Remove(path))
    if wanted.break_glass is None:
        steps.append(Remove(files.break_glass))
    else:
        steps.append(Write(files.break_glass, wanted.break_glass))
    # Each version of the command reads its own index alone, and nobody gets in by another.
    steps.append(Write(files.login_command, wanted.login_command, joins_next=True))
    steps.append(Write(files.login_index, wanted.login_index))
    return steps


def additions(files: InstalledFiles, wanted: Wanted, *, release: bool) -> list[Step]:
    """Return the steps after which everything is as wanted.

    Args:
        release: Whether the KRL may already let go of what only the old one refused: not while
            sshd still decides by other means than the new files are made for.
    """
    steps: list[Step] = [Write(files.user_authorities, wanted.user_authorities)]
    steps += [
        Write(files.accounts / name, content) for name, content in sorted(wanted.accounts.items())
    ]
    if release:
        steps.append(Write(files.krl, wanted.krl))
    return steps


def same_refusals(found: bytes | None, wanted: bytes) -> bytes:
    """Return the KRL that is there if it refuses the same: a newer block alone changes nothing."""
    return found if found is not None and refuse_the_same(found, wanted) else wanted


def refusing_both(found: bytes | None, wanted: bytes) -> bytes:
    """Return a KRL that refuses what the old or the new one does."""
    if found is None:
        return wanted
    try:
        both = unite_krls(parse_krl(found), parse_krl(wanted))
    except MalformedInput:
        return wanted
    return same_refusals(wanted, same_refusals(found, both))
