"""One trust domain at its post in the daemon: when to look at it, and what was seen last."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime

from dpki.agent.follow import Follower, Seen
from dpki.agent.schedule import Hint, Schedule, backoff
from dpki.agent.threads import in_thread
from dpki.chain.domain import registries_of
from dpki.errors import DpkiError
from dpki.model import Address


class Post:
    """One domain, when to look at it, and what was seen last.

    Attributes:
        seen: What a look saw last; None before the first that saw anything.
        failure: Why the last look saw nothing, if it did not.
        busy_since: Since when a look is under way, if one is.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.seen: Seen | None = None
        self.failure: DpkiError | None = None
        self.busy_since: float | None = None
        self._missed: Hint | None = None
        self._is_dismissed = False
        self._wake = asyncio.Event()
        self._wanting = asyncio.Event()
        interval = follower.config.following.interval.total_seconds()
        self._schedule = Schedule(interval, due=time.monotonic())

    @property
    def contracts(self) -> tuple[Address, ...]:
        """Return the contracts whose logs hint at something."""
        address = self.follower.config.domain.address
        return (address, *registries_of(address))

    @property
    def name(self) -> str:
        """Return what the domain is called on this device."""
        return self.follower.name

    async def recall(self) -> None:
        """Take what was seen before, until something new is seen.

        Raises:
            DpkiError: It can't be read.
        """
        self.seen = await in_thread(self.follower.recall)

    async def supply(self) -> None:
        """Fetch beside the looks what they find wanting; ever less often while in vain."""
        failures = 0
        while True:
            await self._wanting.wait()
            self._wanting.clear()
            if await in_thread(self.follower.fetch):
                failures = 0
                self.hint(Hint.EVENT)
            else:
                failures += 1
                await asyncio.sleep(backoff(failures, random.random()))
                self._want()

    def _want(self) -> None:
        if self.follower.wants:
            self._wanting.set()

    def hint(self, hint: Hint) -> None:
        """Take a hint: from a subscription, or from whoever else has one."""
        if self.busy_since is not None and self._missed is not Hint.EVENT:
            # The look that is under way may have been too early.
            self._missed = hint
        before = self._schedule
        self._schedule = before.hinted(hint, time.monotonic())
        if self._schedule.due < before.due:
            self._wake.set()

    def _make_up(self) -> None:
        """Take the hint that came while a look was under way."""
        if self._missed is not None:
            self.hint(self._missed)

    def dismiss(self) -> None:
        """Have no further look begin."""
        self._is_dismissed = True
        self._wake.set()

    async def until_due(self) -> bool:
        """Wait until it is time to look; return whether to look at all."""
        while not self._is_dismissed and (left := self._schedule.due - time.monotonic()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)
        return not self._is_dismissed

    async def look(self) -> None:
        """Look at the domain, and note what was seen."""
        self.busy_since, self._missed = time.monotonic(), None
        try:
            self.seen = await in_thread(lambda: self.follower.look(datetime.now(UTC)))
        except DpkiError as error:
            self.failure = error
            self._schedule = self._schedule.failed(time.monotonic(), random.random())
        else:
            self.failure = None
            pending = self.seen.observation.pending > 0
            self._schedule = self._schedule.succeeded(
                time.monotonic(), random.random(), pending=pending
            )
        self.busy_since = None
        self._make_up()
        self._want()
