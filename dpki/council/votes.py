"""Votes that travel: what an offline laptop is given, and what it gives back.

Two files, both deterministic CBOR (docs/formats.md): a round's contents, and one signed vote. The
signature is the one that RootCouncil checks, so anyone may bring it. Nothing is signed unseen: the
signer has the calls, and the round's id is recomputed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.council.history import Choice
from dpki.council.rounds import Proposal, Round, find_ballot
from dpki.council.threshold import Kind
from dpki.errors import (
    CheckedFalse,
    Expired,
    MalformedInput,
    SignatureInvalid,
    UsageError,
    WrongContext,
    WrongDomain,
)
from dpki.keccak import keccak
from dpki.model import Address, DomainId, Hash32, from_timestamp, to_timestamp
from dpki.secp256k1 import SIGNATURE_BYTES, recover_signer
from dpki.transactions.governed import GovernanceCall
from dpki.typed_data import struct_hash, typed_digest

if TYPE_CHECKING:
    from dpki.transactions.wallet import Wallet

ROUND_LIMIT = 128 << 10
"""A node takes no larger transaction, so there is no larger round."""
VOTE_LIMIT = 4 << 10

_VERSION = 1
_ROUND, _VOTE = "council round", "council vote"
_ROUND_FIELDS = {
    "v": int,
    "type": str,
    "domain": str,
    "council": bytes,
    "kind": int,
    "calls": list,
    "deadline": int,
    "salt": bytes,
}
_VOTE_FIELDS = {
    "v": int,
    "type": str,
    "domain": str,
    "council": bytes,
    "round": bytes,
    "voter": bytes,
    "choice": str,
    "nonce": int,
    "deadline": int,
    "signature": bytes,
}
_CALL_FIELDS = {"target": bytes, "data": bytes}
_CHOICES = {"approve": Choice.APPROVE, "reject": Choice.REJECT, "withdraw": Choice.NONE}
_LAST_NONCE = 254
_LATEST = 253402300799
_CONTRACT = "dpki RootCouncil"
_TYPE = keccak(b"Vote(bytes32 round,address voter,uint8 choice,uint8 nonce,uint64 deadline)")


@dataclass(frozen=True)
class RoundFile:
    """A round's contents, and where it is."""

    domain: DomainId
    council: Address
    proposal: Proposal


@dataclass(frozen=True)
class Vote:
    """A signed vote.

    Attributes:
        nonce: How many votes of this voter the round has counted before.
        deadline: The last second in which it may be brought.
        signature: r, s and v, 65 bytes.
    """

    domain: DomainId
    council: Address
    round: Hash32
    voter: Address
    choice: Choice
    nonce: int
    deadline: datetime
    signature: bytes

    @property
    def digest(self) -> bytes:
        """What is signed."""
        return vote_digest(
            self.domain.chain_id,
            self.council,
            self.round,
            self.voter,
            self.choice,
            self.nonce,
            self.deadline,
        )

    def abi(self) -> tuple[str, int, int, int, bytes]:
        """Return the vote as the contract takes it."""
        deadline = to_timestamp(self.deadline)
        return str(self.voter), int(self.choice), self.nonce, deadline, self.signature


def word_of(choice: Choice) -> str:
    """Return the word for a choice: approve, reject or withdraw."""
    return next(word for word, known in _CHOICES.items() if known is choice)


def vote_digest(
    chain_id: int,
    council: Address,
    round_id: Hash32,
    voter: Address,
    choice: Choice,
    nonce: int,
    deadline: datetime,
) -> bytes:
    """Return the EIP-712 hash that a voter signs and RootCouncil checks."""
    struct = struct_hash(_TYPE, round_id, voter, int(choice), nonce, to_timestamp(deadline))
    return typed_digest(_CONTRACT, chain_id, council, struct)


def sign_vote(
    wallet: Wallet, about: RoundFile, choice: Choice, *, nonce: int, deadline: datetime
) -> Vote:
    """Sign a vote on a round whose contents are at hand.

    Raises:
        UsageError: The nonce is out of range.
        TokenError: The token that holds the key failed.
    """
    if not 0 <= nonce <= _LAST_NONCE:
        raise UsageError(f"a vote's nonce is 0 to {_LAST_NONCE}, not {nonce}")
    place = (about.domain.chain_id, about.council, about.proposal.id)
    digest = vote_digest(*place, wallet.address, choice, nonce, deadline)
    raw = wallet.sign_digest(digest).to_bytes()
    signature = raw[:64] + bytes([raw[64] + 27])
    return Vote(
        about.domain,
        about.council,
        about.proposal.id,
        wallet.address,
        choice,
        nonce,
        from_timestamp(to_timestamp(deadline)),
        signature,
    )


def verify_vote(
    vote: Vote, domain: DomainId, council: Address, found: Round, now: datetime
) -> Vote:
    """Return a vote that the contract would count now.

    Raises:
        WrongDomain, WrongContext: It is for another domain, council or round.
        SignatureInvalid: It is not its voter's.
        Expired: It may no longer be brought.
        NotAllowed: Its voter has no vote in this round.
        CheckedFalse: It was counted before, or would change nothing.
    """
    if vote.domain != domain:
        raise WrongDomain(f"the vote is for the trust domain {vote.domain}, not {domain}")
    if vote.council != council:
        raise WrongContext(f"the vote is for the council {vote.council}, not {council}")
    if vote.round != found.id:
        raise WrongContext(f"the vote is about round {vote.round}, not {found.id}")
    if recover_signer(vote.signature, vote.digest) != vote.voter:
        raise SignatureInvalid(
            f"the vote is not signed by {vote.voter}",
            hint="it was altered, or made for another council; have it signed anew",
        )
    if now > vote.deadline:
        raise Expired(
            f"the vote could be brought until {vote.deadline:%Y-%m-%d %H:%M:%S} UTC",
            hint="have it signed anew, if the round still stands",
        )
    ballot = find_ballot(found, vote.voter)
    if vote.nonce != ballot.nonce:
        raise CheckedFalse(
            f"the vote has number {vote.nonce}, and the round waits for {ballot.nonce} of"
            f" {vote.voter}: it was counted before, or another one is missing",
            hint=f"have a new one signed: dpki council sign … --nonce {ballot.nonce}",
        )
    if vote.choice is ballot.choice:
        raise CheckedFalse(
            f"{vote.voter} stands so already: the vote would change nothing",
            hint="leave it out",
        )
    return vote


def encode_round(about: RoundFile) -> bytes:
    """Return the bytes of a round's file."""
    proposal = about.proposal
    calls = [{"target": bytes(c.target), "data": bytes(c.data)} for c in proposal.calls]
    return dumps(
        {
            "v": _VERSION,
            "type": _ROUND,
            "domain": str(about.domain),
            "council": bytes(about.council),
            "kind": int(proposal.kind),
            "calls": calls,
            "deadline": to_timestamp(proposal.deadline),
            "salt": bytes(proposal.salt),
        }
    )


def parse_round(data: bytes) -> RoundFile:
    """Parse a round's file.

    Raises:
        MalformedInput: It is none.
    """
    fields = _fields(data, _ROUND, ROUND_LIMIT, _ROUND_FIELDS)
    calls = []
    for item in fields["calls"]:
        call = fields_of(item, "call of a council round", required=_CALL_FIELDS, optional={})
        calls.append(GovernanceCall(Address(call["target"]), call["data"]))
    if not calls or fields["kind"] not in list(Kind):
        raise MalformedInput("the council round holds no call, or is of no known kind")
    proposal = Proposal(
        Kind(fields["kind"]), tuple(calls), _time(fields["deadline"]), Hash32(fields["salt"])
    )
    return RoundFile(_domain(fields["domain"]), Address(fields["council"]), proposal)


def encode_vote(vote: Vote) -> bytes:
    """Return the bytes of a vote's file."""
    return dumps(
        {
            "v": _VERSION,
            "type": _VOTE,
            "domain": str(vote.domain),
            "council": bytes(vote.council),
            "round": bytes(vote.round),
            "voter": bytes(vote.voter),
            "choice": word_of(vote.choice),
            "nonce": vote.nonce,
            "deadline": to_timestamp(vote.deadline),
            "signature": vote.signature,
        }
    )


def parse_vote(data: bytes) -> Vote:
    """Parse a vote's file; its signature is checked by `verify_vote`.

    Raises:
        MalformedInput: It is none.
    """
    fields = _fields(data, _VOTE, VOTE_LIMIT, _VOTE_FIELDS)
    if fields["choice"] not in _CHOICES:
        raise MalformedInput("the council vote's choice is none")
    if fields["nonce"] > _LAST_NONCE or len(fields["signature"]) != SIGNATURE_BYTES:
        raise MalformedInput("the council vote's nonce or signature is out of range")
    return Vote(
        _domain(fields["domain"]),
        Address(fields["council"]),
        Hash32(fields["round"]),
        Address(fields["voter"]),
        _CHOICES[fields["choice"]],
        fields["nonce"],
        _time(fields["deadline"]),
        fields["signature"],
    )


def _fields(data: bytes, what: str, limit: int, required: dict[str, type]) -> dict[str, Any]:
    value = loads_strict(data, limit)
    verify_version(value, what, _VERSION)
    fields = fields_of(value, what, required=required, optional={})
    if fields["type"] != what:
        raise MalformedInput(f"this is not a {what}")
    return fields


def _time(seconds: int) -> datetime:
    if seconds > _LATEST:
        raise MalformedInput("a deadline lies beyond the calendar")
    return from_timestamp(seconds)


def _domain(text: str) -> DomainId:
    domain = DomainId.parse(text)
    if str(domain) != text:
        raise MalformedInput("the domain id is not in its printed form")
    return domain
