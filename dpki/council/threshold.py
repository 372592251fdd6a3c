"""How much has to agree: the arithmetic of contracts/Threshold.sol, in whole numbers.

docs/council.md says what each rule is safe against, and holds the figures below in a table that a
test recomputes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

SMALL = 4
"""Below this many members a decision takes all of them, and no weight is capped."""


class Kind(enum.IntEnum):
    """What a round is for (IRootCouncil.Kind)."""

    DECISION = 0
    SUSPENSION = 1
    LIFT = 2


class Rule(enum.IntEnum):
    """How much has to agree to a decision (IRootCouncil.Rule)."""

    MORE_THAN_TWO_THIRDS = 0
    SLIDE = 1


class Standing(enum.Enum):
    """What the votes that stand mean."""

    UNDECIDED = "undecided"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Tally:
    """Some members: what they weigh together, each counted at most at the cap, and how many."""

    weight: int
    heads: int

    def __add__(self, other: Tally) -> Tally:
        """Return both together; nobody may stand in both."""
        return Tally(self.weight + other.weight, self.heads + other.heads)

    def __sub__(self, other: Tally) -> Tally:
        """Return what is left without `other`, who must be among them."""
        return Tally(self.weight - other.weight, self.heads - other.heads)


NOBODY = Tally(0, 0)


@dataclass(frozen=True)
class Question:
    """What a round needs in order to pass.

    Args:
        faults: How many faulty members Slide tolerates; read by that rule alone.
        cooling: Whether the authority was lifted a short while ago; read for suspensions alone.
    """

    kind: Kind = Kind.DECISION
    rule: Rule = Rule.MORE_THAN_TWO_THIRDS
    faults: int = 0
    cooling: bool = False

    def passes(self, votes: Tally, everybody: Tally) -> bool:
        """Return whether `votes` suffice, out of the frozen `everybody`."""
        match self.kind:
            case Kind.SUSPENSION:
                return suspends(votes.weight, everybody.weight, cooling=self.cooling)
            case Kind.LIFT:
                return lifts(votes.weight, everybody.weight)
            case Kind.DECISION if self.rule is Rule.SLIDE:
                return slide(votes.weight, everybody, self.faults)
            case Kind.DECISION:
                return more_than_two_thirds(votes, everybody)

    def judge(self, approvals: Tally, lost: Tally, everybody: Tally) -> Standing:
        """Return where a round stands.

        Args:
            lost: Who rejects or was struck: who can no longer approve, as things stand.
        """
        if self.passes(approvals, everybody):
            return Standing.APPROVED
        if self.passes(everybody - lost, everybody):
            return Standing.UNDECIDED
        return Standing.REJECTED

    def least_weight(self, everybody: Tally) -> int | None:
        """Return the least weight that passes when enough heads agree; None where none does."""
        total = everybody.weight
        if self.kind is Kind.SUSPENSION:
            return -(-total // 2) if self.cooling else total // 3 + 1
        if self.kind is Kind.LIFT:
            return total // 2 + 1
        if self.rule is Rule.SLIDE:
            needed = -(-(2 * self.faults + 1) * total // everybody.heads)
            return needed if needed <= total else None
        # Below four members their heads decide alone, whatever they weigh.
        return 2 * total // 3 + 1 if everybody.heads >= SMALL else total

    def least_heads(self, everybody: Tally) -> int:
        """Return the fewest members that pass when they weigh enough."""
        if self.kind is not Kind.DECISION or self.rule is Rule.SLIDE:
            return 1
        return 2 * everybody.heads // 3 + 1 if everybody.heads >= SMALL else everybody.heads


def more_than_two_thirds(votes: Tally, everybody: Tally) -> bool:
    """Return whether strictly more than two thirds of weight and of heads agree.

    Below four members: whether all do. Two thirds of three members would be two, and one weight
    among three can not be kept below a third without being worth less than the others.
    """
    if everybody.heads < SMALL:
        return votes.heads == everybody.heads
    return 3 * votes.weight > 2 * everybody.weight and 3 * votes.heads > 2 * everybody.heads


def slide(weight: int, everybody: Tally, faults: int) -> bool:
    """Return whether `weight` is at least (2 * faults + 1) average weights.

    This is the proof of concept's T = (2(t - 1) + 1) * w_avg with faults = t - 1, multiplied by
    the number of members so that nothing is rounded. See `quorums_meet` for when it is safe.
    """
    return weight * everybody.heads >= (2 * faults + 1) * everybody.weight


def suspends(weight: int, total: int, *, cooling: bool) -> bool:
    """Return whether more than one third agrees; at least one half while the authority cools."""
    return 2 * weight >= total if cooling else 3 * weight > total


def lifts(weight: int, total: int) -> bool:
    """Return whether more than one half agrees."""
    return 2 * weight > total


# -- when a quorum of equals is safe ---------------------------------------------------------------


def slide_quorum(faults: int) -> int:
    """Return how many members of equal weight Slide asks for."""
    return 2 * faults + 1


def two_thirds_quorum(members: int) -> int:
    """Return how many members of equal weight MoreThanTwoThirds asks for."""
    return 2 * members // 3 + 1 if members >= SMALL else members


def shared(members: int, quorum: int) -> int:
    """Return how many members two quorums share at least."""
    return max(0, 2 * quorum - members)


def quorums_meet(members: int, quorum: int, faults: int) -> bool:
    """Return whether any two quorums share a member that is not faulty.

    If they need not, `faults` members can carry two decisions that contradict each other, each
    with honest approvals that know nothing of the other.
    """
    return shared(members, quorum) > faults


def faulty_alone(quorum: int, faults: int) -> bool:
    """Return whether the faulty members decide by themselves."""
    return faults >= quorum


def goes_on(members: int, quorum: int, faults: int) -> bool:
    """Return whether the others still decide when all faulty members reject or stay away."""
    return members - faults >= quorum
