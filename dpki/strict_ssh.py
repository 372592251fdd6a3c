"""How dpki calls the system's own `ssh`: nothing is asked, and no unknown host is talked to.

What comes over such a connection is taken for the host's word (claim T2), so nothing here may be
weakened by anybody's configuration: of an option ssh takes the first value that it is given
(ssh_config(5)), and these stand before all others. And a host may say what it likes, as long and as
much as it likes: there is an end to both.
"""

from __future__ import annotations

import functools
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

STRICT = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    # No key that only DNS vouches for, none at all on this machine, and no connection that another
    # ssh made by its own rules.
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
    "ControlMaster=no",
    "ControlPath=none",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "GSSAPIDelegateCredentials=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RequestTTY=no",
    "LogLevel=ERROR",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
)

REFUSED = 255
"""ssh's own exit status where it never got as far as the command (ssh(1))."""


def ssh_command(config: str | Path | None = None, options: Sequence[str] = ()) -> list[str]:
    """Return the words that begin a call of `ssh`.

    Args:
        config: The file for `ssh -F`; None or empty for the user's own.
        options: Further ones, as NAME=VALUE; none of the strict ones is overruled.
    """
    file = ["-F", str(config)] if config else []
    before = (*STRICT, *_strict_where_known())
    return ["ssh", *file, *(word for option in (*before, *options) for word in ("-o", option))]


@functools.cache
def _strict_where_known() -> tuple[str, ...]:
    """Return further strict options, that this `ssh` has; others end at an unknown one.

    Distributions add a key exchange in which Kerberos stands in for the host key.
    """
    try:
        known = subprocess.run(
            ["ssh", "-G", "-F", os.devnull, "host.invalid"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return ("GSSAPIKeyExchange=no",) if b"\ngssapikeyexchange " in known else ()


_PIECE = 1 << 16
_LAST_WORDS = 4096


class Talk:
    """A run of `ssh`; see `talking`. Iterated once, it gives what is printed, piece by piece.

    Attributes:
        status: Its exit status, afterwards.
        words: The end of what it said to standard error.
    """

    def __init__(self, process: subprocess.Popen[bytes], given: bytes, end: float) -> None:
        self._process, self._given, self._end = process, given, end
        self.status = 0
        self.words = b""

    def __iter__(self) -> Iterator[bytes]:
        """Give it what it is given, and yield what it prints.

        Raises:
            TimeoutError: It is not done in time.
        """
        process, rest = self._process, memoryview(self._given)
        with selectors.DefaultSelector() as pipes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
                way = selectors.EVENT_WRITE if pipe is process.stdin else selectors.EVENT_READ
                pipes.register(pipe, way, pipe)
            while pipes.get_map():
                ready = pipes.select(self._left())
                if not ready or not self._left():
                    raise TimeoutError
                for key, _ in ready:
                    if key.data is process.stdin:
                        rest = _written(key.fd, rest)
                        is_over = not rest
                    else:
                        got = os.read(key.fd, _PIECE)
                        is_over = not got
                        if key.data is process.stderr:
                            self.words = (self.words + got)[-_LAST_WORDS:]
                        elif got:
                            yield got
                    if is_over:
                        pipes.unregister(key.data)
                        key.data.close()
        try:
            self.status = process.wait(max(0.1, self._left()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def _left(self) -> float:
        return max(0.0, self._end - time.monotonic())


@contextmanager
def talking(command: Sequence[str], given: bytes, deadline: timedelta) -> Iterator[Talk]:
    """Run `ssh` for the block, and no longer.

    Args:
        command: As `ssh_command` begins it.
        given: Its standard input.
        deadline: For all of it.

    Raises:
        OSError: There is no `ssh`.
    """
    end = time.monotonic() + deadline.total_seconds()
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe)
    with process:
        try:
            yield Talk(process, given, end)
        finally:
            process.kill()


def _written(descriptor: int, rest: memoryview) -> memoryview:
    """Write some of it, and return what is left: nothing where nobody reads."""
    try:
        return rest[os.write(descriptor, rest[:_PIECE]) :]
    except BrokenPipeError:
        return rest[:0]
