"""How far a long thing got, told to whoever wants to show it."""

from __future__ import annotations

import enum
from collections.abc import Callable


class Step(enum.Enum):
    """The steps of a batch, in their order; the value is what people read."""

    SIGN = "signing"
    SEAL = "sealing"
    PUBLISH = "publishing"
    ANCHOR = "anchoring"
    RELEASE = "releasing"


Progress = Callable[[Step, int, int], None]
"""Called with a step, how much of it is done, and how much there is: first with 0 done, and at last
with all done, before that is journaled. Tests end the process in here (claim T3)."""


def silent(step: Step, done: int, total: int) -> None:
    """Show nothing."""
