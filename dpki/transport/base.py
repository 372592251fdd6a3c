"""The one interface of everything that carries small messages between devices and admins.

There is a slot for each kind of message and device, and a newer message takes the older one's
place: a device that says the same again and again, or a carrier that is full of it, costs one slot.
A carrier may drop, delay, repeat, alter and forge: what a message says is proven by the message
itself (an enrolment request and an acknowledgement are signed, an answer carries a MAC), and its
topic proves nothing.
"""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from dpki.errors import TransportUnavailable, UsageError
from dpki.model import Address

MESSAGE_LIMIT = 192 << 10
"""Bytes of a message, at most: an enrolment request with 256 prekeys has two thirds of it."""

MAXIMUM_MESSAGES = 20_000
"""Messages that one call of `receive` takes, at most: whoever floods is left, and named."""


class Kind(enum.Enum):
    """What a message is; the value is the word in topics and names of files."""

    REQUEST = "request"
    """From a device: to be enrolled, or to have its key document replaced."""
    ANSWER = "answer"
    """To a device: what became of its request."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """From a device: what it has installed."""


@dataclass(frozen=True)
class Topic:
    """A slot: one kind of message, from or to one device."""

    kind: Kind
    device: Address

    @property
    def text(self) -> str:
        """The written form: two words that are safe in a topic, in a shell and as a file's name."""
        return f"{self.kind.value}/0x{self.device.hex()}"

    @classmethod
    def find(cls, text: str) -> Topic | None:
        """Return the topic of this text; None for text that is none."""
        match = re.fullmatch(r"([a-z]{1,20})/(0x[0-9a-f]{40})", text)
        if match is None or match[1] not in {kind.value for kind in Kind}:
            return None
        return cls(Kind(match[1]), Address.parse(match[2]))


@dataclass(frozen=True)
class Message:
    """What lay in a slot: untrusted.

    Attributes:
        data: Its bytes; of one that is too large `MESSAGE_LIMIT` and one more.
    """

    topic: Topic
    data: bytes = field(repr=False)

    @property
    def is_oversized(self) -> bool:
        """Whether it is too large, and cut off."""
        return len(self.data) > MESSAGE_LIMIT


class Transport(Protocol):
    """A way that messages take."""

    @property
    def name(self) -> str:
        """What people see: no secret, one line."""

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        """Leave a message in its slot, in place of an earlier one.

        Raises:
            UsageError: It is empty or larger than `MESSAGE_LIMIT`.
            TransportUnavailable: It could not be left there in time.
        """

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        """Yield what lies in the slots of a kind; any message may come more than once.

        Args:
            deadline: How long all of it may take.
            device: Only this device's slot.
            wait: Yield also what comes later, until the deadline.

        Raises:
            TransportUnavailable: It could not be looked at in time, or there are more than
                `MAXIMUM_MESSAGES`, after so many.
        """


def verify_message(data: bytes) -> bytes:
    """Return the message when a transport takes it.

    Raises:
        UsageError: It is empty (brokers take that for "remove it") or too large.
    """
    if not 0 < len(data) <= MESSAGE_LIMIT:
        raise UsageError(f"a message has 1 to {MESSAGE_LIMIT} bytes, not {len(data)}")
    return data


def too_many(name: str) -> TransportUnavailable:
    """Return the error for a flood."""
    return TransportUnavailable(
        f"{name} holds more than {MAXIMUM_MESSAGES} messages: the rest was not looked at",
        hint="find out who fills it, and remove what does not belong there",
    )


def looked_again(
    look: Callable[[timedelta], Iterable[Message]],
    deadline: timedelta,
    pause: float,
    *,
    wait: bool,
) -> Iterator[Message]:
    """Yield what a transport that can only be looked at holds; with `wait`, what changes in it.

    Args:
        look: Yields all that is there, within the time that is left.
        pause: Seconds between two looks.
    """
    end = time.monotonic() + deadline.total_seconds()
    yielded: dict[Topic, bytes] = {}
    is_first = True
    while True:
        try:
            for message in look(timedelta(seconds=max(0.0, end - time.monotonic()))):
                if yielded.get(message.topic) != message.data:
                    if wait:
                        yielded[message.topic] = message.data
                    yield message
        except TransportUnavailable:
            # The end of waiting finds some look under way; the first one was to be whole.
            if is_first or time.monotonic() < end:
                raise
            return
        is_first = False
        left = end - time.monotonic()
        if not wait or left <= pause:
            time.sleep(max(0.0, left) if wait else 0.0)
            return
        time.sleep(pause)
