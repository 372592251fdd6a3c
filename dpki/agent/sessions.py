"""Ending what a certificate opened, when the certificate ends.

sshd checks a certificate at login and never again. So the login command leaves a record of who asks
it: the id of the sshd process that will own the session, the moment, the certificate. Each
time that the agent has installed something, and whenever a certificate's time is over, it looks
whether that process still is the same one, and whether the certificate still counts. Records are
files without content in a folder of the login command's user; what they say is believed only as far
as the process shows it to be true, so whoever is that user can end sessions too early or spare
them, and no more.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dpki.agent.disk import number_of
from dpki.agent.index import LoginIndex
from dpki.agent.login import MARKED, boot_id
from dpki.agent.processes import Process, end_session, is_listener, read_process
from dpki.config.device import Ending
from dpki.errors import MalformedInput
from dpki.files import translated

BOOT_VARIABLE = "DPKI_BOOT_ID"
"""The environment variable by which the agent's unit passes on the boot's id."""

_RECORD = re.compile(
    r"([1-9][0-9]{0,9})-([0-9a-f]{8})-([0-9]{1,15})"
    rf"-((?:[0-9a-f]{{64}}-[0-9]{{1,20}}-)?[0-9a-f]{{64}})({MARKED})?"
)
_TITLE = re.compile(r"sshd(-session)?: ")
_ROUNDING = 1.0


@dataclass(frozen=True)
class LoginRecord:
    """What the login command wrote down.

    Attributes:
        process: The sshd process that asked.
        boot: The beginning of the boot's id; process ids begin anew with each boot.
        moment: Seconds since then.
        certificate: What it asked for: SHA-256 of the CA's key, serial and SHA-256 of it. What
            was written before login indexes of version 3 is the last of these alone.
        is_marked: Whether the certificate says that its sessions end with it.
    """

    process: int
    boot: str
    moment: float
    certificate: str
    is_marked: bool

    @property
    def hash(self) -> str:
        """The certificate's hash, in hexadecimal."""
        return self.certificate[-64:]


def parse_login_record(name: str) -> LoginRecord:
    """Return what a file's name says.

    Raises:
        MalformedInput: It is no record.
    """
    match = _RECORD.fullmatch(name)
    if match is None:
        raise MalformedInput(f"{name[:80]!r} is no record of a login")
    return LoginRecord(
        int(match[1]),
        match[2],
        int(match[3]) / 1000,
        match[4],
        match[5] is not None,
    )


def this_boot(environment: Mapping[str, str]) -> str:
    """Return the beginning of the boot's id, as the login command reads it.

    By the word of systemd, where the agent is its service: a sandbox may have a /proc of its own,
    which shows the kernel's id also where a container has another one.
    """
    said = environment.get(BOOT_VARIABLE, "")[:8]
    return said if re.fullmatch(r"[0-9a-f]{8}", said) else boot_id()


def is_session(process: Process, record: LoginRecord, boot: str) -> bool:
    """Whether this is the very sshd process that asked, and serves one connection.

    The listener, whose end would end every session, is none.
    """
    return (
        record.boot == boot
        and process.start <= record.moment + _ROUNDING
        and process.name.startswith("sshd")
        and process.owner in (0, os.geteuid())
        and _TITLE.match(process.title) is not None
        and not is_listener(process)
    )


def prepare_sessions(directory: Path, login_user: str) -> None:
    """Have the folder that the login command writes its records into, and nobody else.

    Raises:
        ConfigError: There is no such user.
        DpkiError: It could not be made.
    """
    number = number_of(login_user, "sshd.login_user")
    with translated(directory, "sessions can't be ended"):
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        wanted = number if os.geteuid() == 0 else os.geteuid()
        if found.st_uid != wanted:
            os.chown(directory, wanted, -1, follow_symlinks=False)
        if found.st_mode & 0o777 != 0o700:
            directory.chmod(0o700)


def next_end(index: LoginIndex, now: datetime) -> datetime | None:
    """Return when the next certificate runs out, by the device's clock; None for never.

    Whoever logs in meanwhile leaves a record that nobody need know of before.
    """
    ends = (c.not_after for c in index.certificates if c.not_after > now)
    return min(ends, default=None)


def end_sessions(
    directory: Path, index: LoginIndex, now: datetime, ending: Ending = Ending.GRANTED
) -> tuple[str, ...]:
    """End the sessions whose certificate does not count any more; forget those that are gone.

    Args:
        directory: Where the login command leaves its records.
        index: What counts.
        now: The device's clock.
        ending: Whose sessions.

    Returns:
        What was ended, a sentence each.
    """
    records = [*_records(directory)]
    if not records:
        return ()  # at nearly every look; what counts may be a hundred thousand
    chain = {authority.id: authority.chain_time for authority in index.authorities}
    keys = {a.id: hashlib.sha256(a.key).hexdigest() for a in index.authorities}
    counting = {
        name
        for c in index.certificates
        if max(now, chain[c.authority]) < c.not_after
        for name in (f"{keys[c.authority]}-{c.serial}-{c.hash.hex()}", c.hash.hex())
    }
    boot = this_boot(os.environ)
    ended = []
    for path, record in records:
        owner = read_process(record.process)
        if owner is None or not is_session(owner, record, boot):
            _forget(path)
        elif record.certificate not in counting and (ending is Ending.ALL or record.is_marked):
            if (is_all := end_session(owner)) is not None:
                rest = "" if is_all else "; what it started forks on, and could not be killed"
                ended.append(f"{owner.title}: certificate 0x{record.hash} counts no more{rest}")
            _forget(path)
    return tuple(dict.fromkeys(ended))


def _records(directory: Path) -> Iterator[tuple[Path, LoginRecord]]:
    for path in sorted(directory.glob("*")):
        try:
            yield path, parse_login_record(path.name)
        except MalformedInput:
            _forget(path)


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
