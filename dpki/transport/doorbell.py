"""A doorbell: a message of no content that says "look now", through a broker (MQTT).

Whoever may publish there can ring, and nobody can say more than that by ringing. It is not kept by
the broker: who is not at home looks all the same when he comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.signer.pin import pin_source
from dpki.transport.address import Broker
from dpki.transport.mqtt_connection import connected

FLOOD = 200.0
"""Rings at once, and `RATE` a second from then on: whoever rings more often is hung up on.

What is no ring is counted like one: also that costs a device work.
"""

RATE = 2.0

_OPENING = 20.0
_SAID = b"look"


def ring(broker: Broker, devices: Iterable[Address], deadline: timedelta) -> None:
    """Ring at these devices.

    Raises:
        ConfigError, NotAllowed, TransportUnavailable: As `connected` says.
    """
    end = time.monotonic() + deadline.total_seconds()
    name, secret = f"broker {broker.address}", pin_source(broker.password)
    with connected(name, broker.address, broker.user, secret, broker.authority, end) as connection:
        for device in devices:
            connection.publish(topic_of_bell(broker, device), _SAID, end, retain=False)


def listen(
    broker: Broker,
    device: Address,
    rung: Callable[[], None],
    listening: Callable[[], None],
    over: threading.Event,
) -> None:
    """Call `rung` whenever somebody has rung, until it is over.

    Args:
        listening: Called once the broker has agreed.

    Raises:
        ConfigError, NotAllowed: The password can't be read, or is wrong.
        TransportUnavailable: The broker is not there, ends the connection, hangs, or floods.
    """
    end = time.monotonic() + _OPENING
    name, secret = f"broker {broker.address}", pin_source(broker.password)
    with connected(name, broker.address, broker.user, secret, broker.authority, end) as connection:
        connection.subscribe(topic_of_bell(broker, device))
        while not connection.has_agreed():
            connection.turn(end)
        listening()
        left, at = FLOOD, time.monotonic()
        while not over.is_set():
            now = time.monotonic()
            left = min(FLOOD, left + (now - at) * RATE) - max(1, len(connection.inbox))
            at = now
            if connection.inbox:
                connection.inbox.clear()
                rung()
            if left < 0:
                raise TransportUnavailable(f"{name} floods the doorbell")
            connection.turn(now + _OPENING)


def topic_of_bell(broker: Broker, device: Address) -> str:
    """Return the topic that a device listens to."""
    return f"{broker.address.prefix}/doorbell/0x{device.hex()}"
