"""A folder of messages: for one machine, a shared mount, or a stick in a pocket.

It is also what an admin looks at through SSH (`dpki.transport.ssh`): one file for each slot,
replaced whole.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.errors import DpkiError, TransportUnavailable
from dpki.files import PUBLIC, write_atomic
from dpki.model import Address
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

SUFFIX = ".message"
_PAUSE = 1.0


@dataclass(frozen=True)
class DirectoryTransport:
    """A `Transport` through a folder, which the first `send` makes.

    Attributes:
        path: The folder. What is in it is public or sealed, and readable by everybody.
    """

    path: Path

    @property
    def name(self) -> str:
        """What people see."""
        return f"directory {self.path}"

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        """Leave a message; see `Transport.send`. The deadline is the file system's matter."""
        verify_message(data)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / file_name(topic), data, mode=PUBLIC)
        except (OSError, DpkiError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise TransportUnavailable(
                f"{self.name} could not take a message: {reason}",
                hint="check that the medium is mounted, free space and permissions",
            ) from error

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        """Yield what lies there; see `Transport.receive`."""
        return looked_again(lambda _: self._look(kind, device), deadline, _PAUSE, wait=wait)

    def _look(self, kind: Kind, device: Address | None) -> Iterator[Message]:
        for taken, topic in enumerate(self._topics(kind, device)):
            if taken >= MAXIMUM_MESSAGES:
                raise too_many(self.name)
            data = self._read(topic)
            if data:
                yield Message(topic, data)

    def _topics(self, kind: Kind, device: Address | None) -> Iterator[Topic]:
        if device is not None:
            yield Topic(kind, device)
            return
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    topic = topic_of(entry.name)
                    if topic is not None and topic.kind is kind:
                        yield topic
        except OSError as error:
            raise TransportUnavailable(
                f"{self.name} could not be looked at: {error.strerror}",
                hint="does it exist, and is the medium mounted?",
            ) from error

    def _read(self, topic: Topic) -> bytes:
        """Return a slot's content; nothing for one that is empty, or no file."""
        try:
            # Media may come from anywhere: no link out of the folder, no pipe that never ends.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.path / file_name(topic), flags)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return b""
                return file.read(MESSAGE_LIMIT + 1)
        except OSError as error:
            # Empty; or a bad sector or somebody's link, which must not hide what others say.
            if self.path.is_dir():
                return b""
            raise TransportUnavailable(
                f"{self.name} could not be looked at: {error.strerror}",
                hint="does it exist, and is the medium mounted?",
            ) from error


def file_name(topic: Topic) -> str:
    """Return what the file of a slot is called."""
    return topic.text.replace("/", "-") + SUFFIX


def topic_of(name: str) -> Topic | None:
    """Return the slot of a file; None for any other file."""
    match = re.fullmatch(rf"([a-z]+)-(0x[0-9a-f]+){re.escape(SUFFIX)}", name)
    return None if match is None else Topic.find(f"{match[1]}/{match[2]}")
