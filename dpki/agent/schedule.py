"""When the daemon looks at the chain next. Pure: time and chance are given.

Nothing that a hint says is believed; it only makes the next look come earlier, and so often that
a flood of hints costs no more than a busy chain. Without any, the agent looks from time to time;
after failures less and less often.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from datetime import datetime

FIRST_PAUSE = 1.0
"""Seconds until the first try after a failure, at most."""

LONGEST_PAUSE = 300.0
"""Seconds between two tries, at most: how long after an outage until all is well again."""

BURST = 10.0
"""Looks that hints may bring about at once."""

RATE = 2.0
"""Looks a second that hints may bring about in the long run."""

EAGER = 10.0
"""Seconds after an event in which every new block is looked at.

The endpoint that is asked may learn of a block later than the one that hinted at it.
"""

THOROUGH = 300.0
"""Seconds in which a look may save what the one before found out."""

LONGEST_SLEEP = 60.0
"""Seconds that a moment by the clock is waited for at most: the clock may be set meanwhile."""


def wait_until(moment: datetime | None, now: datetime) -> float:
    """Return the seconds to sleep before looking whether a moment has come; None never comes."""
    left = LONGEST_SLEEP if moment is None else (moment - now).total_seconds()
    return min(max(left, 0.0), LONGEST_SLEEP)


class Hint(enum.Enum):
    """What a subscription said, unproven."""

    HEAD = "a new block"
    EVENT = "something happened in the domain"


def backoff(failures: int, chance: float, longest: float = LONGEST_PAUSE) -> float:
    """Return the seconds to wait after so many failures in a row, from 1.

    Twice as long each time; by chance down to half of it, so that a thousand devices that lost the
    same endpoint don't come back in one moment.

    Args:
        chance: From 0 up to 1, drawn for each wait.
    """
    whole = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 32), longest)
    return whole * (1 - chance / 2)


@dataclass(frozen=True)
class Thoroughness:
    """When a look must find out everything anew, though nothing has happened.

    What is wrong is mostly wrong for long: a bundle that nobody has, a device that is retired. So
    it is tried again less and less often, and not by every look. Whatever happens on the chain, or
    is fetched, is looked at all the same.

    Attributes:
        due: When, in seconds of a clock that only grows.
        failures: How many thorough looks in a row found something wrong.
    """

    due: float = -math.inf
    failures: int = 0

    def looked(self, now: float, chance: float, *, is_well: bool) -> Thoroughness:
        """Return when the next is due, after one that found out everything anew.

        Args:
            chance: See `backoff`.
        """
        if is_well:
            return Thoroughness(now + THOROUGH)
        failures = self.failures + 1
        return Thoroughness(now + backoff(failures, chance, THOROUGH), failures)


@dataclass(frozen=True)
class Schedule:
    """When to look at one domain; times are seconds of a clock that only grows.

    Attributes:
        interval: Seconds between two looks while nothing hints at anything.
        due: When to look at the latest.
        budget: Looks that hints may still bring about.
        looked: When it was looked last.
        failures: How many looks failed in a row.
        eager_until: Until when each new block is looked at.
        is_pending: Whether something waits for blocks to pass, such as confirmations.
    """

    interval: float
    due: float
    budget: float = BURST
    looked: float = 0.0
    failures: int = 0
    eager_until: float = 0.0
    is_pending: bool = False

    def hinted(self, hint: Hint, now: float) -> Schedule:
        """Return the schedule after a hint."""
        eager_until = now + EAGER if hint is Hint.EVENT else self.eager_until
        if not (self.is_pending or now < eager_until):
            return self
        budget = self._budget(now)
        at = now if budget >= 1 else now + (1 - budget) / RATE
        if self.failures:
            # Something answers again, perhaps; but an endpoint that hints and fails wins nothing.
            at = max(at, self.looked + backoff(1, 0))
        return replace(self, due=min(self.due, at), eager_until=eager_until)

    def succeeded(self, now: float, chance: float, *, pending: bool) -> Schedule:
        """Return the schedule after a look that told all.

        Args:
            chance: From 0 up to 1; the pause is up to a tenth shorter by it.
            pending: See `is_pending`.
        """
        return self._after(now, self.interval * (1 - chance / 10), failures=0, pending=pending)

    def failed(self, now: float, chance: float) -> Schedule:
        """Return the schedule after a look that failed."""
        failures = self.failures + 1
        pause = backoff(failures, chance, max(self.interval, LONGEST_PAUSE))
        return self._after(now, pause, failures=failures, pending=self.is_pending)

    def _after(self, now: float, pause: float, *, failures: int, pending: bool) -> Schedule:
        # A look costs whatever brought it about: what comes by itself is rare.
        return replace(
            self,
            due=now + pause,
            budget=max(0.0, self._budget(now) - 1),
            looked=now,
            failures=failures,
            is_pending=pending,
        )

    def _budget(self, now: float) -> float:
        return min(BURST, self.budget + (now - self.looked) * RATE)
