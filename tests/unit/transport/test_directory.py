"""A folder of messages on media that may come from anywhere (claim T5's like)."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.transport.base import MESSAGE_LIMIT, Kind, Message, Topic
from dpki.transport.directory import DirectoryTransport, file_name, topic_of

DEADLINE = timedelta(seconds=5)
TOPIC = Topic(Kind.REQUEST, Address(b"\xab" * 20))
OTHER = Topic(Kind.REQUEST, Address(b"\x01" * 20))


def received(path: Path) -> list[Message]:
    return list(DirectoryTransport(path).receive(Kind.REQUEST, DEADLINE))


def test_the_name_of_a_file_is_its_slots() -> None:
    assert file_name(TOPIC) == f"request-0x{'ab' * 20}.message"
    assert topic_of(file_name(TOPIC)) == TOPIC


@pytest.mark.parametrize(
    "name",
    [
        "",
        "request.message",
        f"request-0x{'AB' * 20}.message",
        f"request-0x{'ab' * 21}.message",
        f"doorbell-0x{'ab' * 20}.message",
        f"request-0x{'ab' * 20}.message\n",
        f".request-0x{'ab' * 20}.message.0123456789ab.tmp",
    ],
)
def test_other_files_are_no_messages(name: str) -> None:
    assert topic_of(name) is None


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's")
    (tmp_path / file_name(TOPIC)).symlink_to(tmp_path / "secret")
    assert received(tmp_path) == []
    (tmp_path / file_name(TOPIC)).unlink()
    # Opening it would wait for a writer, for ever.
    os.mkfifo(tmp_path / file_name(TOPIC))
    DirectoryTransport(tmp_path).send(OTHER, b"x", DEADLINE)
    assert received(tmp_path) == [Message(OTHER, b"x")]


def test_what_is_too_large_is_cut_off_and_says_so(tmp_path: Path) -> None:
    (tmp_path / file_name(TOPIC)).write_bytes(bytes(MESSAGE_LIMIT + 77))
    (message,) = received(tmp_path)
    assert message.is_oversized
    assert len(message.data) == MESSAGE_LIMIT + 1


def test_an_empty_file_is_no_message(tmp_path: Path) -> None:
    (tmp_path / file_name(TOPIC)).touch()
    assert received(tmp_path) == []


def test_a_flood_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpki.transport.directory.MAXIMUM_MESSAGES", 3)
    transport = DirectoryTransport(tmp_path)
    for number in range(4):
        transport.send(Topic(Kind.REQUEST, Address(bytes([number]) * 20)), b"x", DEADLINE)
    flood = transport.receive(Kind.REQUEST, DEADLINE)
    assert len([next(flood) for _ in range(3)]) == 3
    with pytest.raises(TransportUnavailable, match="more than"):
        next(flood)


@pytest.mark.parametrize("device", [None, TOPIC.device])
def test_a_medium_that_is_not_there_is_no_empty_one(tmp_path: Path, device: Address | None) -> None:
    transport = DirectoryTransport(tmp_path / "stick")
    with pytest.raises(TransportUnavailable, match="could not be looked at"):
        list(transport.receive(Kind.REQUEST, DEADLINE, device))


def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransportUnavailable, match="could not take a message"):
        DirectoryTransport(tmp_path / "file").send(TOPIC, b"x", DEADLINE)
    # A folder stands in the slot's place.
    (tmp_path / file_name(TOPIC)).mkdir()
    with pytest.raises(TransportUnavailable, match="could not take a message"):
        DirectoryTransport(tmp_path).send(TOPIC, b"x", DEADLINE)
