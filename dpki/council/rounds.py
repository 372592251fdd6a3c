"""Rounds: what one holds, its id, and where it stands. Pure.

A round's id is a hash of all that it would do, so that whoever signs it can make sure what it is
without asking anybody (contracts/RootCouncil.sol, `roundIdOf`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from eth_abi.abi import encode

from dpki.council.history import Choice
from dpki.council.threshold import Kind, Question, Rule, Tally
from dpki.errors import NotAllowed
from dpki.keccak import keccak
from dpki.model import Address, Hash32, to_timestamp
from dpki.transactions.abi import find_function
from dpki.transactions.governed import GovernanceCall


class State(enum.IntEnum):
    """Where a round stands (IRootCouncil.State)."""

    UNKNOWN = 0
    OPEN = 1
    APPROVED = 2
    REJECTED = 3
    EXPIRED = 4
    EXECUTED = 5

    @property
    def label(self) -> str:
        """The word that people see."""
        return self.name.lower()

    @property
    def may_pass(self) -> bool:
        """Whether it may still be executed."""
        return self in (State.OPEN, State.APPROVED)


@dataclass(frozen=True)
class Proposal:
    """A round's contents (IRootCouncil.Proposal).

    Attributes:
        deadline: The first second in which the round is over.
        salt: Tells apart rounds that are otherwise the same.
    """

    kind: Kind
    calls: tuple[GovernanceCall, ...]
    deadline: datetime
    salt: Hash32

    def abi(self) -> tuple[int, list[tuple[str, bytes]], int, bytes]:
        """Return the contents as the contract takes them."""
        calls = [(str(call.target), call.data) for call in self.calls]
        return int(self.kind), calls, to_timestamp(self.deadline), bytes(self.salt)

    @property
    def id(self) -> Hash32:
        """The round's id."""
        kinds = [p.kind for p in find_function("RootCouncil", "roundIdOf").inputs]
        return Hash32(keccak(encode(kinds, [self.abi()])))


@dataclass(frozen=True)
class Ballot:
    """One member's part in a round.

    Attributes:
        weight: What it counts, the cap applied.
        nonce: How many of its votes the round has counted.
        is_struck: Whether it was removed since; it votes no more.
    """

    voter: Address
    seat: int
    weight: int
    choice: Choice
    nonce: int
    is_struck: bool = False


@dataclass(frozen=True)
class Round:
    """A round as the chain has it.

    Attributes:
        proposer: The seat that opened it.
        delay: How long it waits between approval and execution.
        approved_at: When the votes last came to suffice; None while they do not.
        everybody: The frozen electorate.
        is_cooling: Whether its authority was lifted a short while ago.
    """

    id: Hash32
    kind: Kind
    state: State
    is_settled: bool
    proposer: int
    delay: timedelta
    opened_at: datetime
    deadline: datetime
    approved_at: datetime | None
    ballots: Mapping[Address, Ballot]
    everybody: Tally
    rule: Rule = Rule.MORE_THAN_TWO_THIRDS
    faults: int = 0
    is_cooling: bool = False

    @property
    def question(self) -> Question:
        """What it needs in order to pass."""
        return Question(self.kind, self.rule, self.faults, self.is_cooling)

    def tally(self, choice: Choice) -> Tally:
        """Return who stands for a choice."""
        standing = [b for b in self.ballots.values() if b.choice is choice and not b.is_struck]
        return Tally(sum(ballot.weight for ballot in standing), len(standing))

    @property
    def takes_votes(self) -> bool:
        """Whether votes count; a rejected round's do until it is settled, for the weights."""
        return self.state.may_pass or (self.state is State.REJECTED and not self.is_settled)

    @property
    def executable_from(self) -> datetime | None:
        """From when on it can be executed; None while it is not approved."""
        if self.state is not State.APPROVED or self.approved_at is None:
            return None
        return self.approved_at + self.delay

    def is_executable(self, time: datetime) -> bool:
        """Return whether it can be executed in a block of this time."""
        ready = self.executable_from
        return ready is not None and ready <= time

    def missing(self) -> tuple[str, ...]:
        """Return what is missing for it to pass, a sentence each; nothing where nothing is."""
        if self.state is not State.OPEN:
            return ()
        approvals, everybody = self.tally(Choice.APPROVE), self.everybody
        least, heads = self.question.least_weight(everybody), self.question.least_heads(everybody)
        wanting = []
        if least is None:
            wanting.append("no weight suffices: the rule asks for more than there is")
        elif approvals.weight < least:
            wanting.append(
                f"weight {least - approvals.weight} more"
                f" ({approvals.weight} of {least} needed, of {everybody.weight} in all)"
            )
        if approvals.heads < heads:
            count = heads - approvals.heads
            wanting.append(
                f"{count} more member{'s' if count > 1 else ''}"
                f" ({approvals.heads} of {heads} needed, of {everybody.heads} in all)"
            )
        return tuple(wanting)


def find_ballot(found: Round, voter: Address) -> Ballot:
    """Return a member's part in a round.

    Raises:
        NotAllowed: The account has none.
    """
    ballot = found.ballots.get(voter)
    if ballot is None or ballot.is_struck:
        why = "was removed from the council" if ballot else "was no member when it was opened"
        raise NotAllowed(
            f"account {voter} has no vote in round {found.id}: it {why}",
            hint="see who votes with: dpki council show ROUND",
        )
    return ballot
