"""What a council's events say, as values: all that anyone needs to recompute its weights.

Times are those of the blocks, in seconds. The order is the chain's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from dpki.council.parameters import Parameters, Role
from dpki.council.threshold import Kind
from dpki.council.weights import Outcome
from dpki.model import Address, Hash32


class Choice(enum.IntEnum):
    """A member's vote (IRootCouncil.Choice); NONE withdraws the one before."""

    NONE = 0
    APPROVE = 1
    REJECT = 2


@dataclass(frozen=True)
class MemberAdded:
    """An account took a seat."""

    time: int
    account: Address
    seat: int
    role: Role


@dataclass(frozen=True)
class MemberRemoved:
    """An account left its seat."""

    time: int
    account: Address
    seat: int


@dataclass(frozen=True)
class RoleChanged:
    """A member's role changed."""

    time: int
    account: Address
    role: Role


@dataclass(frozen=True)
class ParametersChanged:
    """The parameters changed."""

    time: int
    parameters: Parameters


@dataclass(frozen=True)
class WeightsChanged:
    """A new table of weights stands."""

    time: int
    number: int
    words: tuple[int, ...]
    electorate: int
    cap: int
    total: int


@dataclass(frozen=True)
class RoundOpened:
    """A round was opened on a table."""

    time: int
    round: Hash32
    proposer: Address
    kind: Kind
    table: int


@dataclass(frozen=True)
class VoteCast:
    """A vote was counted."""

    time: int
    round: Hash32
    voter: Address
    choice: Choice


@dataclass(frozen=True)
class RoundSettled:
    """A round is over."""

    time: int
    round: Hash32
    outcome: Outcome
    moved: bool


Event: TypeAlias = (
    MemberAdded
    | MemberRemoved
    | RoleChanged
    | ParametersChanged
    | WeightsChanged
    | RoundOpened
    | VoteCast
    | RoundSettled
)
