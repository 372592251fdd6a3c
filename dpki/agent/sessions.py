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
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent.disk import number_of
from dpki.agent.index import LoginIndex
from dpki.agent.login import MARKED, boot_id
from dpki.config.device import Ending
from dpki.errors import MalformedInput
from dpki.files import translated

GRACE = timedelta(seconds=3)
"""How long sshd gets to close a session properly, before everything in it is killed."""

FORKING = timedelta(seconds=20)
"""How long to go on killing what forks as fast as it is killed."""

QUIET = timedelta(seconds=0.3)
"""How long to look again and again, and find nothing, before nothing is believed: what forks passes
some looks by."""

BOOT_VARIABLE = "DPKI_BOOT_ID"
"""The environment variable by which the agent's unit passes on the boot's id."""

_RECORD = re.compile(
    r"([1-9][0-9]{0,9})-([0-9a-f]{8})-([0-9]{1,15})"
    rf"-((?:[0-9a-f]{{64}}-[0-9]{{1,20}}-)?[0-9a-f]{{64}})({MARKED})?"
)
_TITLE = re.compile(r"sshd(-session)?: ")
_NO_AUDIT_SESSION = 2**32 - 1
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


@dataclass(frozen=True)
class Process:
    """What everybody may see of a process (proc(5)).

    Attributes:
        start: Seconds since the boot.
        session: Its audit session, which no unprivileged process can leave; None for none.
        scope: The systemd scope of its login session; empty for none.
    """

    id: int
    parent: int
    owner: int
    name: str
    title: str
    start: float
    session: int | None
    scope: str


@dataclass(frozen=True)
class Marks:
    """What nothing that a session starts can put off, however it leaves the session.

    Attributes:
        session: Its audit session; None for none of its own.
        scope: Its systemd scope; empty for none of its own.
    """

    session: int | None
    scope: str

    def are_on(self, process: Process) -> bool:
        """Whether a process has one of them."""
        in_session = self.session is not None and process.session == self.session
        return in_session or (self.scope != "" and process.scope == self.scope)

    def are_at(self, folder: Path) -> bool:
        """Whether the process of this folder in /proc has one of them now, read at once."""
        in_session = self.session is not None and _audit_session(folder) == self.session
        return in_session or (self.scope != "" and _scope(folder) == self.scope)


def this_boot(environment: Mapping[str, str]) -> str:
    """Return the beginning of the boot's id, as the login command reads it.

    By the word of systemd, where the agent is its service: a sandbox may have a /proc of its own,
    which shows the kernel's id also where a container has another one.
    """
    said = environment.get(BOOT_VARIABLE, "")[:8]
    return said if re.fullmatch(r"[0-9a-f]{8}", said) else boot_id()


def read_process(number: int, proc: Path = Path("/proc")) -> Process | None:
    """Return a process; None when it is gone, or but a zombie."""
    folder = proc / str(number)
    try:
        stat = (folder / "stat").read_text(errors="replace")
        title = (folder / "cmdline").read_bytes()
        owner = folder.stat().st_uid
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    return Process(
        id=number,
        parent=int(fields[1]),
        owner=owner,
        name=name,
        title=title.replace(b"\0", b" ").decode("utf-8", "replace").strip(),
        start=int(fields[19]) / os.sysconf("SC_CLK_TCK"),
        session=_audit_session(folder),
        scope=_scope(folder),
    )


def _birth(folder: Path) -> str:
    """Return the clock tick in which a process was started; nothing once it is gone."""
    fields = _read(folder / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _audit_session(folder: Path) -> int | None:
    text = _read(folder / "sessionid")
    return int(text) if text.isdigit() and int(text) != _NO_AUDIT_SESSION else None


def _scope(folder: Path) -> str:
    found = re.search(r"/(session-[^/\n]+\.scope)$", _read(folder / "cgroup"), re.MULTILINE)
    return found[1] if found else ""


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


def is_listener(process: Process) -> bool:
    """Whether it is the sshd process that all sessions come from.

    Where no service manager starts it, it has the marks of the session in which somebody last did.
    """
    return (
        process.name.startswith("sshd")
        and process.owner in (0, os.geteuid())
        and "[listener]" in process.title
    )


def find_members(owner: Process, processes: list[Process]) -> tuple[Process, ...]:
    """Return everything that belongs to a session, without the sshd process that owns it.

    Its descendants; and what has left them but not its audit session or its scope, unless those are
    also the ones of sshd's listener, as where there is no PAM.
    """
    marks = marks_of(owner, processes)
    family = {owner.id}
    while more := {p.id for p in processes if p.parent in family} - family:
        family |= more
    return tuple(
        p
        for p in processes
        if p.id not in (owner.id, os.getpid())
        and (p.id in family or marks.are_on(p))
        and not is_listener(p)
    )


def marks_of(owner: Process, processes: list[Process]) -> Marks:
    """Return what marks a session's processes: nothing that sshd's listener has as well."""
    parent = next((p for p in processes if p.id == owner.parent), None)
    session, scope = owner.session, owner.scope
    if parent is not None and parent.session == session:
        session = None
    if parent is not None and parent.scope == scope:
        scope = ""
    return Marks(session, scope)


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
    for path, record in _records(directory):
        owner = read_process(record.process)
        if owner is None or not is_session(owner, record, boot):
            _forget(path)
        elif record.certificate not in counting and (ending is Ending.ALL or record.is_marked):
            if (is_all := _end(owner)) is not None:
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


def _end(owner: Process) -> bool | None:
    """End a session: sshd closes it, and whatever outlives that is killed.

    Every process is held by a descriptor, so that no other one that gets its id is ever hit.

    Returns:
        Whether nothing of it is left; None where it had ended by itself.
    """
    with ExitStack() as stack:
        processes = _processes()
        members, marks = find_members(owner, processes), marks_of(owner, processes)
        held = [d for p in members if (d := _hold(p, stack)) is not None]
        descriptor = _hold(owner, stack)
        if descriptor is None:
            return None
        _send(descriptor, signal.SIGTERM)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(GRACE.total_seconds() * 1000):
            _send(descriptor, signal.SIGKILL)
        for each in held:
            _send(each, signal.SIGKILL)
    return _kill_marked(marks)


def _kill_marked(marks: Marks) -> bool:
    """Kill everything with these marks, also what was started meanwhile; return whether it is.

    Each in the moment in which its marks are seen, before anything else is asked: what forks and
    ends at once is another process a moment later.
    """
    if marks == Marks(None, ""):
        return True
    begun = found = time.monotonic()
    killed = set[tuple[int, str]]()
    while (now := time.monotonic()) < found + QUIET.total_seconds():
        if now > begun + FORKING.total_seconds():
            return False
        for number in _suspects():
            if number != os.getpid() and _kill_if_marked(number, marks):
                # A zombie is there for as long as its parent likes.
                one = number, _birth(Path("/proc") / str(number))
                found = found if one in killed else now
                killed.add(one)
    return True


def _kill_if_marked(number: int, marks: Marks) -> bool:
    """Kill a process, living or dead, if it has these marks; return whether it had them."""
    try:
        descriptor = os.pidfd_open(number)
    except OSError:
        return False
    try:
        # If another one got the id meanwhile, its marks are read, and it is not what is hit.
        folder = Path("/proc") / str(number)
        if not marks.are_at(folder):
            return False
        if folder.stat().st_uid in (0, os.geteuid()):
            process = read_process(number)
            if process is not None and is_listener(process):
                return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return True


def _send(descriptor: int, number: signal.Signals) -> None:
    """Send a signal to a process that may end by itself at any moment."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _hold(process: Process, stack: ExitStack) -> int | None:
    """Return a descriptor of the very process that was seen; None when it is gone."""
    try:
        descriptor = os.pidfd_open(process.id)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    found = read_process(process.id)
    return descriptor if found is not None and found.start == process.start else None


def _processes() -> list[Process]:
    return [process for number in _numbers() if (process := read_process(number)) is not None]


def _suspects() -> Iterator[int]:
    """Yield the ids of all processes; again and again that of the newest, as it is by then.

    What forks and ends at once is always among the newest, and never long in any list.
    """
    for number in [*_numbers()]:
        yield number
        with suppress(ValueError, IndexError):
            yield int(_read(Path("/proc/loadavg")).split()[4])


def _numbers() -> Iterator[int]:
    """Yield the ids of all processes, each when it is asked for."""
    with os.scandir("/proc") as entries:
        yield from (int(entry.name) for entry in entries if entry.name.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
