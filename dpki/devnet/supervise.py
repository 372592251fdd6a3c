"""Keep one process for exactly as long as somebody holds the other end of a pipe.

Run as a script, with the standard library only: `python -I -S -E supervise.py FD GRACE COMMAND
...`. FD is the reading end of a pipe whose writing end the parent keeps: when the parent ends,
however it ends, the pipe does, and the command is stopped. PR_SET_PDEATHSIG alone would not do: it
fires when the *thread* that started the process ends, and setting it between fork and exec is
unsafe in a parent with threads. Here there is one thread, and it outlives its child.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def supervise(lifeline: int, grace: float, command: Sequence[str]) -> int:
    """Run the command until it ends, the lifeline does, or a signal asks; return its exit status.

    Args:
        lifeline: File descriptor that turns readable (end of file) when the parent is gone.
        grace: Seconds between SIGTERM and SIGKILL.
        command: Program and arguments.
    """
    libc = ctypes.CDLL(None)
    own = os.getpid()

    def die_with_supervisor() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != own:
            os._exit(127)

    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    child = subprocess.Popen(list(command), preexec_fn=die_with_supervisor)
    watched = [lifeline, wake]
    end: float | None = None
    while (status := child.poll()) is None:
        left = None if end is None else max(0.0, end - time.monotonic())
        readable, _, _ = select.select(watched, [], [], left)
        caught = os.read(wake, 64) if wake in readable else b""
        asked = lifeline in readable or any(number != signal.SIGCHLD for number in caught)
        if lifeline in readable:
            watched.remove(lifeline)
        if asked and end is None:
            child.terminate()
            end = time.monotonic() + grace
        elif end is not None and time.monotonic() >= end:
            child.kill()
            child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
