"""A way for messages that stays in memory, and does what a hostile one may do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.transport.base import Kind, Message, Topic, looked_again, verify_message


class MemoryTransport:
    """A `Transport` in memory.

    Attributes:
        slots: What lies there.
        is_down: Whether nothing gets there and nothing can be had.
        sent: How many messages were taken.
    """

    def __init__(self) -> None:
        self.slots: dict[Topic, bytes] = {}
        self.is_down = False
        self.sent = 0
        self._changed = threading.Condition()

    @property
    def name(self) -> str:
        """What people see."""
        return "memory"

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        """Leave a message."""
        verify_message(data)
        self._verify_up()
        with self._changed:
            self.slots[topic] = data
            self.sent += 1
            self._changed.notify_all()

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        """Yield what lies there."""
        self._verify_up()
        return looked_again(lambda _: self._look(kind, device), deadline, 0.01, wait=wait)

    def wait_sent(self, count: int, seconds: float = 20) -> None:
        """Return once so many messages were taken."""
        until = time.monotonic() + seconds
        with self._changed:
            while self.sent < count:
                assert self._changed.wait(until - time.monotonic()), f"{self.sent} of {count}"

    def _look(self, kind: Kind, device: Address | None) -> Iterator[Message]:
        for topic, data in list(self.slots.items()):
            if topic.kind is kind and device in (None, topic.device):
                yield Message(topic, data)

    def _verify_up(self) -> None:
        if self.is_down:
            raise TransportUnavailable("memory is down")
