"""Processes that dpki starts, and stops again.

An attached process lives as long as this one at most (`supervise`); a detached one outlives it and
is found again by pid *and* start time, because pids are used again and something else must never be
killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.devnet import supervise
from dpki.errors import ServiceFailed
from dpki.files import PRIVATE

GRACE = timedelta(seconds=5)
"""From SIGTERM to SIGKILL."""

_TAIL = 2000


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of one boot, whoever's child it is.

    Attributes:
        name: What it runs, for people.
        pid: Its number.
        started: Its start in clock ticks after boot (proc(5), /proc/pid/stat, field 22).
        boot: The boot that the ticks count from.
    """

    name: str
    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessIdentity:
        """Return the identity of a running process.

        Raises:
            ServiceFailed: There is none.
        """
        stat = _stat(pid)
        if stat is None:
            raise ServiceFailed(f"{name} ended at once", hint="see its log")
        return cls(name, pid, stat[1], _boot())

    def is_running(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        stat = _stat(self.pid)
        return (
            stat is not None
            and stat == (stat[0], self.started)
            and stat[0] != "Z"
            and self.boot == _boot()
        )

    def stop(self, grace: timedelta = GRACE) -> bool:
        """Stop it: SIGTERM, and SIGKILL when it is still there after `grace`.

        Returns:
            Whether it ran; False where it was gone already.

        Raises:
            ServiceFailed: It belongs to somebody else, or does not die.
        """
        try:
            # Opened before looking at the start time: from here on the handle can't change to
            # another process.
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_running():
                return False
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not _ended(handle, grace):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not _ended(handle, GRACE):
                    raise ServiceFailed(
                        f"{self.name} (pid {self.pid}) does not end, not even killed"
                    )
        except ProcessLookupError:
            return True
        except PermissionError as error:
            raise ServiceFailed(
                f"{self.name} (pid {self.pid}) belongs to another user", hint="stop it as that user"
            ) from error
        finally:
            os.close(handle)
        return True


class ManagedProcess:
    """A process started here.

    Args:
        name: What it is, for people.
        command: Program and arguments; no secret among them, for everybody may read them.
        log: File that gets its output.
        environment: Its whole environment.
        attached: Whether it must end with this process.

    Raises:
        ServiceFailed: It can't be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        attached: bool = True,
    ) -> None:
        self.name = name
        self.log = log
        self._lifeline: int | None = None
        self._process = self._start(command, environment, attached)
        self.identity = ProcessIdentity.of(name, self._process.pid)

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], attached: bool
    ) -> subprocess.Popen[bytes]:
        reader = -1
        if attached:
            reader, self._lifeline = os.pipe()
            # -I -S -E: no site packages, no user's modules: a start in 15 ms.
            command = [
                *(sys.executable, "-I", "-S", "-E", str(Path(supervise.__file__))),
                *(str(reader), str(GRACE.total_seconds()), *command),
            ]
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
            try:
                # A session of its own: Ctrl-C goes to us alone, and we stop things in order.
                return subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(environment),
                    pass_fds=[reader] if attached else [],
                    start_new_session=True,
                )
            finally:
                os.close(output)
                if attached:
                    os.close(reader)
        except OSError as error:
            self._cut()
            raise ServiceFailed(f"could not start {self.name}: {error.strerror}") from error

    def wait_ready(self, is_ready: Callable[[], bool], deadline: timedelta) -> None:
        """Wait until `is_ready` says so.

        Raises: ServiceFailed: It ended before, or the deadline passed; the message ends with the
            log's last lines.
        """
        end, pause = time.monotonic() + deadline.total_seconds(), 0.005
        while not is_ready():
            if self._process.poll() is not None:
                raise ServiceFailed(
                    f"{self.name} ended while starting: {self.tail()}", hint=f"see {self.log}"
                )
            if time.monotonic() >= end:
                raise ServiceFailed(
                    f"{self.name} was not ready within {deadline.total_seconds():g} s:"
                    f" {self.tail()}",
                    hint=f"see {self.log}",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def tail(self) -> str:
        """Return the end of its log in one line."""
        try:
            text = self.log.read_bytes()[-_TAIL:].decode(errors="replace")
        except OSError:
            return "no log"
        return (
            " | ".join(line.strip() for line in text.splitlines()[-5:] if line.strip())
            or "its log is empty"
        )

    def stop(self) -> None:
        """Stop it; a process that ended already is no error.

        Raises:
            ServiceFailed: It does not die.
        """
        # The supervisor needs its own grace for the child, and a little to notice.
        self.identity.stop(GRACE + timedelta(seconds=2) if self._lifeline is not None else GRACE)
        self._process.wait()
        self._cut()

    def release(self) -> None:
        """Let a detached process live on without us."""
        # Popen complains when it is collected before its process ended; this one is no longer its
        # business.
        self._process.returncode = 0

    def _cut(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state letter and start time of a process; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets and may hold anything, brackets included.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _ended(handle: int, within: timedelta) -> bool:
    """Whether the process behind the handle ends in time; a zombie has ended."""
    return bool(select.select([handle], [], [], within.total_seconds())[0])
