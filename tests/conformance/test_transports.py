"""What every way for messages promises, asked of each of them: real ones and stand-ins alike."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import UsageError
from dpki.model import Address
from dpki.transport.base import MESSAGE_LIMIT, Kind, Message, Topic, Transport
from dpki.transport.connect import open_broker
from dpki.transport.directory import DirectoryTransport
from dpki.transport.ssh import SshTransport
from tests.brokers import Mosquitto
from tests.ssh_outbox import Host
from tests.transports import MemoryTransport

DEADLINE = timedelta(seconds=20)
ONE, OTHER = Address(b"\x01" * 20), Address(b"\xab" * 20)


@pytest.fixture(params=["memory", "directory", "mqtt", "ssh"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    match request.param:
        case "memory":
            yield MemoryTransport()
        case "directory":
            (tmp_path / "box").mkdir()
            yield DirectoryTransport(tmp_path / "box")
        case "mqtt":
            broker: Mosquitto = request.getfixturevalue("mosquitto")
            yield open_broker(broker.under(f"conformance/{secrets.token_hex(8)}"))
        case _:
            host: Host = request.getfixturevalue("ssh_host")
            (tmp_path / "a box").mkdir()
            yield SshTransport(host.folder(tmp_path / "a box"), host.config, pause=0.2)


def lying(transport: Transport, kind: Kind, device: Address | None = None) -> dict[Topic, bytes]:
    """Return what lies there, each slot's content."""
    return {m.topic: m.data for m in transport.receive(kind, DEADLINE, device)}


def test_what_was_sent_is_received_byte_for_byte(transport: Transport) -> None:
    topic, data = Topic(Kind.REQUEST, ONE), b"\0\n\xff'\"$(id)" + secrets.token_bytes(100)
    transport.send(topic, data, DEADLINE)
    assert list(transport.receive(Kind.REQUEST, DEADLINE)) == [Message(topic, data)]


def test_there_is_nothing_at_first(transport: Transport) -> None:
    assert lying(transport, Kind.ACKNOWLEDGEMENT) == {}
    assert lying(transport, Kind.ANSWER, ONE) == {}


def test_a_slot_for_each_kind_and_device(transport: Transport) -> None:
    wanted = (Kind.REQUEST, ONE), (Kind.ANSWER, ONE), (Kind.ANSWER, OTHER)
    slots = {Topic(*each): secrets.token_bytes(9) for each in wanted}
    for topic, data in slots.items():
        transport.send(topic, data, DEADLINE)
    answers = {topic: data for topic, data in slots.items() if topic.kind is Kind.ANSWER}
    assert lying(transport, Kind.ANSWER) == answers
    own = Topic(Kind.ANSWER, OTHER)
    assert lying(transport, Kind.ANSWER, OTHER) == {own: slots[own]}


def test_a_newer_message_takes_the_older_ones_place(transport: Transport) -> None:
    topic = Topic(Kind.ACKNOWLEDGEMENT, ONE)
    for data in (b"first, longer", b"third"):
        transport.send(topic, data, DEADLINE)
    assert lying(transport, Kind.ACKNOWLEDGEMENT) == {topic: b"third"}
    # And it stays there for whoever comes next.
    assert lying(transport, Kind.ACKNOWLEDGEMENT) == {topic: b"third"}


def test_the_largest_message(transport: Transport) -> None:
    topic, data = Topic(Kind.REQUEST, ONE), secrets.token_bytes(MESSAGE_LIMIT)
    transport.send(topic, data, DEADLINE)
    (message,) = transport.receive(Kind.REQUEST, DEADLINE)
    assert message.data == data
    assert not message.is_oversized


@pytest.mark.parametrize("size", [0, MESSAGE_LIMIT + 1])
def test_what_no_message_is_is_not_sent(transport: Transport, size: int) -> None:
    with pytest.raises(UsageError):
        transport.send(Topic(Kind.REQUEST, ONE), bytes(size), DEADLINE)
    assert lying(transport, Kind.REQUEST) == {}


def test_whoever_waits_gets_what_comes_later(transport: Transport) -> None:
    early, late = Topic(Kind.ANSWER, ONE), Topic(Kind.ANSWER, OTHER)
    transport.send(early, b"early", DEADLINE)
    waiting = transport.receive(Kind.ANSWER, DEADLINE, wait=True)
    assert next(waiting) == Message(early, b"early")
    sender = threading.Thread(target=lambda: transport.send(late, b"late", DEADLINE))
    sender.start()
    assert next(waiting) == Message(late, b"late")
    sender.join()


def test_waiting_ends(transport: Transport) -> None:
    transport.send(Topic(Kind.ANSWER, ONE), b"x", DEADLINE)
    waited = transport.receive(Kind.ANSWER, timedelta(seconds=2), ONE, wait=True)
    assert [message.data for message in waited] == [b"x"]


def test_it_has_a_name(transport: Transport) -> None:
    assert transport.name.isprintable()
    assert transport.name
