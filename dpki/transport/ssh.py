"""A folder of messages on a host, looked at through the system's `ssh`.

A host whose key is not known is never talked to, nothing is asked at the terminal, and what runs
there is one fixed line for the host's shell; what it prints is bounded, in size and time.
"""

from __future__ import annotations

import base64
import binascii
import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.strict_ssh import REFUSED, ssh_command
from dpki.transport.address import SshAddress
from dpki.transport.base import (
    MAXIMUM_MESSAGES,
    MESSAGE_LIMIT,
    Kind,
    Message,
    Topic,
    looked_again,
    too_many,
    verify_message,
)
from dpki.transport.directory import SUFFIX, file_name, topic_of

_LONGEST_LINE = (MESSAGE_LIMIT + 1) * 4 // 3 + 1024
_LONGEST_WORDS = 4096

# One line for each file: its name, and its content in base64.
_LOOK = (
    'cd {folder} || exit 9; for f in {pattern}; do if [ -f "$f" ] && [ ! -L "$f" ]; then'
    " printf '%s ' \"$f\"; head -c {limit} \"$f\" | base64 | tr -d '\\n'; echo; fi; done"
)
_LEAVE = (
    "umask 022 && mkdir -p {folder} && cd {folder} && cat > {temporary} && mv -f {temporary} {name}"
)


@dataclass(frozen=True)
class SshTransport:
    """A `Transport` through a folder on a host; see `DirectoryTransport`.

    Attributes:
        config: OpenSSH's configuration file for it; None for the user's own.
        pause: Seconds between two looks while waiting.
    """

    address: SshAddress
    config: Path | None = None
    pause: float = 5.0

    @property
    def name(self) -> str:
        """What people see."""
        return str(self.address)

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        """Leave a message; see `Transport.send`."""
        verify_message(data)
        name = file_name(topic)
        command = _LEAVE.format(
            folder=shlex.quote(self.address.path),
            temporary=f".{name}.{os.urandom(6).hex()}.tmp",
            name=name,
        )
        for _ in self._run(command, data, deadline):
            # Whatever a host prints in its shell's start-up files.
            continue

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        """Yield what lies there; see `Transport.receive`."""
        return looked_again(
            lambda left: self._look(kind, device, left), deadline, self.pause, wait=wait
        )

    def _look(self, kind: Kind, device: Address | None, left: timedelta) -> Iterator[Message]:
        one = f"{kind.value}-0x*{SUFFIX}" if device is None else file_name(Topic(kind, device))
        folder = shlex.quote(self.address.path)
        command = _LOOK.format(folder=folder, pattern=one, limit=MESSAGE_LIMIT + 1)
        for count, line in enumerate(self._run(command, b"", left)):
            if count >= MAXIMUM_MESSAGES:
                raise too_many(self.name)
            message = parse_line(line)
            if message is None or message.topic.kind is not kind:
                continue
            if device in (None, message.topic.device):
                yield message

    def _run(self, command: str, data: bytes, deadline: timedelta) -> Iterator[bytes]:
        """Run a line in the host's `sh`, and yield the lines that it prints."""
        end = time.monotonic() + deadline.total_seconds()
        process = _start([*self._arguments(), f"sh -c {shlex.quote(command)}"], self.name)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield from self._talk(process, data, end)
            self._verify_end(process, end)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()

    def _arguments(self) -> list[str]:
        address = self.address
        return [
            *ssh_command(self.config),
            *(["-p", str(address.port)] if address.port else []),
            *(["-l", address.user] if address.user else []),
            "--",
            address.host,
        ]

    def _talk(self, process: subprocess.Popen[bytes], data: bytes, end: float) -> Iterator[bytes]:
        """Write the data and read lines until the process says no more."""
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        os.set_blocking(stdin.fileno(), False)
        rest, line = memoryview(data), b""
        while True:
            if not rest and not stdin.closed:
                stdin.close()
            left = end - time.monotonic()
            writers = [] if stdin.closed else [stdin]
            readable, writable, _ = select.select([stdout], writers, [], max(0.0, left))
            if not readable and not writable:
                raise TransportUnavailable(f"{self.name} did not answer in time")
            if writable:
                try:
                    rest = rest[os.write(stdin.fileno(), rest[:65536]) :]
                except BrokenPipeError:
                    rest = rest[:0]
            if readable:
                got = os.read(stdout.fileno(), 65536)
                *whole, line = (line + got).split(b"\n")
                yield from whole
                if len(line) > _LONGEST_LINE:
                    raise TransportUnavailable(f"{self.name} prints without end")
                if not got:
                    return

    def _verify_end(self, process: subprocess.Popen[bytes], end: float) -> None:
        """Refuse anything but success: half of what is there would look like all of it."""
        try:
            status = process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TransportUnavailable(f"{self.name} did not answer in time") from error
        if status == 0:
            return
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        words = _words(process.stderr.read(_LONGEST_WORDS) or b"")
        if status == REFUSED and "Host key verification failed" in words:
            raise TransportUnavailable(
                f"the host key of {self.name} is not the one that is known for it, or none is",
                hint="find out which key the host has, by another way; enter it in known_hosts, or"
                " trust the domain's host CA: dpki ssh known-hosts",
            )
        raise TransportUnavailable(
            f"{self.name} failed with status {status}: {words}",
            hint="does this work: ssh, without a question, to that host; and is the folder there?",
        )


def parse_line(line: bytes) -> Message | None:
    """Return the message of a line that a host printed; None for any other line."""
    name, _, text = line.partition(b" ")
    topic = topic_of(name.decode("ascii", "replace"))
    if topic is None:
        return None
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return None
    return Message(topic, data[: MESSAGE_LIMIT + 1]) if data else None


def _start(command: list[str], name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise TransportUnavailable(
            f"ssh, which {name} is reached with, could not be started: {error.strerror}",
            hint="install OpenSSH's client",
        ) from error


def _words(data: bytes) -> str:
    """Return what a host said, in one printable line."""
    text = " ".join(data.decode("ascii", "replace").split())
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[-200:] or "no words"
