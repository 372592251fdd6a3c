"""T2, T10: who carries a token's messages, or another device, can't be enrolled in its place.

The chain is played; that a real one does the same is shown by tests/integration.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpki.chain.snapshot import DeviceRecord
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import EnrollmentRequest, encode_request, make_enrollment_request
from dpki.devices.keys import DeviceKeys, generate_device_keys
from dpki.devices.token import Outcome, Token, make_asking, verify_answer
from dpki.errors import CheckedFalse, DpkiError, TransactionFailed, UsageError
from dpki.issuance import enrolment
from dpki.issuance.asking import Round, enroll_due, leave_answers, look
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.tokens import GivenToken, Tokens
from dpki.model import Address, DeviceState, DomainId, Hash32
from dpki.transactions.account import Receipt
from dpki.transport.base import MESSAGE_LIMIT, Kind, Topic
from dpki.transport.directory import DirectoryTransport
from tests.world import DOMAIN as WORLD
from tests.world import block

DOMAIN = WORLD.id
FOREIGN = DomainId(DOMAIN.chain_id, Address(b"\x09" * 20), DOMAIN.block_hash)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY, SOON = timedelta(days=1), timedelta(seconds=5)
KEYS, OTHERS = generate_device_keys(), generate_device_keys()
NOTHING = Hash32.zero()


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


@dataclass
class Chain:
    """What stands on chain, and what was sent to it."""

    domain: Any = WORLD
    devices: dict[Address, DeviceRecord] = field(default_factory=dict)
    sent: list[list[Address]] = field(default_factory=list)
    fails: bool = False

    def enroll_device(
        self, device: Address, document: Hash32, deadline: datetime, signature: bytes
    ) -> Receipt:
        signed = SimpleNamespace(device=device, key_document=document)
        return self.enroll_devices([signed])

    def enroll_devices(self, signed: Any) -> Receipt:
        if self.fails:
            raise TransactionFailed("not mined in time")
        self.sent.append([one.device for one in signed])
        for one in signed:
            record = DeviceRecord(one.device, one.key_document, DeviceState.ACTIVE, 1)
            self.devices[one.device] = record
        return Receipt(Hash32(b"\x01" * 32), block(17), 1, 1)

    def snapshot(self, reader: object, domain: object, *, devices: Any) -> object:
        unknown = {
            device: DeviceRecord(device, NOTHING, DeviceState.UNREGISTERED, 0) for device in devices
        }
        return SimpleNamespace(devices=unknown | self.devices)


@dataclass
class Home:
    """An admin's home, a folder of messages, and a chain."""

    database: Database
    transport: DirectoryTransport
    chain: Chain
    directory: Path

    def give(self, name: str = "gate-1", expires: datetime = NOW + DAY) -> Token:
        token = Token.generate(DOMAIN)
        given = GivenToken(token.keys, name, {"fleet": "gates"}, expires)
        Tokens(self.database).add(given, NOW)
        return token

    def put(self, data: bytes, device: Address = KEYS.address) -> None:
        self.transport.send(Topic(Kind.REQUEST, device), data, SOON)

    def turn(self, now: datetime = NOW) -> Round:
        found = look(self.database, WORLD, self.transport, now)
        if found.due:
            enroll_due(object(), self.chain, self.database, found, now)  # type: ignore[arg-type]
        leave_answers(self.transport, found.answers)
        return found

    def outcome(self, token: Token, data: bytes, device: Address = KEYS.address) -> Outcome | None:
        """Return what the device reads; None where no answer is there."""
        for message in self.transport.receive(Kind.ANSWER, SOON, device):
            return verify_answer(message.data, token, device, data).outcome
        return None

    def names(self) -> dict[str, Address]:
        return {device.name: device.address for device in Index(self.database).devices()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    chain = Chain()
    monkeypatch.setattr(enrolment, "fetch_snapshot", chain.snapshot)
    with Database(tmp_path / "journal.db", DOMAIN) as database:
        yield Home(database, DirectoryTransport(tmp_path / "messages"), chain, tmp_path)


def made(keys: DeviceKeys = KEYS, days: int = 7, domain: DomainId = DOMAIN) -> EnrollmentRequest:
    document = make_key_document(keys)
    deadline = NOW + days * DAY
    return make_enrollment_request(keys, domain, WORLD.devices, document, deadline)


def written(keys: DeviceKeys = KEYS, days: int = 7, domain: DomainId = DOMAIN) -> bytes:
    return encode_request(made(keys, days, domain))


def test_a_device_that_has_the_token_is_enrolled_once(home: Home) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    assert home.turn().refused == []
    assert home.names() == {"gate-1": KEYS.address}
    assert home.outcome(token, request) is Outcome.ENROLLED
    # A carrier that repeats it for ever, also after deadline and expiry, changes nothing.
    for later in (NOW, NOW + 30 * DAY):
        again = home.turn(later)
        assert (again.known, again.due, again.refused) == (1, [], [])
    assert home.chain.sent == [[KEYS.address]]


def test_an_answer_that_was_dropped_is_given_again_and_no_other(home: Home) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    home.turn()
    answer = home.transport.path / f"answer-0x{KEYS.address.hex()}.message"
    before = answer.stat().st_mtime_ns, answer.stat().st_ino
    home.turn()
    assert (answer.stat().st_mtime_ns, answer.stat().st_ino) == before
    answer.unlink()
    home.turn()
    assert home.outcome(token, request) is Outcome.ENROLLED


def test_answers_that_strangers_leave_fill_no_memory(home: Home) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    for number in range(40):
        stranger = Topic(Kind.ANSWER, Address(bytes([number]) * 20))
        home.transport.send(stranger, bytes(MESSAGE_LIMIT), SOON)
    tracemalloc.start()
    home.turn()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert home.outcome(token, request) is Outcome.ENROLLED
    assert peak < 10 * MESSAGE_LIMIT


class TestNothingComesOfIt:
    """Nothing is sent or bound, nobody is named, and nobody is answered."""

    @pytest.fixture(autouse=True)
    def nothing_comes_of_it(self, home: Home) -> Iterator[None]:
        self.token = home.give()
        yield
        found = home.turn()
        assert len(found.refused) == 1
        assert (home.names(), home.chain.sent, found.answers) == ({}, [], {})
        (kept,) = Tokens(home.database).all()
        assert kept.state(NOW) == "open"
        assert list(home.transport.receive(Kind.ANSWER, SOON)) == []

    def test_without_a_token(self, home: Home) -> None:
        home.put(written())

    def test_with_a_token_of_somebody_else(self, home: Home) -> None:
        home.put(make_asking(Token.generate(DOMAIN), written()))

    def test_by_the_token_s_id_alone(self, home: Home) -> None:
        # Whoever saw a message knows the id.
        forged = Token.generate(DOMAIN)
        data = make_asking(forged, written(OTHERS))
        home.put(data.replace(forged.keys.id, self.token.keys.id), OTHERS.address)

    def test_another_s_request_under_a_seen_mac(self, home: Home) -> None:
        seen, other = make_asking(self.token, written()), written(OTHERS)
        mac = seen[-32:]
        assert len(other) == len(written())
        home.put(make_asking(self.token, other)[:-32] + mac, OTHERS.address)

    def test_of_another_trust_domain(self, home: Home) -> None:
        home.put(make_asking(replace(self.token, domain=FOREIGN), written(domain=FOREIGN)))

    def test_a_token_of_ours_with_a_request_for_another_domain(self, home: Home) -> None:
        home.put(make_asking(self.token, written(domain=FOREIGN)))

    def test_in_another_device_s_place(self, home: Home) -> None:
        home.put(make_asking(self.token, written()), OTHERS.address)

    def test_a_device_that_did_not_sign(self, home: Home) -> None:
        # Whoever has the token can't enrol somebody else's keys.
        forged = replace(made(), signature=made(OTHERS).signature)
        home.put(make_asking(self.token, encode_request(forged)))

    def test_after_the_request_s_deadline(self, home: Home) -> None:
        home.put(make_asking(self.token, written(days=-1)))

    def test_an_update(self, home: Home) -> None:
        document = make_key_document(KEYS, sequence=1)
        update = make_enrollment_request(KEYS, DOMAIN, WORLD.devices, document, NOW + DAY, nonce=1)
        home.put(make_asking(self.token, encode_request(update)))

    def test_oversized(self, home: Home) -> None:
        name = f"request-0x{KEYS.address.hex()}.message"
        home.transport.path.mkdir()
        (home.transport.path / name).write_bytes(bytes(MESSAGE_LIMIT + 1))

    def test_rubbish(self, home: Home) -> None:
        home.put(b"\xff" * 100)


def test_every_altered_byte_is_refused(home: Home) -> None:
    token = home.give()
    data = make_asking(token, written())
    for at in range(0, len(data), 5):
        home.put(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = look(home.database, WORLD, home.transport, NOW)
        assert (found.due, len(found.refused), found.answers) == ([], 1, {})
    assert Tokens(home.database).all()[0].device is None


def test_a_token_that_was_used_by_another_device(home: Home) -> None:
    token, stolen, own = home.give(), written(OTHERS), written()
    home.put(make_asking(token, stolen), OTHERS.address)
    home.turn()
    home.put(make_asking(token, own))
    found = home.turn()
    (refused,) = found.refused
    assert refused.device == KEYS.address
    assert "USED ALREADY" in refused.why
    # The device that was robbed hears of it; the thief's answer stays what it is.
    assert home.outcome(token, own) is Outcome.USED
    assert home.outcome(token, stolen, OTHERS.address) is Outcome.ENROLLED
    assert home.names() == {"gate-1": OTHERS.address}


def test_two_devices_with_one_token_in_one_look(home: Home) -> None:
    token = home.give()
    for keys in (KEYS, OTHERS):
        home.put(make_asking(token, written(keys)), keys.address)
    found = home.turn()
    assert (len(found.due), len(found.refused)) == (1, 1)
    assert len(home.names()) == len(home.chain.sent) == 1


def test_another_request_of_a_device_that_is_enrolled(home: Home) -> None:
    token = home.give()
    home.put(make_asking(token, written()))
    home.turn()
    home.put(make_asking(token, written(days=8)))
    assert "USED ALREADY" in home.turn().refused[0].why
    assert len(home.chain.sent) == 1


def test_a_newer_request_of_a_device_that_is_not_enrolled_yet(home: Home) -> None:
    token = home.give()
    home.put(make_asking(token, written()))
    home.chain.fails = True
    with pytest.raises(TransactionFailed):
        home.turn()
    # Its request ran out meanwhile; the token did, too, but is this device's.
    home.chain.fails = False
    request = written(days=20)
    home.put(make_asking(token, request))
    assert home.turn(NOW + 10 * DAY).refused == []
    assert home.outcome(token, request) is Outcome.ENROLLED


def test_an_expired_token(home: Home) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    assert "expired" in home.turn(NOW + DAY).refused[0].why
    assert home.outcome(token, request) is Outcome.EXPIRED
    assert home.chain.sent == []


def test_a_cancelled_token(home: Home) -> None:
    token, request = home.give(), written()
    Tokens(home.database).cancel(token.keys.id, NOW)
    home.put(make_asking(token, request))
    home.turn()
    assert home.outcome(token, request) is Outcome.EXPIRED
    with pytest.raises(UsageError):
        Tokens(home.database).cancel(bytes(16), NOW)


def test_two_devices_claim_one_name(home: Home) -> None:
    token, request = home.give(), written()
    with pytest.raises(UsageError, match="open token"):
        home.give()
    Index(home.database).add_device("gate-1", OTHERS.address, make_key_document(OTHERS))
    home.put(make_asking(token, request))
    home.turn()
    assert home.outcome(token, request) is Outcome.TAKEN
    assert (home.names(), home.chain.sent) == ({"gate-1": OTHERS.address}, [])


def test_one_that_the_chain_refuses_holds_no_other_up(home: Home) -> None:
    first, second = home.give("gate-1"), home.give("gate-2")
    good, bad = written(), written(OTHERS)
    home.chain.devices[OTHERS.address] = DeviceRecord(
        OTHERS.address, NOTHING, DeviceState.RETIRED, 1
    )
    home.put(make_asking(first, good))
    home.put(make_asking(second, bad), OTHERS.address)
    found = home.turn()
    assert [one.device for one in found.refused] == [OTHERS.address]
    assert home.outcome(first, good) is Outcome.ENROLLED
    assert home.outcome(second, bad, OTHERS.address) is Outcome.STANDING


def test_many_are_one_transaction(home: Home) -> None:
    for name, keys in (("gate-1", KEYS), ("gate-2", OTHERS)):
        home.put(make_asking(home.give(name), written(keys)), keys.address)
    assert home.turn().refused == []
    assert [len(sent) for sent in home.chain.sent] == [2]


STEPS: tuple[tuple[type, str], ...] = (
    (Tokens, "claim"),
    (Chain, "enroll_device"),
    (Index, "add_device"),
    (Tokens, "finish"),
    (DirectoryTransport, "send"),
)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("place", "step"), STEPS, ids=lambda value: getattr(value, "__name__", value)
)
def test_killed_and_gone_on(
    home: Home, monkeypatch: pytest.MonkeyPatch, place: type, step: str, after: bool
) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    real: Callable[..., object] = getattr(place, step)

    def die(*words: Any, **named: Any) -> None:
        if after:
            real(*words, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(place, step, die)
        with pytest.raises(Killed):
            home.turn()
    # Whoever has the token meanwhile gets nothing, once it is bound.
    (kept,) = Tokens(home.database).all()
    if kept.device is not None:
        thief = written(OTHERS)
        home.put(make_asking(token, thief), OTHERS.address)
    found = home.turn()
    assert {one.device for one in found.refused} <= {OTHERS.address}
    assert home.outcome(token, request) is Outcome.ENROLLED
    assert home.names() == {"gate-1": KEYS.address}
    assert home.chain.sent == [[KEYS.address]]


def test_the_journal_itself_refuses_a_second_use(home: Home) -> None:
    token = home.give()
    tokens, id = Tokens(home.database), token.keys.id
    tokens.claim(id, KEYS.address, NOTHING)
    with pytest.raises(DpkiError, match="used already"):
        tokens.claim(id, OTHERS.address, NOTHING)
    with pytest.raises(UsageError):
        tokens.cancel(id, NOW)
    tokens.finish(id, 17)
    for change in (
        lambda: tokens.claim(id, KEYS.address, Hash32(b"\x01" * 32)),
        lambda: tokens.finish(id, 18),
        lambda: home.database.change("UPDATE tokens SET device = NULL, block = NULL"),
        lambda: home.database.change("DELETE FROM tokens"),
    ):
        with pytest.raises(DpkiError):
            change()


def test_who_reads_home_and_messages_has_no_token(home: Home) -> None:
    token = home.give()
    home.put(make_asking(token, written()))
    home.turn()
    files = [path for path in home.directory.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert token.secret not in path.read_bytes()
        assert token.dump()[-40:].encode() not in path.read_bytes()


def test_an_answer_of_another_home_is_not_believed(home: Home) -> None:
    token, request = home.give(), written()
    home.put(make_asking(token, request))
    home.turn()
    (answer,) = home.transport.receive(Kind.ANSWER, SOON)
    for other in (Token.generate(DOMAIN), replace(token, domain=FOREIGN)):
        with pytest.raises(CheckedFalse):
            verify_answer(answer.data, other, KEYS.address, request)


def test_labels_that_nobody_wrote(home: Home) -> None:
    home.give()
    home.database.change("UPDATE tokens SET labels = ?", json.dumps(["x"]))
    with pytest.raises(DpkiError, match="damaged"):
        Tokens(home.database).all()
