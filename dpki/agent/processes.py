"""The processes of a session: which they are (proc(5)), and their end.

What a session starts may leave it in any way but one: nobody puts off his audit session or the
scope that systemd gave it. Every process is held by a descriptor before it gets a signal, so that
no other one that gets its id is ever hit.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

GRACE = timedelta(seconds=3)
"""How long sshd gets to close a session properly, before everything in it is killed."""

FORKING = timedelta(seconds=20)
"""How long to go on killing what forks as fast as it is killed."""

QUIET = timedelta(seconds=0.3)
"""How long to look again and again, and find nothing, before nothing is believed: what forks passes
some looks by."""

_NO_AUDIT_SESSION = 2**32 - 1


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


def end_session(owner: Process) -> bool | None:
    """End a session: sshd closes it, and whatever outlives that is killed.

    Args:
        owner: The sshd process that it belongs to.

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
