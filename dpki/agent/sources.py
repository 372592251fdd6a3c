"""Where bundles come from, and how each source behaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from dpki.errors import ContentUnavailable, DpkiError
from dpki.http import Deadline
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, BlockSource
from dpki.store.publish import Backoff, fetch_first


@dataclass(frozen=True)
class Conduct:
    """How a source behaved since the agent knows it.

    Attributes:
        delivered: Blocks that it gave.
        failed: How often it gave none.
        last: What it said to that the last time; nothing where it gave the last one.
    """

    delivered: int = 0
    failed: int = 0
    last: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"delivered": self.delivered, "failed": self.failed, "last": self.last or None}


class KnownSource:
    """A `BlockSource` of which it is noted how it behaves."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self.conduct = Conduct()

    @property
    def name(self) -> str:
        """What people see."""
        return self._source.name

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block; see `BlockSource.fetch`."""
        seen = self.conduct
        try:
            block = self._source.fetch(digest, deadline, limit)
        except DpkiError as error:
            self.conduct = replace(seen, failed=seen.failed + 1, last=error.message)
            raise
        self.conduct = replace(seen, delivered=seen.delivered + 1, last="")
        return block


class Pantry:
    """A `BlockSource` that has only what was fetched for it beforehand (claim T5).

    A look at the chain must not wait for a gateway: what is revoked would wait with it. So whatever
    a look finds wanting is noted here and fetched beside it, and the next look finds it. Looking
    and fetching may go on at the same time, one thread each.

    Args:
        sources: Where to fetch from, in order.
    """

    name = "what was fetched so far"

    def __init__(self, sources: Sequence[BlockSource]) -> None:
        self._sources = sources
        self._backoff = Backoff()
        self._blocks: dict[Hash32, bytes] = {}
        self._asked: dict[Hash32, None] = {}
        self._wanted: dict[Hash32, None] = {}
        self._refusals: dict[Hash32, str] = {}

    @property
    def wants(self) -> bool:
        """Whether the last look that needed bundles found something wanting."""
        return bool(self._wanted)

    @property
    def serves(self) -> bool:
        """Whether there is something that was wanting."""
        return any(digest in self._blocks for digest in self._wanted)

    def begin(self) -> None:
        """Have a look begin that asks for all that it needs."""
        self._asked = {}

    def end(self) -> None:
        """Have it end: what it did not ask for is wanted no longer."""
        self._wanted = self._asked
        for found in (self._blocks, self._refusals):
            for digest in list(found):
                if digest not in self._wanted:
                    found.pop(digest, None)

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block at once or not at all; see `BlockSource.fetch`."""
        block = self._blocks.pop(digest, None)
        if block is None:
            self._asked[digest] = None
            raise ContentUnavailable(self._refusals.get(digest, "it is being fetched"))
        return block

    def stock(self, budget: timedelta, each: timedelta) -> bool:
        """Fetch what is wanted, the first that can be had; return whether there was one.

        Args:
            budget: For all of them together.
            each: For one, all sources together.
        """
        end = Deadline(budget)
        for digest in list(self._wanted):
            left = min(each, timedelta(seconds=end.remaining()))
            if not left:
                break
            try:
                self._blocks[digest] = fetch_first(
                    digest, self._sources, left, backoff=self._backoff
                )
            except ContentUnavailable as error:
                self._refusals[digest] = error.message
            else:
                return True
        return False
