"""What a governor is asked to do, and how far it got.

A change that needs the governor is a call. What comes of it depends on who governs: done at once,
or a round of a council to be voted on, or an operation of a timelock to be waited for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dpki.model import Address, Hash32

if TYPE_CHECKING:
    # It needs the wallet's library; whoever only reads calls needn't have it.
    from dpki.transactions.account import Receipt


@dataclass(frozen=True)
class GovernanceCall:
    """A call that the governor is to make.

    Attributes:
        target: One of the domain's contracts, or the governor itself.
        data: Function and arguments.
    """

    target: Address
    data: bytes


class Way(enum.Enum):
    """What a change waits in; the value is the word that people see."""

    ROUND = "round"
    OPERATION = "operation"


@dataclass(frozen=True)
class Pending:
    """A change that has begun and is not in force.

    Attributes:
        id: The round's or operation's.
        missing: What is missing, a sentence each.
        ready_at: From when on it can be executed, as far as that is known.
    """

    way: Way
    id: Hash32
    missing: tuple[str, ...]
    ready_at: datetime | None = None


@dataclass(frozen=True)
class Governed:
    """What came of a change.

    Attributes:
        receipt: The last transaction; None where none was left to be sent.
        pending: What it still waits for; None once it is in force.
    """

    receipt: Receipt | None
    pending: Pending | None = None
