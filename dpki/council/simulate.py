"""A council over many rounds, with members that behave in given ways: for choosing constants.

The rules are the council's own (threshold.py, weights.py); what is made up is the people. Each
round is a decision that somebody proposes, one epoch after the one before, and everybody who comes
votes before it ends. The same seed gives the same story.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dpki.council.parameters import DEFAULTS, Parameters, Role
from dpki.council.threshold import Kind, Question, Standing, Tally, lifts, suspends
from dpki.council.weights import Outcome, Table, freeze, move, moves, stance_of
from dpki.errors import UsageError

MOST_ROUNDS = 10_000


class Behaviour(enum.Enum):
    """What a member does.

    HONEST proposes what is good, approves it and rejects what is bad; now and then it does not
    come. ABSENT never comes. MALICIOUS does the opposite of an honest one. FLIP_FLOPPING does the
    one and the other in turns. COLLUDING is honest until all of its kind together can block every
    decision, or until half the time has gone, and malicious from then on.
    """

    HONEST = "honest"
    ABSENT = "absent"
    MALICIOUS = "malicious"
    FLIP_FLOPPING = "flip-flopping"
    COLLUDING = "colluding"


HOSTILE = frozenset({Behaviour.MALICIOUS, Behaviour.FLIP_FLOPPING, Behaviour.COLLUDING})


@dataclass(frozen=True)
class Person:
    """A member of the simulated council."""

    role: Role
    behaviour: Behaviour


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Args:
        presence: How many of 100 rounds an honest member comes to.
        turn: After how many rounds a flip-flopping member changes sides.
    """

    people: tuple[Person, ...]
    rounds: int = 100
    parameters: Parameters = DEFAULTS
    seed: int = 1
    presence: int = 95
    turn: int = 10

    def check(self) -> None:
        """Refuse what could not be simulated, or founded.

        Raises:
            UsageError: Saying what is wrong.
        """
        self.parameters.check()
        roots = sum(1 for person in self.people if person.role is Role.ROOT)
        self.parameters.check_reachable(len(self.people), roots)
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise UsageError(f"a simulation has 1 to {MOST_ROUNDS} rounds, not {self.rounds}")
        if not 0 <= self.presence <= 100:
            raise UsageError(f"presence is 0 to 100 per cent, not {self.presence}")
        if self.turn < 1:
            raise UsageError(f"members turn after 1 round or more, not {self.turn}")


@dataclass(frozen=True)
class Round:
    """What happened in a round, and what could have happened.

    Args:
        proposer: The seat; None when every root that would propose anything was away.
        good: Whether what was proposed was good.
        outcome: None when nothing was proposed.
        weights: What everybody weighed when it opened, by seat, uncapped.
        hostile: What the hostile members counted together.
        everybody: What all members counted together.
        could_pass: Whether the hostile members alone could have passed anything.
        could_block: Whether nothing could have passed without one of them.
        could_suspend: Whether they alone could have suspended a CA.
        could_lift: Whether they alone could have lifted a suspension.
        live: Whether the honest members alone, if all came, could have passed anything.
    """

    proposer: int | None
    good: bool
    outcome: Outcome | None
    weights: tuple[int, ...]
    hostile: int
    everybody: int
    could_pass: bool
    could_block: bool
    could_suspend: bool
    could_lift: bool
    live: bool


@dataclass(frozen=True)
class Story:
    """What a simulation came to.

    Args:
        final: What everybody weighs after the last round.
    """

    setup: Setup
    rounds: tuple[Round, ...]
    final: tuple[int, ...]

    def passed(self, *, good: bool) -> int:
        """Return how many good, or bad, proposals were executed."""
        return self._counted(good, Outcome.EXECUTED)

    def rejected(self, *, good: bool) -> int:
        """Return how many good, or bad, proposals were rejected."""
        return self._counted(good, Outcome.REJECTED)

    def expired(self, *, good: bool) -> int:
        """Return how many good, or bad, proposals came to nothing."""
        return self._counted(good, Outcome.EXPIRED)

    def first(self, what: str) -> int | None:
        """Return the first round, from 1, in which the field `what` of it was true."""
        found = (number for number, r in enumerate(self.rounds, 1) if getattr(r, what))
        return next(found, None)

    @property
    def blocking_lost(self) -> int | None:
        """Return the round from which on, to the end, the hostile could no longer block.

        None where they never could, and where they still can.
        """
        last = max((n for n, r in enumerate(self.rounds, 1) if r.could_block), default=0)
        return last + 1 if 0 < last < len(self.rounds) else None

    @property
    def liveness_lost(self) -> int | None:
        """Return the first round in which the honest members alone could pass nothing."""
        return next((n for n, r in enumerate(self.rounds, 1) if not r.live), None)

    @property
    def hostile_peak(self) -> Round:
        """Return the round in which the hostile members' share was greatest."""
        return max(self.rounds, key=lambda r: r.hostile / r.everybody)

    def series(self, seat: int) -> tuple[int, ...]:
        """Return a member's weight at each round, and after the last."""
        return (*(r.weights[seat] for r in self.rounds), self.final[seat])

    def _counted(self, good: bool, outcome: Outcome) -> int:
        return sum(1 for r in self.rounds if r.outcome is outcome and r.good is good)


def simulate(setup: Setup) -> Story:
    """Return what happens to a council.

    Raises:
        UsageError: The setup makes no sense, or the council could not be founded.
    """
    setup.check()
    council = _Council(setup, random.Random(setup.seed))  # a story, not a secret
    rounds = tuple(council.rounds())
    return Story(setup, rounds, council.row())


@dataclass
class _Council:
    setup: Setup
    chance: random.Random
    weights: dict[int, int] = field(init=False)
    turned: bool = False

    def __post_init__(self) -> None:
        parameters = self.setup.parameters
        self.weights = {
            seat: parameters.bounds(person.role).initial
            for seat, person in enumerate(self.setup.people)
        }
        self.question = Question(Kind.DECISION, parameters.rule, parameters.faults)

    def row(self) -> tuple[int, ...]:
        return tuple(self.weights[seat] for seat in range(len(self.setup.people)))

    def rounds(self) -> Iterator[Round]:
        for number in range(self.setup.rounds):
            table = freeze(self.weights, self.setup.parameters.rule)
            self.turn(number, table)
            yield self.round(number, table)

    def round(self, number: int, table: Table) -> Round:
        weights = self.row()
        proposer = self.proposer()
        good, outcome = True, None
        if proposer is not None:
            good = self.means_well(proposer, number)
            approvals, rejections = self.votes(number, good)
            outcome = self.outcome(table, approvals, rejections)
            self.settle(number, table, outcome, approvals, rejections)
        everybody = table.everybody
        hostile = table.tally(self.seats(HOSTILE))
        return Round(
            proposer=proposer,
            good=good,
            outcome=outcome,
            weights=weights,
            hostile=hostile.weight,
            everybody=everybody.weight,
            could_pass=self.question.passes(hostile, everybody),
            could_block=not self.question.passes(everybody - hostile, everybody),
            could_suspend=suspends(hostile.weight, everybody.weight, cooling=False),
            could_lift=lifts(hostile.weight, everybody.weight),
            live=self.question.passes(self.honest(table), everybody),
        )

    def honest(self, table: Table) -> Tally:
        return table.tally(self.seats({Behaviour.HONEST}))

    def seats(self, behaviours: frozenset[Behaviour] | set[Behaviour]) -> list[int]:
        people = enumerate(self.setup.people)
        return [seat for seat, person in people if person.behaviour in behaviours]

    def turn(self, number: int, table: Table) -> None:
        """Let the colluding members turn, once, when their hour has come."""
        colluding = table.tally(self.seats({Behaviour.COLLUDING}))
        blocks = not self.question.passes(table.everybody - colluding, table.everybody)
        self.turned = self.turned or blocks or 2 * number >= self.setup.rounds

    def means_well(self, seat: int, number: int) -> bool:
        match self.setup.people[seat].behaviour:
            case Behaviour.MALICIOUS:
                return False
            case Behaviour.FLIP_FLOPPING:
                return number // self.setup.turn % 2 == 0
            case Behaviour.COLLUDING:
                return not self.turned
            case _:
                return True

    def comes(self, seat: int) -> bool:
        match self.setup.people[seat].behaviour:
            case Behaviour.ABSENT:
                return False
            case Behaviour.HONEST:
                return self.chance.randrange(100) < self.setup.presence
            case _:
                return True

    def proposer(self) -> int | None:
        roots = [
            seat
            for seat, person in enumerate(self.setup.people)
            if person.role is Role.ROOT and person.behaviour is not Behaviour.ABSENT
        ]
        return self.chance.choice(roots) if roots else None

    def votes(self, number: int, good: bool) -> tuple[set[int], set[int]]:
        """Return who approves and who rejects."""
        approvals: set[int] = set()
        rejections: set[int] = set()
        for seat in range(len(self.setup.people)):
            if self.comes(seat):
                (approvals if self.means_well(seat, number) is good else rejections).add(seat)
        return approvals, rejections

    def outcome(self, table: Table, approvals: set[int], rejections: set[int]) -> Outcome:
        standing = self.question.judge(
            table.tally(approvals), table.tally(rejections), table.everybody
        )
        return {
            Standing.APPROVED: Outcome.EXECUTED,
            Standing.REJECTED: Outcome.REJECTED,
            Standing.UNDECIDED: Outcome.EXPIRED,
        }[standing]

    def settle(
        self,
        number: int,
        table: Table,
        outcome: Outcome,
        approvals: set[int],
        rejections: set[int],
    ) -> None:
        against = table.tally(rejections).weight
        if not moves(Kind.DECISION, outcome, rejections=against, total=table.total, rested=True):
            return
        parameters = self.setup.parameters
        senior = number * parameters.epoch >= parameters.senior_after
        for seat, person in enumerate(self.setup.people):
            stance = stance_of(
                outcome, approves=seat in approvals, rejects=seat in rejections, attended=True
            )
            if stance is not None:
                bounds = parameters.bounds(person.role)
                self.weights[seat] = move(
                    self.weights[seat], bounds, parameters, stance, senior=senior
                )


def crowd(groups: Sequence[tuple[int, Role, Behaviour]]) -> tuple[Person, ...]:
    """Return the people of these groups, in order."""
    return tuple(Person(role, behaviour) for count, role, behaviour in groups for _ in range(count))
