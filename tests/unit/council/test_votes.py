"""Votes and rounds in files: what was altered, cut, replayed or is of another place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from dpki.bundle.codec import dumps, loads_strict
from dpki.council.history import Choice
from dpki.council.rounds import Ballot, Proposal, Round, State
from dpki.council.threshold import Kind, Tally
from dpki.council.votes import (
    ROUND_LIMIT,
    VOTE_LIMIT,
    RoundFile,
    Vote,
    encode_round,
    encode_vote,
    parse_round,
    parse_vote,
    sign_vote,
    verify_vote,
    word_of,
)
from dpki.errors import (
    CheckedFalse,
    DpkiError,
    Expired,
    MalformedInput,
    NotAllowed,
    SignatureInvalid,
    UsageError,
    WrongContext,
    WrongDomain,
)
from dpki.model import Address, DomainId, Hash32
from dpki.transactions.governed import GovernanceCall
from dpki.transactions.wallet import Wallet

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
COUNCIL = Address(b"\3" * 20)
KEY = b"\4" * 32
WALLET = Wallet.from_key(KEY)
PROPOSAL = Proposal(
    Kind.DECISION,
    (GovernanceCall(Address(b"\5" * 20), b"\6" * 36),),
    NOW + timedelta(days=7),
    Hash32(b"\7" * 32),
)
ABOUT = RoundFile(DOMAIN, COUNCIL, PROPOSAL)
ROUND = Round(
    id=PROPOSAL.id,
    kind=Kind.DECISION,
    state=State.OPEN,
    is_settled=False,
    proposer=0,
    delay=timedelta(0),
    opened_at=NOW,
    deadline=PROPOSAL.deadline,
    approved_at=None,
    ballots={WALLET.address: Ballot(WALLET.address, 0, 100, Choice.NONE, 0)},
    everybody=Tally(400, 4),
)


def vote(choice: Choice = Choice.APPROVE, nonce: int = 0) -> Vote:
    return sign_vote(WALLET, ABOUT, choice, nonce=nonce, deadline=PROPOSAL.deadline)


def check(given: Vote, found: Round = ROUND, now: datetime = NOW) -> Vote:
    return verify_vote(given, DOMAIN, COUNCIL, found, now)


def test_what_is_signed_is_what_eip_712_says() -> None:
    """A second opinion: eth-account's own typed data."""
    kinds = {"round": "bytes32", "voter": "address", "choice": "uint8", "nonce": "uint8"}
    signed = vote(nonce=3)
    message = encode_typed_data(
        {
            "name": "dpki RootCouncil",
            "version": "1",
            "chainId": 31337,
            "verifyingContract": str(COUNCIL),
        },
        {"Vote": [{"name": n, "type": t} for n, t in (kinds | {"deadline": "uint64"}).items()]},
        {
            "round": bytes(PROPOSAL.id),
            "voter": str(WALLET.address),
            "choice": 1,
            "nonce": 3,
            "deadline": int(PROPOSAL.deadline.timestamp()),
        },
    )
    assert Account.recover_message(message, signature=signed.signature) == str(WALLET.address)


@pytest.mark.parametrize("choice", Choice)
def test_there_and_back(choice: Choice) -> None:
    given = vote(choice, 7)
    assert parse_vote(encode_vote(given)) == given
    assert parse_round(encode_round(ABOUT)) == ABOUT
    assert parse_round(encode_round(ABOUT)).proposal.id == PROPOSAL.id
    assert word_of(choice) in ("approve", "reject", "withdraw")


def test_a_good_one_counts() -> None:
    assert check(vote()) == vote()
    assert check(vote(), now=PROPOSAL.deadline)


OTHER = Wallet.from_key(b"\x44" * 32)
WRONG: tuple[tuple[Callable[[Vote], Vote], type[DpkiError]], ...] = (
    (lambda v: replace(v, choice=Choice.REJECT), SignatureInvalid),
    (lambda v: replace(v, nonce=1), SignatureInvalid),
    (lambda v: replace(v, voter=OTHER.address), SignatureInvalid),
    (lambda v: replace(v, deadline=v.deadline + timedelta(seconds=1)), SignatureInvalid),
    (lambda v: replace(v, signature=v.signature[:64] + b"\x1d"), SignatureInvalid),
    (lambda v: replace(v, signature=malleable(v.signature)), SignatureInvalid),
    (lambda v: replace(v, domain=replace(DOMAIN, chain_id=1)), WrongDomain),
    (lambda v: replace(v, domain=replace(DOMAIN, address=COUNCIL)), WrongDomain),
    (lambda v: replace(v, council=Address(b"\x33" * 20)), WrongContext),
    (lambda v: replace(v, round=Hash32(b"\x33" * 32)), WrongContext),
    (lambda _: vote(nonce=1), CheckedFalse),
    (lambda _: vote(Choice.NONE), CheckedFalse),
)


def malleable(signature: bytes) -> bytes:
    """The other signature over the same, which contracts refuse (EIP-2)."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(signature[32:64])
    return signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])


@pytest.mark.parametrize(("change", "error"), WRONG)
def test_what_does_not_count_is_refused(
    change: Callable[[Vote], Vote], error: type[DpkiError]
) -> None:
    with pytest.raises(error) as caught:
        check(change(vote()))
    assert type(caught.value) is error


def test_a_vote_of_another_chain_or_council_does_not_verify_here() -> None:
    """As the labels may be rewritten: what was signed stays what it was."""
    for about in (
        replace(ABOUT, domain=replace(DOMAIN, chain_id=1)),
        replace(ABOUT, council=Address(b"\x33" * 20)),
        replace(ABOUT, proposal=replace(PROPOSAL, salt=Hash32(b"\x08" * 32))),
    ):
        given = sign_vote(WALLET, about, Choice.APPROVE, nonce=0, deadline=PROPOSAL.deadline)
        relabelled = replace(given, domain=DOMAIN, council=COUNCIL, round=PROPOSAL.id)
        with pytest.raises(SignatureInvalid):
            check(relabelled)


def test_late_strangers_and_the_removed() -> None:
    with pytest.raises(Expired):
        check(vote(), now=PROPOSAL.deadline + timedelta(seconds=1))
    with pytest.raises(NotAllowed, match="was no member"):
        check(vote(), replace(ROUND, ballots={}))
    struck = {WALLET.address: replace(ROUND.ballots[WALLET.address], is_struck=True)}
    with pytest.raises(NotAllowed, match="was removed"):
        check(vote(), replace(ROUND, ballots=struck))


@pytest.mark.parametrize("nonce", [-1, 255])
def test_nonces_have_an_end(nonce: int) -> None:
    with pytest.raises(UsageError):
        vote(nonce=nonce)


@pytest.mark.parametrize(
    "part",
    [
        replace(PROPOSAL, kind=Kind.LIFT),
        replace(PROPOSAL, salt=Hash32.zero()),
        replace(PROPOSAL, deadline=PROPOSAL.deadline + timedelta(seconds=1)),
        replace(PROPOSAL, calls=PROPOSAL.calls * 2),
        replace(PROPOSAL, calls=(GovernanceCall(COUNCIL, PROPOSAL.calls[0].data),)),
        replace(PROPOSAL, calls=(GovernanceCall(PROPOSAL.calls[0].target, b"\6" * 37),)),
    ],
)
def test_every_part_of_a_round_is_in_its_id(part: Proposal) -> None:
    assert part.id != PROPOSAL.id


FILES = {"round": (encode_round(ABOUT), parse_round), "vote": (encode_vote(vote()), parse_vote)}


@pytest.mark.parametrize("name", FILES)
class TestFiles:
    def test_truncated(self, name: str) -> None:
        data, parse = FILES[name]
        for length in range(len(data)):
            with pytest.raises(MalformedInput):
                parse(data[:length])

    def test_something_after_the_end(self, name: str) -> None:
        data, parse = FILES[name]
        with pytest.raises(MalformedInput):
            parse(data + b"\0")

    def test_of_a_future_version(self, name: str) -> None:
        data, parse = FILES[name]
        fields = loads_strict(data, len(data))
        with pytest.raises(MalformedInput, match="of version 2"):
            parse(dumps(fields | {"v": 2}))

    def test_oversized(self, name: str) -> None:
        _, parse = FILES[name]
        with pytest.raises(MalformedInput, match="are more than"):
            parse(bytes(max(ROUND_LIMIT, VOTE_LIMIT) + 1))

    def test_of_the_other_kind(self, name: str) -> None:
        _, parse = FILES[name]
        (other,) = (data for key, (data, _) in FILES.items() if key != name)
        with pytest.raises(MalformedInput):
            parse(other)

    def test_unknown_and_missing_fields(self, name: str) -> None:
        data, parse = FILES[name]
        fields = loads_strict(data, len(data))
        with pytest.raises(MalformedInput, match="unknown field"):
            parse(dumps(fields | {"x": 1}))
        for key in fields:
            with pytest.raises(MalformedInput):
                parse(dumps({k: v for k, v in fields.items() if k != key}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("choice", "perhaps"),
        ("nonce", 255),
        ("signature", b"\0" * 64),
        ("deadline", 2**63),
        ("domain", "eip155:1"),
        ("voter", b"\0" * 19),
    ],
)
def test_fields_out_of_range(key: str, value: object) -> None:
    fields = loads_strict(encode_vote(vote()), VOTE_LIMIT)
    with pytest.raises(MalformedInput):
        parse_vote(dumps(fields | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", 3),
        ("calls", []),
        ("calls", [{"target": b"\0"}]),
        ("deadline", 2**63),
        ("salt", b""),
    ],
)
def test_rounds_out_of_range(key: str, value: object) -> None:
    fields = loads_strict(encode_round(ABOUT), ROUND_LIMIT)
    with pytest.raises(MalformedInput):
        parse_round(dumps(fields | {key: value}))
