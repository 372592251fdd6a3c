"""Which of several endpoints to believe: judgement only, no network (claim T4).

Of n endpoints k must say the same before it counts. As long as at most k-1 lie, whatever k agree on
was said by an honest one; and as long as k are honest, they suffice. Who disagrees, stalls, goes
back in time or serves another chain is set aside for a while: asked last, and named, but never
counted out, because honest endpoints fail, too.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from dpki.model import Block

LAG = timedelta(minutes=5)
"""How far an endpoint's newest block may lie from the agreed one before it is named for it."""

FINALITY_LAG = timedelta(hours=1)
"""The same for blocks that are safe or final: endpoints learn of those in steps of minutes."""

REORG = 64
"""Blocks that a chain may go back by itself; further back, an endpoint travels in time."""

LEAP = 100_000
"""Blocks that no chain makes within `FINALITY_LAG`."""

PENALTY = timedelta(seconds=30)
"""For how long one is set aside the first time; twice as long each time after."""

LONGEST_PENALTY = timedelta(hours=1)

Value = TypeVar("Value", bound=Hashable)


class Fault(enum.Enum):
    """What an endpoint did."""

    SILENT = "it did not answer, or with nonsense"
    SLOW = "it answers too late"
    OTHER_CHAIN = "it serves another chain"
    FORKED = "its block differs from the one that the others agree on"
    BEHIND = "its newest block is too old"
    AHEAD = "it claims a block that is far ahead of the others"
    BACKWARDS = "it went back in time"
    CONTRADICTS = "it contradicts what the others agree on"
    FORGED = "its proof or block header is none"


@dataclass(frozen=True)
class Standing:
    """How an endpoint has behaved.

    Attributes:
        faults: How often it failed lately.
        until: Until when it is set aside, in the caller's seconds.
        fault: What it did last; None for an endpoint without a fault since it was last forgiven.
    """

    faults: int = 0
    until: float = 0.0
    fault: Fault | None = None

    def is_aside(self, now: float) -> bool:
        """Whether it is to be asked only when the others do not suffice."""
        return now < self.until

    def after(self, fault: Fault, now: float) -> Standing:
        """Return the standing after a fault; what comes of one and the same minute counts once."""
        if self.is_aside(now) and self.fault is fault:
            return self
        seconds = min(PENALTY.total_seconds() * 2.0**self.faults, LONGEST_PENALTY.total_seconds())
        return Standing(min(self.faults + 1, 16), now + seconds, fault)

    def forgiven(self, now: float) -> Standing:
        """Return the standing after a good answer: one fault less, once the time is served."""
        if self.is_aside(now) or not self.faults:
            return self
        left = self.faults - 1
        return Standing(left, 0.0, self.fault if left else None)


def preference(standings: Sequence[Standing], now: float) -> list[int]:
    """Return the endpoints' places in the order to ask them in: those set aside last."""
    return sorted(
        range(len(standings)),
        key=lambda i: (standings[i].is_aside(now), standings[i].faults, i),
    )


@dataclass(frozen=True)
class Tally(Generic[Value]):
    """How votes came out.

    Attributes:
        agreed: What enough endpoints said; more than one value where they are split.
        dissenters: Places of those that said something else than the one agreed value.
    """

    agreed: tuple[Value, ...]
    dissenters: tuple[int, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether there is one value, and only one, that enough endpoints agree on."""
        return len(self.agreed) == 1


def tally(votes: Mapping[int, Value], quorum: int) -> Tally[Value]:
    """Return what at least `quorum` of the votes, by endpoint, agree on."""
    counts: dict[Value, int] = {}
    for value in votes.values():
        counts[value] = counts.get(value, 0) + 1
    agreed = tuple(value for value, count in counts.items() if count >= quorum)
    if len(agreed) != 1:
        return Tally(agreed)
    return Tally(agreed, tuple(i for i, value in votes.items() if value != agreed[0]))


def candidates(heads: Iterable[int], quorum: int) -> list[int]:
    """Return the block numbers to look for agreement at, the newest first.

    The newest that at least `quorum` endpoints claim to have reached is one that some honest
    endpoint has reached, whatever the others claim; and the oldest head among `quorum` honest ones
    is always in the list.

    Args:
        heads: The number of each endpoint's newest block.
    """
    reached = sorted(heads, reverse=True)[quorum - 1 :]
    return list(dict.fromkeys(reached))


def judge_head(
    head: Block, agreed: Block, earlier: int | None, lag: timedelta = LAG
) -> Fault | None:
    """Return what is wrong with the newest block that an endpoint claims, if anything.

    Args:
        agreed: The newest block that enough endpoints agree on.
        earlier: The number of the newest block that it claimed before.
        lag: How far the two may lie apart.
    """
    if head.number == agreed.number and head != agreed:
        return Fault.FORKED
    if head.time > agreed.time + lag or head.number > agreed.number + LEAP:
        return Fault.AHEAD
    if head.time < agreed.time - lag or head.number < agreed.number - LEAP:
        return Fault.BEHIND
    if earlier is not None and head.number < earlier - REORG:
        return Fault.BACKWARDS
    return None


def default_quorum(endpoints: int) -> int:
    """Return how many of several endpoints must agree where nobody said: half, rounded up.

    So one of one or two (the second stands in for the first), two of three or four, three of five.
    """
    return max(1, (endpoints + 1) // 2)


@dataclass(frozen=True)
class Evidence:
    """What stands behind what was read from the chain.

    Attributes:
        endpoints: How many there are to ask.
        quorum: How many agreed on the block.
        proven: Whether every word of its state was proven against that block.
        why_not: Why not, where it was not.
        aside: Endpoints that were set aside, each with the reason.
        signed: Which witnesses signed what, in words, where they were asked. With a quorum of 0
            they stand in for the endpoints' agreement on the block.
    """

    endpoints: int
    quorum: int
    proven: bool = False
    why_not: str = ""
    aside: tuple[str, ...] = ()
    signed: str = ""

    @property
    def level(self) -> str:
        """Return it in one word: "trusted" (one endpoint), "reduced" or "proven"."""
        if self.quorum == 1:
            return "trusted"
        return "proven" if self.proven else "reduced"

    def __str__(self) -> str:
        """Return it in words."""
        if self.quorum == 0:
            return f"proven: {self.signed}, its state is proven"
        return f"{self._endpoints()}; {self.signed}" if self.signed else self._endpoints()

    def _endpoints(self) -> str:
        if self.quorum == 1:
            return "trusting one endpoint"
        agreed = f"{self.quorum} of {self.endpoints} endpoints agree on the block"
        if self.proven:
            return f"proven: {agreed}, its state is proven"
        return f"reduced: {agreed} and on its state, no endpoint proves it"

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "level": self.level,
            "said": str(self),
            "endpoints": self.endpoints,
            "quorum": self.quorum,
            "why_reduced": self.why_not or None,
            "set_aside": list(self.aside),
            "witnesses": self.signed or None,
        }
