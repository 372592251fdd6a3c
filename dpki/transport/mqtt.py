"""Messages through a broker: retained, so that each waits there for whoever comes for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from paho.mqtt.client import MQTTMessage

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.signer.pin import PinSource
from dpki.transport.address import BrokerAddress
from dpki.transport.base import (
    MAXIMUM_MESSAGES,
    MESSAGE_LIMIT,
    Kind,
    Message,
    Topic,
    too_many,
    verify_message,
)
from dpki.transport.mqtt_connection import Connection, connected

QUIET = 1.0
"""Seconds without a message after which a broker has shown all that it keeps."""


@dataclass(frozen=True)
class MqttTransport:
    """A `Transport` through a broker.

    Attributes:
        password: Asked for each connection, and not kept.
        authority: Who vouches for the broker; None for those that the system trusts.
    """

    address: BrokerAddress
    user: str
    password: PinSource = field(repr=False)
    authority: Path | None = None

    @property
    def name(self) -> str:
        """What people see."""
        return f"broker {self.address}"

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        """Leave a message; see `Transport.send`."""
        verify_message(data)
        end = time.monotonic() + deadline.total_seconds()
        with self._connected(end) as connection:
            connection.publish(f"{self.address.prefix}/{topic.text}", data, end, retain=True)

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        """Yield what the broker keeps; see `Transport.receive`."""
        end = time.monotonic() + deadline.total_seconds()
        which = "+" if device is None else f"0x{device.hex()}"
        with self._connected(end) as connection:
            connection.subscribe(f"{self.address.prefix}/{kind.value}/{which}")
            for message in self._listen(connection, kind, end, wait=wait):
                yield message
                if device is not None and not wait:
                    # There is no more in one slot.
                    return

    def _listen(
        self, connection: Connection, kind: Kind, end: float, *, wait: bool
    ) -> Iterator[Message]:
        taken, heard = 0, time.monotonic()
        while True:
            while connection.inbox:
                # Rubbish is counted, too.
                taken, heard = taken + 1, time.monotonic()
                if taken > MAXIMUM_MESSAGES:
                    raise too_many(self.name)
                message = self._message(connection.inbox.popleft())
                if message is not None and message.topic.kind is kind:
                    yield message
            now, has_agreed = time.monotonic(), connection.has_agreed()
            if not has_agreed:
                heard = now
            elif now >= end if wait else now >= heard + QUIET:
                return
            try:
                connection.turn(end, 0.1)
            except TransportUnavailable:
                if not (wait and has_agreed and time.monotonic() >= end):
                    raise

    def _message(self, received: MQTTMessage) -> Message | None:
        """Return a message of ours; None for anything else."""
        try:
            prefix, topic = self.address.prefix, received.topic
        except UnicodeDecodeError:
            return None
        found = Topic.find(topic.removeprefix(f"{prefix}/"))
        if found is None or not received.payload or topic != f"{prefix}/{found.text}":
            return None
        return Message(found, bytes(received.payload[: MESSAGE_LIMIT + 1]))

    def _connected(self, end: float) -> AbstractContextManager[Connection]:
        return connected(self.name, self.address, self.user, self.password, self.authority, end)
