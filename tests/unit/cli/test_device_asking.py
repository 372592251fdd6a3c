"""A device that asks with a token, and whom it believes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.cli.device_asking import ask_by, open_place, verify_domain
from dpki.cli.device_setup import make_broker
from dpki.cli.output import Output
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import encode_request, make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devices.token import Answer, Outcome, Token, make_answer, parse_asking, verify_asking
from dpki.errors import CheckedFalse, ConfigError, TransportUnavailable, UsageError, WrongDomain
from dpki.model import Address, DomainId, Hash32
from dpki.transport.base import Kind, Message, Topic
from dpki.transport.directory import DirectoryTransport
from tests.world import DOMAIN as WORLD

DOMAIN = WORLD.id
FOREIGN = DomainId(DOMAIN.chain_id, Address(b"\x09" * 20), DOMAIN.block_hash)
KEYS = generate_device_keys()
REQUEST = encode_request(
    make_enrollment_request(
        KEYS,
        DOMAIN,
        WORLD.devices,
        make_key_document(KEYS),
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=7),
    )
)
TOKEN = Token.generate(DOMAIN)
WAIT = timedelta(minutes=1)


def answer(outcome: Outcome = Outcome.ENROLLED, token: Token = TOKEN) -> bytes:
    digest = Hash32(hashlib.sha256(REQUEST).digest())
    return make_answer(token.keys, Answer(DOMAIN, KEYS.address, digest, outcome, 17))


FORGED = answer(token=Token.generate(DOMAIN))


@dataclass
class Carrier:
    """What lies there, and what comes while somebody waits."""

    lying: tuple[bytes, ...] = ()
    coming: tuple[bytes, ...] = ()
    away: bool = False
    sent: list[tuple[Topic, bytes]] = field(default_factory=list)
    name: str = "carrier"

    def send(self, topic: Topic, data: bytes, deadline: timedelta) -> None:
        self.sent.append((topic, data))

    def receive(
        self,
        kind: Kind,
        deadline: timedelta,
        device: Address | None = None,
        *,
        wait: bool = False,
    ) -> Iterator[Message]:
        assert (kind, device) == (Kind.ANSWER, KEYS.address)
        if self.away and not wait:
            raise TransportUnavailable("there is no such folder")
        for data in (*self.lying, *(self.coming if wait else ())):
            yield Message(Topic(kind, KEYS.address), data)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "enroll.request"
    path.write_bytes(REQUEST)
    return path


def ask(path: Path, carrier: Carrier, wait: timedelta | None = WAIT) -> dict[str, object]:
    return ask_by(Output(json=True), TOKEN, path, carrier, wait)


def test_what_it_sends(request_file: Path) -> None:
    carrier = Carrier()
    assert ask(request_file, carrier, None)["outcome"] is None
    ((topic, data),) = carrier.sent
    assert topic == Topic(Kind.REQUEST, KEYS.address)
    verify_asking(parse_asking(data), TOKEN.keys, DOMAIN)


@pytest.mark.parametrize(
    "carrier",
    [
        Carrier(coming=(answer(),)),
        Carrier(lying=(answer(),)),
        Carrier(coming=(answer(),), away=True),
        Carrier(coming=(FORGED, b"rubbish", FORGED, answer())),
        # An earlier no, and the admin has mended it since.
        Carrier(lying=(answer(Outcome.TAKEN),), coming=(answer(),)),
    ],
    ids=["comes", "lies there", "no folder yet", "after forged ones", "after an earlier no"],
)
def test_a_true_answer(request_file: Path, carrier: Carrier) -> None:
    said = ask(request_file, carrier)
    assert (said["outcome"], said["block"]) == ("enrolled", 17)


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.ENROLLED])
def test_a_no(request_file: Path, outcome: Outcome) -> None:
    for carrier in (Carrier(coming=(answer(outcome),)), Carrier(lying=(answer(outcome),))):
        with pytest.raises(CheckedFalse, match="the admin's answer is no"):
            ask(request_file, carrier)


@pytest.mark.parametrize("coming", [(), (FORGED,), (b"", b"rubbish")])
def test_no_answer_is_no_no(
    request_file: Path, coming: tuple[bytes, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TransportUnavailable, match="no answer that can be believed"):
        ask(request_file, Carrier(coming=coming))
    assert ("is not believed" in capsys.readouterr().err) == bool(coming)


def test_a_token_of_another_domain_is_not_used(request_file: Path) -> None:
    carrier = Carrier()
    with pytest.raises(WrongDomain):
        ask_by(Output(json=True), Token.generate(FOREIGN), request_file, carrier, None)
    assert carrier.sent == []


def test_which_domain() -> None:
    assert verify_domain(TOKEN, None) == verify_domain(TOKEN, str(DOMAIN)) == str(DOMAIN)
    assert verify_domain(None, "x") == "x"
    for token, domain in ((None, None), (TOKEN, str(FOREIGN))):
        with pytest.raises(UsageError):
            verify_domain(token, domain)


def test_which_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_place("stick", None) == DirectoryTransport(tmp_path / "stick")
    with pytest.raises(UsageError):
        open_place("broker", None)


class TestBroker:
    def test_all_of_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        broker = make_broker("mqtts://b.example/acme", "factory", "env:X", Path("ca.pem"))
        assert broker is not None
        assert (broker.user, broker.password) == ("factory", "env:X")
        assert broker.authority == tmp_path / "ca.pem"
        assert make_broker(None, "", "", None) is None

    @pytest.mark.parametrize(
        "words",
        [
            (None, "factory", "", None),
            ("mqtts://b.example/acme", "", "env:X", None),
            ("mqtts://b.example/acme", "factory", "", None),
            ("mqtt://b.example/acme", "factory", "env:X", None),
            ("mqtts://b.example/acme", "factory", "hunter2", None),
        ],
    )
    def test_less(self, words: tuple[str | None, str, str, None]) -> None:
        with pytest.raises((UsageError, ConfigError)) as caught:
            make_broker(*words)
        assert "hunter2" not in f"{caught.value}{caught.value.hint}"
