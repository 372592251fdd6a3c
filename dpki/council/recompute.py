"""Anyone's check of a council's weights: its whole history again, from its events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dpki.council.history import (
    Choice,
    Event,
    MemberAdded,
    MemberRemoved,
    ParametersChanged,
    RoleChanged,
    RoundOpened,
    RoundSettled,
    VoteCast,
    WeightsChanged,
)
from dpki.council.parameters import DEFAULTS, Parameters, Role
from dpki.council.threshold import Kind
from dpki.council.weights import (
    Outcome,
    Table,
    freeze,
    move,
    moves,
    stance_of,
    unpack,
)
from dpki.model import Address, Hash32


@dataclass(frozen=True)
class Difference:
    """A place where the chain says something else than the rules.

    Args:
        table: The number of the table that it shows in; the next one's where none was written.
    """

    time: int
    table: int
    message: str


@dataclass(frozen=True)
class Moment:
    """Everybody's weight, as the rules make it, from a time on."""

    time: int
    number: int
    weights: Mapping[Address, int]
    table: Table


@dataclass(frozen=True)
class Recomputed:
    """What came out: every table by the rules, and where the chain's differ."""

    moments: tuple[Moment, ...]
    differences: tuple[Difference, ...]
    parameters: Parameters


def recompute(events: Iterable[Event], parameters: Parameters = DEFAULTS) -> Recomputed:
    """Return every table of weights as the rules make it, and where the chain differs.

    After a difference the chain's table is taken for true, so that one is not told many times.

    Args:
        events: Of one council, all of them, from its founding on and in the chain's order.
        parameters: What holds until the first ParametersChanged.
    """
    ledger = Ledger(parameters)
    for event in events:
        ledger.take(event)
    ledger.check_written()
    return Recomputed(tuple(ledger.moments), tuple(ledger.differences), ledger.parameters)


@dataclass(frozen=True)
class Seated:
    """A member: since when, in seconds, and what it weighs now."""

    account: Address
    role: Role
    since: int
    weight: int


@dataclass
class Unsettled:
    """A round that is not settled: who may vote, who did, and who was removed since."""

    kind: Kind
    proposer: Address
    opened: int
    electorate: Mapping[Address, int]
    table: Table
    choices: dict[Address, Choice] = field(default_factory=dict)
    struck: set[Address] = field(default_factory=set)

    def rejections(self) -> int:
        """Return what those weigh who reject and were not removed."""
        choices = self.choices.items()
        against = [who for who, choice in choices if choice is Choice.REJECT]
        return self.table.tally(
            self.electorate[who] for who in against if who not in self.struck
        ).weight


@dataclass
class Ledger:
    """A council's weights, event by event.

    Attributes:
        seats: Who sits where.
        rounds: Those that are not settled, as far as weights depend on them.
        differences: Where the chain's differ, so far.
    """

    parameters: Parameters
    seats: dict[int, Seated] = field(default_factory=dict)
    rounds: dict[Hash32, Unsettled] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    written: Table | None = None
    last_moved: int = 0
    number: int = 0
    time: int = 0

    def take(self, event: Event) -> None:
        """Go on by one event, the next in the chain's order."""
        self.time = event.time
        match event:
            case MemberAdded():
                weight = self.parameters.bounds(event.role).initial
                self.seats[event.seat] = Seated(event.account, event.role, event.time, weight)
            case MemberRemoved():
                self.seats.pop(event.seat, None)
                for unsettled in self.rounds.values():
                    unsettled.struck.add(event.account)
            case RoleChanged():
                self._change_role(event.account, event.role)
            case ParametersChanged():
                self._change_parameters(event.parameters)
            case WeightsChanged():
                self._compare(event)
            case RoundOpened():
                self._open(event)
            case VoteCast():
                self._vote(event)
            case RoundSettled():
                self._settle(event)

    def _change_role(self, account: Address, role: Role) -> None:
        weight = self.parameters.bounds(role).initial
        for seat, member in self.seats.items():
            if member.account == account:
                self.seats[seat] = replace(member, role=role, weight=weight)

    def _change_parameters(self, parameters: Parameters) -> None:
        founding = self.written is None
        self.parameters = parameters
        for seat, member in self.seats.items():
            bounds = parameters.bounds(member.role)
            weight = bounds.initial if founding else bounds.clamp(member.weight)
            self.seats[seat] = replace(member, weight=weight)

    def _open(self, event: RoundOpened) -> None:
        self.check_written()
        if event.table != self.number:
            self._differ(f"round {event.round} opened on table {event.table}, not the last one")
        electorate = {member.account: seat for seat, member in self.seats.items()}
        self.rounds[event.round] = Unsettled(
            event.kind, event.proposer, event.time, electorate, self.current()
        )

    def _vote(self, event: VoteCast) -> None:
        voted = self.rounds.get(event.round)
        if voted is None or event.voter not in voted.electorate:
            self._differ(f"{event.voter} has no vote in round {event.round}")
            return
        voted.choices[event.voter] = event.choice

    def _settle(self, event: RoundSettled) -> None:
        ended = self.rounds.pop(event.round, None)
        if ended is None:
            self._differ(f"round {event.round} was settled without having been open")
            return
        moved = self._weights_after(ended, event)
        if event.moved != bool(moved):
            words = "moved weights and should not have" if event.moved else "should move weights"
            self._differ(f"round {event.round} {words}")
        if event.moved:
            self.last_moved = event.time
            for seat, weight in moved.items():
                self.seats[seat] = replace(self.seats[seat], weight=weight)

    def _weights_after(self, ended: Unsettled, event: RoundSettled) -> dict[int, int]:
        """Return the weights by seat that settling a round changes."""
        if ended.proposer in ended.struck and event.outcome is not Outcome.EXECUTED:
            return {}
        if not moves(
            ended.kind,
            event.outcome,
            rejections=ended.rejections(),
            total=ended.table.total,
            rested=self.last_moved + self.parameters.epoch <= event.time,
        ):
            return {}
        attended = ended.opened + self.parameters.attendance <= event.time
        after: dict[int, int] = {}
        for seat, member in self.seats.items():
            if ended.electorate.get(member.account) == seat and member.account not in ended.struck:
                weight = self._weight_after(ended, event, member, attended=attended)
                if weight != member.weight:
                    after[seat] = weight
        return after

    def _weight_after(
        self, ended: Unsettled, event: RoundSettled, member: Seated, *, attended: bool
    ) -> int:
        choice = ended.choices.get(member.account, Choice.NONE)
        stance = stance_of(
            event.outcome,
            approves=choice is Choice.APPROVE,
            rejects=choice is Choice.REJECT,
            attended=attended,
        )
        if stance is None:
            return member.weight
        senior = member.since + self.parameters.senior_after <= event.time
        bounds = self.parameters.bounds(member.role)
        return move(member.weight, bounds, self.parameters, stance, senior=senior)

    def _compare(self, event: WeightsChanged) -> None:
        if event.number != self.number + 1:
            self._differ(f"table {event.number} follows table {self.number}")
        self.number = event.number - 1
        table = self.current()
        given = unpack(event.words)
        for seat in range(len(given)):
            if given[seat] != table.weights[seat]:
                self._differ(f"seat {seat} weighs {given[seat]}, not {table.weights[seat]}")
        for name, told, right in (
            ("electorate", event.electorate, table.electorate),
            ("cap", event.cap, table.cap),
            ("total", event.total, table.total),
        ):
            if told != right:
                self._differ(f"{name} is {told}, not {right}")
        self.number = event.number
        weights = {member.account: member.weight for member in self.seats.values()}
        self.moments.append(Moment(event.time, event.number, weights, table))
        for seat, member in self.seats.items():
            self.seats[seat] = replace(member, weight=given[seat] or member.weight)
        self.written = self.current()

    def check_written(self) -> None:
        """Notice a change without a table: rounds would go on freezing what was before."""
        table = self.current() if self.seats else None
        if table != self.written:
            self._differ("weights changed and no table was written")
            self.written = table

    def current(self) -> Table:
        """Return the table as the rules make it now."""
        weights = {seat: member.weight for seat, member in self.seats.items()}
        return freeze(weights, self.parameters.rule)

    def _differ(self, message: str) -> None:
        self.differences.append(Difference(self.time, self.number + 1, message))
