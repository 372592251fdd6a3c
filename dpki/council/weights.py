"""What members weigh: packing, cap and movement, as contracts/Weights.sol does them.

Whole numbers only, so that every table can be recomputed to the bit (recompute.py).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dpki.council.parameters import SEATS, UINT16, Bounds, Parameters
from dpki.council.threshold import SMALL, Kind, Rule, Tally

WORDS = 8
SEATS_PER_WORD = SEATS // WORDS
_BITS = 16


class Outcome(enum.Enum):
    """How a round ended."""

    EXECUTED = "executed"
    REJECTED = "rejected"
    EXPIRED = "expired"


class Stance(enum.Enum):
    """How a member stood to the outcome of a round."""

    WITH = "with"
    AGAINST = "against"
    ABSENT = "absent"


@dataclass(frozen=True)
class Table:
    """Everybody's weight between two changes (IRootCouncil.Table).

    Args:
        weights: The 128 seats' weights as they are, not capped; zero for a free seat.
        cap: The most that one member counts in a round.
    """

    weights: tuple[int, ...]
    cap: int

    @property
    def electorate(self) -> int:
        """Return a bitmap of the taken seats."""
        return sum(1 << seat for seat, weight in enumerate(self.weights) if weight)

    @property
    def heads(self) -> int:
        """Return how many seats are taken."""
        return sum(1 for weight in self.weights if weight)

    @property
    def total(self) -> int:
        """Return the sum of what everybody counts."""
        return sum(min(weight, self.cap) for weight in self.weights)

    @property
    def everybody(self) -> Tally:
        """Return all members together."""
        return Tally(self.total, self.heads)

    def counted(self, seat: int) -> int:
        """Return what the member in this seat counts in a round."""
        return min(self.weights[seat], self.cap)

    def tally(self, seats: Iterable[int]) -> Tally:
        """Return these members together; free seats count nothing."""
        counted = [self.counted(seat) for seat in set(seats)]
        return Tally(sum(counted), sum(1 for weight in counted if weight))


def freeze(weights: Mapping[int, int], rule: Rule) -> Table:
    """Return the table that stands for these weights by seat."""
    row = [0] * SEATS
    for seat, weight in weights.items():
        if not 1 <= weight <= UINT16:
            raise ValueError(f"seat {seat} can not weigh {weight}")
        row[seat] = weight
    cap = cap_of(list(weights.values())) if rule is Rule.MORE_THAN_TWO_THIRDS else UINT16
    return Table(tuple(row), cap)


def cap_of(weights: Sequence[int]) -> int:
    """Return the most that one member may count, so that each stays below one third of the sum.

    It is the greatest whole c with 3c < sum of min(weight, c). With k members capped and R the sum
    of the others, that says (3 - k)c < R. Nobody has to be capped if three times the greatest
    weight is below the sum. Otherwise one member is capped, or two: a third one never, because
    with k = 2 the cap comes out as R - 1, and R holds the third weight and at least one more. So
    there is nothing to iterate.

    Args:
        weights: At least 1 each. Below four members nothing is capped (UINT16): they all have to
            agree anyway, and three members can not each stay below a third.
    """
    if len(weights) < SMALL:
        return UINT16
    total = sum(weights)
    first, second = sorted(weights)[:-3:-1]
    if 3 * first < total:
        return first
    one_capped = (total - first - 1) // 2
    if second <= one_capped:
        return one_capped
    return total - first - second - 1


def pack(weights: Sequence[int]) -> tuple[int, ...]:
    """Return the words that hold these 128 weights: 16 bits each, seat 0 lowest in the first."""
    return tuple(
        sum(
            weight << _BITS * place
            for place, weight in enumerate(weights[word * SEATS_PER_WORD :][:SEATS_PER_WORD])
        )
        for word in range(WORDS)
    )


def unpack(words: Sequence[int]) -> tuple[int, ...]:
    """Return the 128 weights in these words."""
    return tuple(
        words[seat // SEATS_PER_WORD] >> _BITS * (seat % SEATS_PER_WORD) & UINT16
        for seat in range(SEATS)
    )


def stance_of(outcome: Outcome, *, approves: bool, rejects: bool, attended: bool) -> Stance | None:
    """Return how a member stood to an outcome; None for an absence that does not count.

    Args:
        attended: Whether the round stood open long enough to be missed.
    """
    if approves or rejects:
        return Stance.WITH if approves is (outcome is Outcome.EXECUTED) else Stance.AGAINST
    return Stance.ABSENT if attended else None


def move(
    weight: int, bounds: Bounds, parameters: Parameters, stance: Stance, *, senior: bool
) -> int:
    """Return what a member weighs after a settled round."""
    if stance is Stance.WITH:
        step = parameters.gain + (parameters.seniority if senior else 0)
    else:
        step = -(parameters.against if stance is Stance.AGAINST else parameters.absent)
    return bounds.clamp(weight + step)


def moves(kind: Kind, outcome: Outcome, *, rejections: int, total: int, rested: bool) -> bool:
    """Return whether settling a round may move weights.

    A rejection moves them only when more than half of the weight rejected. One third suffices to
    keep a decision from passing, and must not suffice to be proved right by it: it could propose
    and reject its own rounds, and grind everybody else down.

    Args:
        rejections: What they weigh, of the frozen `total`.
        rested: Whether an epoch has passed since weights moved last.
    """
    if kind is not Kind.DECISION or not rested or outcome is Outcome.EXPIRED:
        return False
    return outcome is Outcome.EXECUTED or 2 * rejections > total
