"""What a RootCouncil should do, in plain Python, beside contract_model.py and in its manner.

The arithmetic is that of dpki/council, so that the state machine holds it against the contract's:
thresholds, caps and movements are the same numbers on both sides, or a test fails. What the round
calls is done to the model of the domain.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from dpki.council.parameters import SEATS, Parameters, Role
from dpki.council.threshold import Kind, Question, Rule, Tally, slide_quorum
from dpki.council.weights import Outcome, Table, freeze, move, moves, stance_of
from dpki.errors import UsageError
from tests.property.contract_model import NOBODY, Domain, Refused, _require

NONCES = 255


class State(IntEnum):
    UNKNOWN, OPEN, APPROVED, REJECTED, EXPIRED, EXECUTED = range(6)


class Choice(IntEnum):
    NONE, APPROVE, REJECT = range(3)


class Skipped(IntEnum):
    (
        NOT_A_VOTER,
        WRONG_NONCE,
        LATE,
        INVALID_SIGNATURE,
        NOTHING_CHANGED,
        NONCES_EXHAUSTED,
        INVALID_CHOICE,
    ) = range(7)


@dataclass(frozen=True)
class Call:
    """One call of a round: which contract, which function, with what."""

    part: str
    function: str
    arguments: tuple[Any, ...]

    @property
    def adds(self) -> bool | None:
        """Return whether it adds trust; None for what no round may call."""
        match self.part, self.function, self.arguments:
            case ("council", "addMember" | "setRole" | "setParameters", _):
                return True
            case ("council", "removeMember", _):
                return False
            case ("certificates", "lift" | "setOperator" | "setMaximumLifetime", _):
                return True
            case ("certificates", "suspend" | "close" | "retire", _):
                return False
            case ("certificates", "setRevoker", (_, _, allowed)):
                return bool(allowed)
            case ("devices", "setRegistrar", (_, allowed)):
                return bool(allowed)
            case ("domain", "setGuardian" | "offerGovernor", (account,)):
                return bool(account != NOBODY)
            case ("domain", "acceptGovernor", ()):
                return True
        return None


@dataclass(frozen=True)
class Proposal:
    id: bytes
    kind: Kind
    calls: tuple[Call, ...]
    deadline: int


@dataclass(frozen=True)
class Vote:
    """A signed vote, and what is known of its signature."""

    voter: str
    choice: int
    nonce: int
    deadline: int
    genuine: bool = True


@dataclass
class Member:
    account: str
    role: Role
    since: int
    weight: int


@dataclass(frozen=True)
class Frozen:
    """A numbered table, with the rule that stood when it was written."""

    table: Table
    rule: Rule
    faults: int

    def __deepcopy__(self, memo: object) -> Frozen:
        """It never changes: a copy of a council may hold the same one."""
        return self


@dataclass
class Round:
    proposal: Proposal
    proposer: int
    number: int
    frozen: Frozen
    #: Who had which seat at the opening.
    electorate: dict[str, int]
    opened: int
    delay: int
    choices: dict[int, Choice] = field(default_factory=dict)
    nonces: dict[int, int] = field(default_factory=dict)
    struck: set[int] = field(default_factory=set)
    approved_at: int = 0
    latched: State = State.OPEN
    settled: bool = False

    @property
    def ca(self) -> bytes:
        return bytes(self.proposal.calls[0].arguments[0])

    def seats(self, choice: Choice) -> set[int]:
        return {seat for seat, chosen in self.choices.items() if chosen is choice}

    def tally(self, choice: Choice) -> Tally:
        return self.frozen.table.tally(self.seats(choice))

    @property
    def struck_tally(self) -> Tally:
        return self.frozen.table.tally(self.struck)


@dataclass
class Council:
    """A council and the domain that it governs."""

    address: str
    domain: Domain
    parameters: Parameters
    members: dict[int, Member] = field(default_factory=dict)
    tables: list[Frozen] = field(default_factory=list)
    rounds: dict[bytes, Round] = field(default_factory=dict)
    #: The unsettled rounds of a seat: its decision, and its alarm.
    opened: dict[tuple[int, bool], bytes] = field(default_factory=dict)
    cooling: dict[bytes, int] = field(default_factory=dict)
    last_moved: int = 0

    @classmethod
    def founded(
        cls,
        address: str,
        domain: Domain,
        founders: Sequence[tuple[str, Role]],
        parameters: Parameters,
        now: int,
    ) -> Council:
        council = cls(address, domain, parameters)
        for account, role in founders:
            council.seat(account, role, now)
        council.check_parameters(parameters)
        council.write()
        return council

    # -- what anyone and members call ------------------------------------------------------------

    def propose(self, caller: str, proposal: Proposal, now: int) -> None:
        seat = self.seat_of(caller)
        _require(seat is not None, "RootCouncilUnauthorized")
        assert seat is not None
        decision = proposal.kind is Kind.DECISION
        root = self.members[seat].role is Role.ROOT
        _require(not decision or root, "RootCouncilUnauthorized")
        delay = self.delay_of(proposal) if decision else self.alarm_of(proposal)
        earliest, latest = now + delay + 1, now + self.parameters.longest
        _require(earliest <= proposal.deadline <= latest, "RootCouncilInvalidDeadline")
        _require(proposal.id not in self.rounds, "RootCouncilKnownRound")
        _require((seat, decision) not in self.opened, "RootCouncilOpenRound")
        self.opened[seat, decision] = proposal.id
        self.rounds[proposal.id] = Round(
            proposal=proposal,
            proposer=seat,
            number=len(self.tables),
            frozen=self.tables[-1],
            electorate={member.account: seat for seat, member in self.members.items()},
            opened=now,
            delay=delay,
        )

    def vote(self, caller: str, id: bytes, choice: Choice, now: int) -> None:
        current = self.counting(id, now)
        seat = self.voter(current, caller)
        _require(seat is not None, "RootCouncilNotAVoter")
        assert seat is not None
        changed = current.choices.get(seat, Choice.NONE) is not choice
        _require(changed, "RootCouncilNothingChanged")
        _require(current.nonces.get(seat, 0) < NONCES, "RootCouncilNoncesExhausted")
        self.count(current, seat, choice)
        self.judge(current, now)

    def relay(self, id: bytes, votes: Sequence[Vote], now: int) -> list[Skipped | None]:
        """Return why each vote was skipped; None for one that counted."""
        current = self.counting(id, now)
        reasons = [self.bring(current, vote, now) for vote in votes]
        self.judge(current, now)
        return reasons

    def execute(self, proposal: Proposal, votes: Sequence[Vote], now: int) -> list[Skipped | None]:
        current = self.counting(proposal.id, now)
        reasons = self.relay(proposal.id, votes, now)
        _require(self.state(current, now) is State.APPROVED, "RootCouncilUnexpectedState")
        _require(now >= current.approved_at + current.delay, "RootCouncilTooEarly")
        current.latched = State.EXECUTED
        self.close(current)
        for call in proposal.calls:
            try:
                self.perform(call, now, executing=current)
            except Refused as refused:
                raise Refused("RootCouncilCallFailed") from refused
        self.settle_closed(current, now)
        return reasons

    def settle(self, id: bytes, now: int) -> None:
        current = self.rounds.get(id)
        _require(current is None or not current.settled, "RootCouncilAlreadySettled")
        state = State.UNKNOWN if current is None else self.state(current, now)
        _require(state in (State.REJECTED, State.EXPIRED), "RootCouncilUnexpectedState")
        assert current is not None
        if state is State.REJECTED and current.proposal.kind is Kind.DECISION:
            seen = min(current.opened + self.parameters.attendance, current.proposal.deadline)
            _require(self.rejected_by_most(current) or now >= seen, "RootCouncilTooEarly")
        self.close(current)
        self.settle_closed(current, now)

    # -- what an executed round calls ------------------------------------------------------------

    def perform(self, call: Call, now: int, *, executing: Round) -> None:
        args = call.arguments
        own, domain = self.address, self.domain
        match call.part, call.function:
            case "council", "addMember":
                self.seat(*args, now)
                self.write()
            case "council", "removeMember":
                self.remove(args[0], now, executing)
            case "council", "setRole":
                self.set_role(*args)
            case "council", "setParameters":
                self.set_parameters(args[0])
            case "certificates", "suspend":
                domain.suspend(own, *args)
            case "certificates", "lift":
                domain.lift(own, *args)
                self.cooling[args[0]] = now + self.parameters.cooling
            case "certificates", "close":
                domain.close(own, *args)
            case "certificates", "retire":
                domain.retire(own, *args)
            case "certificates", "setRevoker":
                domain.set_revoker(own, *args)
            case "devices", "setRegistrar":
                domain.set_registrar(own, *args)
            case "domain", "setGuardian":
                domain.set_guardian(own, *args)
            case "domain", "offerGovernor":
                domain.offer_governor(own, *args)
            case "domain", "acceptGovernor":
                domain.accept_governor(own)
            case _:
                raise AssertionError(f"the machine made up a call: {call}")

    def seat(self, account: str, role: Role, now: int) -> None:
        invalid = account in (NOBODY, self.address)
        _require(not invalid, "RootCouncilInvalidMember")
        _require(self.seat_of(account) is None, "RootCouncilAlreadyMember")
        _require(role is not Role.NONE, "RootCouncilInvalidRole")
        free = next((seat for seat in range(SEATS) if seat not in self.members), None)
        _require(free is not None, "RootCouncilFull")
        assert free is not None
        self.members[free] = Member(account, role, now, self.parameters.bounds(role).initial)

    def remove(self, account: str, now: int, executing: Round) -> None:
        seat = self.seat_of(account)
        _require(seat is not None, "RootCouncilUnknownMember")
        assert seat is not None
        del self.members[seat]
        self.write()
        for decision in (True, False):
            own = self.opened.pop((seat, decision), None)
            if own is not None:
                self.end(self.rounds[own], now)
        unsettled = [self.rounds[id] for id in self.opened.values()]
        for current in [executing, *unsettled]:
            if current.electorate.get(account) == seat and seat not in current.struck:
                current.choices.pop(seat, None)
                current.struck.add(seat)
                if now < current.proposal.deadline:
                    self.judge(current, now)

    def set_role(self, account: str, role: Role) -> None:
        seat = self.seat_of(account)
        _require(seat is not None, "RootCouncilUnknownMember")
        assert seat is not None
        member = self.members[seat]
        _require(role not in (Role.NONE, member.role), "RootCouncilInvalidRole")
        member.role = role
        member.weight = self.parameters.bounds(role).initial
        self.write()

    def set_parameters(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self.parameters = parameters
        for member in self.members.values():
            member.weight = parameters.bounds(member.role).clamp(member.weight)
        self.write()

    def check_parameters(self, parameters: Parameters) -> None:
        try:
            parameters.check()
        except UsageError as error:
            raise Refused("RootCouncilInvalidParameters") from error

    def write(self) -> None:
        """Write a table, if everybody together can still decide something by it."""
        roles = {member.role for member in self.members.values()}
        rule, faults = self.parameters.rule, self.parameters.faults
        reachable = Role.ROOT in roles and slide_quorum(faults) <= len(self.members)
        _require(reachable, "RootCouncilUnreachable")
        weights = {seat: member.weight for seat, member in self.members.items()}
        self.tables.append(Frozen(freeze(weights, rule), rule, faults))

    # -- votes and judgement ---------------------------------------------------------------------

    def delay_of(self, proposal: Proposal) -> int:
        _require(bool(proposal.calls), "RootCouncilNoCalls")
        effects = [call.adds for call in proposal.calls]
        _require(None not in effects, "RootCouncilForbiddenCall")
        return self.parameters.delay if True in effects else 0

    def alarm_of(self, proposal: Proposal) -> int:
        _require(bool(proposal.calls), "RootCouncilNoCalls")
        name = "suspend" if proposal.kind is Kind.SUSPENSION else "lift"
        first = proposal.calls[0]
        fits = (first.part, first.function) == ("certificates", name)
        _require(fits and len(proposal.calls) == 1, "RootCouncilForbiddenCall")
        return 0

    def counting(self, id: bytes, now: int) -> Round:
        current = self.rounds.get(id)
        _require(current is not None, "RootCouncilUnexpectedState")
        assert current is not None
        alive = current.latched in (State.OPEN, State.REJECTED) and not current.settled
        in_time = now < current.proposal.deadline
        _require(alive and in_time, "RootCouncilUnexpectedState")
        return current

    def voter(self, current: Round, account: str) -> int | None:
        """Return the seat that an account has had since before the round was opened."""
        seat = current.electorate.get(account)
        if seat is None or seat in current.struck or self.seat_of(account) != seat:
            return None
        return seat if self.members[seat].since <= current.opened else None

    def bring(self, current: Round, vote: Vote, now: int) -> Skipped | None:
        seat = self.voter(current, vote.voter)
        if seat is None:
            return Skipped.NOT_A_VOTER
        if vote.choice > Choice.REJECT:
            return Skipped.INVALID_CHOICE
        if vote.nonce != current.nonces.get(seat, 0):
            return Skipped.WRONG_NONCE
        if now > vote.deadline:
            return Skipped.LATE
        if not vote.genuine:
            return Skipped.INVALID_SIGNATURE
        if current.choices.get(seat, Choice.NONE) == vote.choice:
            return Skipped.NOTHING_CHANGED
        if vote.nonce == NONCES:
            return Skipped.NONCES_EXHAUSTED
        self.count(current, seat, Choice(vote.choice))
        return None

    def count(self, current: Round, seat: int, choice: Choice) -> None:
        current.choices[seat] = choice
        current.nonces[seat] = current.nonces.get(seat, 0) + 1

    def question(self, current: Round, now: int) -> Question:
        kind = current.proposal.kind
        cooling = kind is Kind.SUSPENSION and now < self.cooling.get(current.ca, 0)
        return Question(kind, current.frozen.rule, current.frozen.faults, cooling)

    def judge(self, current: Round, now: int) -> None:
        if current.latched is not State.OPEN:
            return
        question, everybody = self.question(current, now), current.frozen.table.everybody
        if question.passes(current.tally(Choice.APPROVE), everybody):
            current.approved_at = current.approved_at or now
            return
        current.approved_at = 0
        lost = current.tally(Choice.REJECT) + current.struck_tally
        if not question.passes(everybody - lost, everybody):
            current.latched = State.REJECTED

    def state(self, current: Round, now: int) -> State:
        if current.latched is not State.OPEN:
            return current.latched
        if now >= current.proposal.deadline:
            return State.EXPIRED
        approvals = current.tally(Choice.APPROVE)
        question = self.question(current, now)
        passing = question.passes(approvals, current.frozen.table.everybody)
        return State.APPROVED if passing else State.OPEN

    def rejected_by_most(self, current: Round) -> bool:
        rejections = current.tally(Choice.REJECT).weight
        return 2 * rejections > current.frozen.table.total

    # -- the end of a round ----------------------------------------------------------------------

    def close(self, current: Round) -> None:
        decision = current.proposal.kind is Kind.DECISION
        del self.opened[current.proposer, decision]

    def end(self, current: Round, now: int) -> None:
        """End the round of a proposer who was removed."""
        if current.latched is State.OPEN and now < current.proposal.deadline:
            current.latched = State.REJECTED
        current.settled = True

    def settle_closed(self, current: Round, now: int) -> None:
        outcome = {
            State.EXECUTED: Outcome.EXECUTED,
            State.REJECTED: Outcome.REJECTED,
            State.EXPIRED: Outcome.EXPIRED,
        }[self.state(current, now)]
        current.settled = True
        moving = moves(
            current.proposal.kind,
            outcome,
            rejections=current.tally(Choice.REJECT).weight,
            total=current.frozen.table.total,
            rested=now >= self.last_moved + self.parameters.epoch,
        )
        if moving and self.move(current, outcome, now):
            self.last_moved = now
            self.write()

    def move(self, current: Round, outcome: Outcome, now: int) -> bool:
        """Move weights, and return whether any did."""
        moved = False
        attended = now >= current.opened + self.parameters.attendance
        for account, seat in current.electorate.items():
            if seat in current.struck:
                continue
            member = self.members[seat]
            assert member.account == account
            choice = current.choices.get(seat, Choice.NONE)
            stance = stance_of(
                outcome,
                approves=choice is Choice.APPROVE,
                rejects=choice is Choice.REJECT,
                attended=attended,
            )
            if stance is None:
                continue
            bounds = self.parameters.bounds(member.role)
            senior = now - member.since >= self.parameters.senior_after
            weight = move(member.weight, bounds, self.parameters, stance, senior=senior)
            moved = moved or weight != member.weight
            member.weight = weight
        return moved

    def seat_of(self, account: str) -> int | None:
        found: Iterator[int] = (
            s for s, member in self.members.items() if member.account == account
        )
        return next(found, None)


def attempt(council: Council, action: Any) -> tuple[Council, Any, str | None]:
    """Return the council after an action, what it answered, and the error if it refused.

    A refused action leaves no trace, as a reverted transaction does.
    """
    after = copy.deepcopy(council)
    try:
        return after, action(after), None
    except Refused as refused:
        return council, None, refused.error
