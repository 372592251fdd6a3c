"""A folder of messages on a host, looked at through the system's `ssh`.

A host whose key is not known is never talked to, nothing is asked at the terminal, and what runs
there is one fixed line for the host's shell; what it prints is bounded, in size and time.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.strict_ssh import REFUSED, Talk, ssh_command, talking
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
        words, line = [*self._arguments(), f"sh -c {shlex.quote(command)}"], b""
        try:
            with talking(words, data, deadline) as talk:
                for piece in talk:
                    *whole, line = (line + piece).split(b"\n")
                    yield from whole
                    if len(line) > _LONGEST_LINE:
                        raise TransportUnavailable(f"{self.name} prints without end")
        except TimeoutError as error:
            raise TransportUnavailable(f"{self.name} did not answer in time") from error
        except OSError as error:
            raise TransportUnavailable(
                f"ssh, which {self.name} is reached with, could not be started: {error.strerror}",
                hint="install OpenSSH's client",
            ) from error
        self._verify_end(talk)

    def _arguments(self) -> list[str]:
        address = self.address
        return [
            *ssh_command(self.config),
            *(["-p", str(address.port)] if address.port else []),
            *(["-l", address.user] if address.user else []),
            "--",
            address.host,
        ]

    def _verify_end(self, talk: Talk) -> None:
        """Refuse anything but success: half of what is there would look like all of it."""
        if talk.status == 0:
            return
        words = _words(talk.words)
        if talk.status == REFUSED and "Host key verification failed" in words:
            raise TransportUnavailable(
                f"the host key of {self.name} is not the one that is known for it, or none is",
                hint="find out which key the host has, by another way; enter it in known_hosts, or"
                " trust the domain's host CA: dpki ssh known-hosts",
            )
        raise TransportUnavailable(
            f"{self.name} failed with status {talk.status}: {words}",
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


def _words(data: bytes) -> str:
    """Return what a host said, in one printable line."""
    text = " ".join(data.decode("ascii", "replace").split())
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[-200:] or "no words"
