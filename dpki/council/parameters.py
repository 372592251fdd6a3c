"""What a council can change about itself, and what it starts with.

The checks are those of contracts/CouncilMembers.sol; why each default is what it is stands in
docs/council.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dpki.council.threshold import Rule, slide_quorum
from dpki.errors import UsageError

SEATS = 128
"""Members at most: two bitmaps of them fit into one word."""

UINT8, UINT16, UINT32 = 2**8 - 1, 2**16 - 1, 2**32 - 1

HOUR = 3600
DAY = 24 * HOUR


class Role(enum.IntEnum):
    """What a member is (IRootCouncil.Role); only roots propose decisions."""

    NONE = 0
    ORDINARY = 1
    INTERMEDIATE = 2
    ROOT = 3


@dataclass(frozen=True)
class Bounds:
    """The weights of a role: what it starts with, and between which it moves."""

    initial: int
    minimum: int
    maximum: int

    def clamp(self, weight: int) -> int:
        """Return the weight nearest to `weight` that the role may have."""
        return min(max(weight, self.minimum), self.maximum)


@dataclass(frozen=True)
class Parameters:
    """What a council can change about itself (IRootCouncil.Parameters); times in seconds.

    Args:
        gain: What a settled round adds for a vote with the outcome.
        against: What it takes for a vote against the outcome.
        absent: What it takes for no vote, when the round stood open for `attendance`.
        seniority: What it adds, besides `gain`, to who has sat for `senior_after`.
        epoch: Weights move at most once in this time.
        delay: How long an approved round that adds trust waits.
        cooling: How long after a lift a suspension needs one half.
        longest: The longest that a round may stand open.
        faults: How many faulty members Slide tolerates; zero with MoreThanTwoThirds.
    """

    ordinary: Bounds = Bounds(20, 5, 40)
    intermediate: Bounds = Bounds(60, 20, 90)
    root: Bounds = Bounds(100, 50, 150)
    gain: int = 1
    against: int = 5
    absent: int = 2
    seniority: int = 1
    senior_after: int = 180 * DAY
    epoch: int = DAY
    attendance: int = 12 * HOUR
    delay: int = DAY
    cooling: int = DAY
    longest: int = 30 * DAY
    rule: Rule = Rule.MORE_THAN_TWO_THIRDS
    faults: int = 0

    def bounds(self, role: Role) -> Bounds:
        """Return the weights of a role, which must not be NONE."""
        return {
            Role.ORDINARY: self.ordinary,
            Role.INTERMEDIATE: self.intermediate,
            Role.ROOT: self.root,
        }[role]

    def check(self) -> None:
        """Refuse what the council would refuse.

        Raises:
            UsageError: Naming the first rule that is broken.
        """
        for name in ("ordinary", "intermediate", "root"):
            bounds: Bounds = getattr(self, name)
            if not 1 <= bounds.minimum <= bounds.initial <= bounds.maximum <= UINT16:
                raise _invalid(f"{name}: 1 <= minimum <= initial <= maximum <= {UINT16} must hold")
        for name in ("gain", "against", "absent", "seniority"):
            _within(name, getattr(self, name), UINT16)
        for name in ("senior_after", "epoch", "attendance", "delay", "cooling", "longest"):
            _within(name, getattr(self, name), UINT32)
        _within("faults", self.faults, UINT8)
        if self.against < 2 * self.gain:
            raise _invalid("against must be at least twice gain: trust is lost faster than won")
        if self.absent < self.gain:
            raise _invalid("absent must be at least gain: coming every second time must not pay")
        if self.seniority > self.gain:
            raise _invalid("seniority must be at most gain: sitting must not pay more than voting")
        if self.longest <= self.delay:
            raise _invalid("longest must exceed delay: no addition could ever be executed")
        if self.epoch < 1:
            raise _invalid("epoch must be at least one second")
        if self.rule is Rule.MORE_THAN_TWO_THIRDS and self.faults:
            raise _invalid("faults belongs to the Slide rule; it must be 0 with MoreThanTwoThirds")

    def check_reachable(self, members: int, roots: int) -> None:
        """Refuse a council in which no decision could ever be reached.

        Raises:
            UsageError: Saying what is missing.
        """
        if not 1 <= members <= SEATS:
            raise _invalid(f"a council has 1 to {SEATS} members, not {members}")
        if roots < 1:
            raise _invalid("a council needs a root: nobody else proposes decisions")
        if self.rule is Rule.SLIDE and slide_quorum(self.faults) > members:
            raise _invalid(
                f"Slide with {self.faults} faults asks for {slide_quorum(self.faults)} average"
                f" weights, and {members} members have only {members}"
            )


DEFAULTS = Parameters()
"""For domains that matter; docs/council.md gives the reasons."""


def _within(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise _invalid(f"{name} must be from 0 to {most}, not {value}")


def _invalid(message: str) -> UsageError:
    return UsageError(message, hint="see docs/council.md for each parameter and its bounds")
