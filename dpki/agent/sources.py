"""Where bundles come from, and how each source behaved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from dpki.errors import DpkiError
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, BlockSource


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
