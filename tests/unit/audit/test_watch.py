"""A watch tells of what matters, once, whatever happens in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dpki.audit.delivery import LONGEST_PAUSE, PAUSE, Command, Postman, Webhook
from dpki.audit.sentry import OVERLAP, Memory, Sentry
from dpki.chain.rpc import Call
from dpki.errors import ConfigError, CouldNotCheck, DpkiError, EndpointUnavailable
from dpki.model import Address, AuthorityId, DomainId, Hash32
from tests.fakes.chronicle import GOVERNOR, GUARDIAN, NEXT, Chronicle, everything
from tests.hostile_server import hostile_server, say, whole


@pytest.fixture
def chronicle() -> Chronicle:
    return Chronicle().create()


@pytest.fixture
def memory(tmp_path: Path, chronicle: Chronicle) -> Any:
    with Memory(tmp_path / "watch.sqlite", chronicle.domain.id) as opened:
        yield opened


def sentry(chronicle: Chronicle, memory: Memory, **options: Any) -> Sentry:
    return Sentry(chronicle, chronicle.domain, memory, ["way"], **options)


def kinds(memory: Memory) -> list[object]:
    return [owed.document["kind"] for owed in memory.owed("way")]


def test_everything_that_changes_who_may_do_what_is_told(
    chronicle: Chronicle, memory: Memory
) -> None:
    told = Chronicle()
    everything(told)
    sentry(told, memory).look(0)
    assert set(kinds(memory)) == {
        "ca", "guardian", "governor-offered", "lifetime", "objection", "operator", "registrar",
        "revoker", "state", "watchdogs", "watermark",
    }  # fmt: skip
    texts = [str(owed.document["text"]) for owed in memory.owed("way")]
    assert any(f"{NEXT} is the operator of CA" in text for text in texts)
    assert any(f"is suspended now, by {GUARDIAN}" in text for text in texts)
    assert any(f"the governor offered its role to {NEXT}" in text for text in texts)


def test_a_governor_that_changed(chronicle: Chronicle, memory: Memory) -> None:
    watch = sentry(chronicle, memory)
    watch.look()
    chronicle.tell(GOVERNOR, "TrustDomain", "GovernorOffered", GOVERNOR, NEXT)
    chronicle.tell(NEXT, "TrustDomain", "GovernorChanged", GOVERNOR, NEXT)
    assert watch.look() == 2
    assert kinds(memory) == ["governor-offered", "governor"]


def test_the_first_look_begins_now(chronicle: Chronicle, memory: Memory) -> None:
    assert sentry(chronicle, memory).look() == 0
    assert memory.position() == (chronicle.number, chronicle.number - 1)


def test_nothing_is_told_twice(tmp_path: Path, chronicle: Chronicle, memory: Memory) -> None:
    watch = sentry(chronicle, memory)
    watch.look()
    chronicle.register()
    assert [watch.look(), watch.look()] == [1, 0]
    with Memory(tmp_path / "watch.sqlite", chronicle.domain.id) as again:
        assert sentry(chronicle, again).look() == 0
        assert kinds(again) == ["ca"]


def test_what_a_reorganisation_moved_is_not_told_again(
    chronicle: Chronicle, memory: Memory
) -> None:
    watch = sentry(chronicle, memory)
    watch.look()
    chronicle.register()
    watch.look()
    # The same transaction in another block: one that another fork has before it.
    moved = chronicle.number
    chronicle.number += 1
    for log in chronicle.logs[-2:]:
        log.update(blockNumber=hex(moved), blockHash=str(chronicle.hash(moved)))
    assert watch.look() == 0


def test_what_a_reorganisation_brought_is_told(chronicle: Chronicle, memory: Memory) -> None:
    watch = sentry(chronicle, memory)
    chronicle.number += OVERLAP
    watch.look(0)
    position, chronicle.number = chronicle.number, chronicle.number - 10
    chronicle.register()
    chronicle.number = position
    assert watch.look() == 1


def test_an_endpoint_that_is_away_loses_nothing(chronicle: Chronicle, memory: Memory) -> None:
    watch = sentry(chronicle, memory)
    watch.look()
    chronicle.register()

    def away(call: Call, answer: Any) -> Any:
        raise EndpointUnavailable("nobody there")

    chronicle.lie = away
    with pytest.raises(EndpointUnavailable):
        watch.look()
    chronicle.lie = lambda _, answer: answer
    assert watch.look() == 1


def test_an_event_waits_for_its_confirmations(chronicle: Chronicle, memory: Memory) -> None:
    watch = sentry(chronicle, memory, confirmations=3)
    watch.look()
    chronicle.register()
    assert watch.look() == 0
    chronicle.number += 2
    assert watch.look() == 1


def test_a_chain_without_a_head(chronicle: Chronicle, memory: Memory) -> None:
    chronicle.lie = lambda call, answer: None if "Block" in call.method else answer
    with pytest.raises(CouldNotCheck, match="has no newest block"):
        sentry(chronicle, memory).look()


def test_an_issue_that_nobody_expected(chronicle: Chronicle, memory: Memory) -> None:
    ca = chronicle.register()
    asked: list[tuple[AuthorityId, int, Hash32]] = []

    def expected(ca: AuthorityId, serial: int, hash: Hash32) -> bool:
        asked.append((ca, serial, hash))
        return serial != 2

    watch = sentry(chronicle, memory, expected=expected)
    watch.look()
    hashes = [entry.certificate_hash for entry in chronicle.entries(ca, 3)]
    chronicle.issue(ca, 3)
    assert watch.look() == 1
    (owed,) = memory.owed("way")
    assert owed.document["kind"] == "unexpected-issue"
    assert owed.document["values"] == {
        "ca": str(ca),
        "serial": 2,
        "certificateHash": str(hashes[1]),
        "device": str(Address.zero()),
    }
    assert asked == [(ca, 1 + i, hash) for i, hash in enumerate(hashes)]


def test_the_state_of_another_domain(tmp_path: Path, memory: Memory) -> None:
    other = DomainId(1, Address(b"\x02" * 20), Hash32(b"\x03" * 32))
    with pytest.raises(ConfigError, match="belongs to the trust domain"):
        Memory(tmp_path / "watch.sqlite", other)


@dataclass
class Fickle:
    """A way that fails as often as it is told to."""

    fails: int
    name: str = "way"
    took: list[Mapping[str, object]] = field(default_factory=list)

    def send(self, document: Mapping[str, object]) -> None:
        if self.fails:
            self.fails -= 1
            raise DpkiError("not now")
        self.took.append(document)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def owing(chronicle: Chronicle, memory: Memory) -> Memory:
    """A memory that owes two alerts."""
    watch = sentry(chronicle, memory)
    watch.look()
    chronicle.register()
    chronicle.tell(GOVERNOR, "DeviceRegistry", "RegistrarChanged", NEXT, True)
    watch.look()
    return memory


def test_a_way_that_fails_is_tried_again_later(owing: Memory) -> None:
    way, clock = Fickle(2), Clock()
    postman = Postman(owing, [way], clock)
    assert postman.deliver() == ["not now"]
    assert postman.deliver() == []
    clock.now += PAUSE
    assert postman.deliver() == ["not now"]
    clock.now += PAUSE
    assert postman.deliver() == [], "twice as long the second time"
    assert way.took == []
    clock.now += PAUSE
    assert postman.deliver() == []
    assert [document["kind"] for document in way.took] == ["ca", "registrar"]
    assert postman.deliver() == []
    assert len(way.took) == 2


def test_no_way_waits_for_ever(owing: Memory) -> None:
    way, clock = Fickle(1_000), Clock()
    postman = Postman(owing, [way], clock)
    for _ in range(100):
        postman.deliver()
        clock.now += LONGEST_PAUSE
    assert way.fails == 900


def test_one_way_does_not_wait_for_another(
    tmp_path: Path, chronicle: Chronicle, memory: Memory
) -> None:
    watch = Sentry(chronicle, chronicle.domain, memory, ["broken", "good"])
    watch.look()
    chronicle.register()
    watch.look()
    good = Fickle(0, "good")
    assert Postman(memory, [Fickle(9, "broken"), good]).deliver() == ["not now"]
    assert len(good.took) == 1
    assert len(memory.owed("broken")) == 1


def test_a_command_gets_the_alert_as_its_input(tmp_path: Path) -> None:
    target = tmp_path / "alert.json"
    program = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
    Command((sys.executable, "-c", program, str(target))).send({"kind": "ca", "text": "$(rm -rf)"})
    assert json.loads(target.read_text()) == {"kind": "ca", "text": "$(rm -rf)"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "exit status 3"),
        (("/nonexistent/program",), "could not be run"),
    ],
)
def test_a_command_that_fails(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(DpkiError, match=message):
        Command(words).send({})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (whole(b"", status="204 No Content"), None),
        (whole(b"no", status="503 Busy"), "HTTP status 503"),
        (whole(b"", "Location: http://127.0.0.1:1/", status="302 Found"), "HTTP status 302"),
        (b"", "the connection broke"),
    ],
)
def test_a_webhook_and_its_secret(answer: bytes, message: str | None) -> None:
    with hostile_server(say(answer)) as server:
        webhook = Webhook(f"{server.url}/hook?token=hunter2")
        if message is None:
            webhook.send({"kind": "ca"})
        else:
            with pytest.raises(DpkiError, match=message) as caught:
                webhook.send({"kind": "ca"})
            assert "hunter2" not in caught.value.message
    assert server.requests[0].startswith(b"POST /hook?token=hunter2 ")
    assert "hunter2" not in repr(webhook)
