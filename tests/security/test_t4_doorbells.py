"""T4: a doorbell makes a device look earlier; however it is rung, it makes it believe nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.doorbell import listen_for_doorbell
from dpki.agent.schedule import BURST, RATE, Hint, Schedule
from dpki.errors import DpkiError, NotAllowed, TransportUnavailable
from dpki.model import Address
from dpki.transport.address import Broker
from dpki.transport.doorbell import FLOOD, listen, ring, topic_of_bell
from dpki.transport.mqtt_connection import connected
from tests.brokers import CONNACK, Authority, HostileBroker, Mosquitto, over_tls

DEVICE, OTHER = Address(b"\x01" * 20), Address(b"\x02" * 20)
SOON = timedelta(seconds=20)


class Listener:
    """A thread that listens, and what came of it."""

    def __init__(self, broker: Broker, device: Address = DEVICE) -> None:
        self.rings = 0
        self.error: DpkiError | None = None
        self._rung, self._ready, self.over = (threading.Event() for _ in range(3))
        self.thread = threading.Thread(target=self._run, args=(broker, device))
        self.thread.start()
        assert self._ready.wait(20)

    def _run(self, broker: Broker, device: Address) -> None:
        try:
            listen(broker, device, self._ring, self._ready.set, self.over)
        except DpkiError as error:
            self.error = error
        self._ready.set()

    def _ring(self) -> None:
        self.rings += 1
        self._rung.set()

    def wait(self) -> None:
        assert self._rung.wait(20)
        self._rung.clear()

    def end(self) -> None:
        self.over.set()
        self.thread.join(20)


def test_it_rings_at_this_door(mosquitto: Mosquitto) -> None:
    broker = mosquitto.under("bells")
    listener = Listener(broker)
    ring(broker, [OTHER], SOON)
    ring(broker, [OTHER, DEVICE], SOON)
    listener.wait()
    listener.end()
    assert (listener.rings, listener.error) == (1, None)
    # A bell is not kept: who comes later hears nothing.
    later = Listener(broker)
    later.end()
    assert later.rings == 0


def test_ten_thousand_a_second_are_hung_up_on(mosquitto: Mosquitto) -> None:
    broker = mosquitto.under("flood")
    listener = Listener(broker)
    source, end = Path(broker.password.removeprefix("file:")).read_text, time.monotonic() + 30
    with connected(
        "flood", broker.address, broker.user, lambda _: source(), broker.authority, end
    ) as connection:
        for _ in range(10_000):
            connection._client.publish(topic_of_bell(broker, DEVICE), b"x" * 999, qos=0)
        while listener.thread.is_alive():
            connection.turn(end, 0.05)
    assert isinstance(listener.error, TransportUnavailable)
    assert "floods" in str(listener.error)
    assert 0 < listener.rings <= FLOOD + 1


@pytest.mark.parametrize("packet", [b"\xd0\x00", b"\x30\x03\x00\x01x"])
def test_a_broker_that_talks_without_end_is_hung_up_on(
    mosquitto: Mosquitto, tmp_path: Path, packet: bytes
) -> None:
    """Whatever it says: also what rings nowhere costs a device work."""
    authority = Authority.create(tmp_path / "tls")

    def talk(connection: ssl.SSLSocket) -> None:
        connection.sendall(CONNACK)
        connection.recv(4096)
        connection.sendall(b"\x90\x03\x00\x01\x00")
        while True:
            connection.sendall(packet * 100)

    hostile = HostileBroker(authority, over_tls(authority, talk))
    address = replace(mosquitto.broker.address, port=hostile.port)
    broker = replace(mosquitto.broker, address=address, authority=authority.certificate)
    listener = Listener(broker)
    listener.thread.join(20)
    listener.end()
    hostile.close()
    assert isinstance(listener.error, TransportUnavailable)
    assert "floods" in str(listener.error)


def test_and_what_came_through_costs_no_more_than_a_busy_chain() -> None:
    """Ten thousand hints a second for ten seconds: no more looks than ever."""
    schedule, looks, now = Schedule(interval=3600, due=3600), 0, 0.0
    for _ in range(100):
        for _ in range(1000):
            schedule = schedule.hinted(Hint.EVENT, now)
        if schedule.due <= now:
            looks += 1
            schedule = schedule.succeeded(now, 0, pending=False)
        now += 0.1
    assert looks <= BURST + RATE * 10 + 1


def test_a_wrong_password_is_told_and_tried_ever_less_often(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("hunter2")
    broker = replace(mosquitto.broker, password=f"file:{secret}")
    with pytest.raises(NotAllowed):
        listen(broker, DEVICE, lambda: None, lambda: None, threading.Event())
    said = asyncio.run(_told(broker))
    assert len(said) == 1
    assert "hunter2" not in said[0]


def test_a_broker_that_is_down_or_hangs_holds_nobody_up(mosquitto: Mosquitto) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = replace(mosquitto.broker.address, port=silent.getsockname()[1])
        hanging = replace(mosquitto.broker, address=address)
        began = time.monotonic()
        # Cancelled in the midst of a handshake that will never end.
        assert asyncio.run(_told(hanging, for_=0.3)) == []
        assert time.monotonic() - began < 10
    said = asyncio.run(_told(hanging))
    assert "could not be used" in said[0]


async def _told(broker: Broker, for_: float | None = None) -> list[str]:
    """Return what a listener says, until it has said something or the time is over."""
    said: list[str] = []
    spoken = asyncio.Event()

    def report(name: str, does: str) -> None:
        said.append(does)
        spoken.set()

    task = asyncio.create_task(listen_for_doorbell(broker, DEVICE, lambda: None, report))
    try:
        await asyncio.wait_for(spoken.wait(), for_ or 20)
    except TimeoutError:
        assert for_ is not None
    task.cancel()
    await asyncio.wait([task])
    return said
