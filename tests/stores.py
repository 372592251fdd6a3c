"""Stand-ins for stores: one that keeps its promises in memory, and sources that break them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ContentUnavailable, StoreFailed
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, verify_block, verify_size


class MemoryStore:
    """A `BlockStore` in memory; tests/conformance holds it to the real ones' promises.

    Attributes:
        blocks: What it keeps.
        is_down: While true, everything fails.
        puts: Digests in the order in which they were put, repetitions included.
    """

    def __init__(self, name: str = "memory", *, confirms_itself: bool = False) -> None:
        self.name = name
        self.confirms_itself = confirms_itself
        self.blocks: dict[Hash32, bytes] = {}
        self.puts: list[Hash32] = []
        self.is_down = False

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        if self.is_down or digest not in self.blocks:
            raise ContentUnavailable(f"{self.name} has no {cid_of(digest)}")
        data = self.blocks[digest]
        if len(data) > limit:
            raise ContentUnavailable(f"{cid_of(digest)} is larger than {limit} bytes")
        return verify_block(self.name, digest, data)

    def put(self, data: bytes) -> Hash32:
        self._verify_up()
        digest = digest_of(verify_size(data))
        self.puts.append(digest)
        self.blocks[digest] = data
        return digest

    def has(self, digest: Hash32) -> bool:
        self._verify_up()
        return digest in self.blocks

    def remove(self, digest: Hash32) -> None:
        self._verify_up()
        self.blocks.pop(digest, None)

    def _verify_up(self) -> None:
        if self.is_down:
            raise StoreFailed(f"{self.name} is down")


class CallingSource:
    """A `BlockSource` that does what a function says."""

    def __init__(self, name: str, answer: Callable[[Hash32, timedelta, int], bytes]) -> None:
        self.name = name
        self._answer = answer

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        return self._answer(digest, deadline, limit)


class WindowOf:
    """A `BlockSource` onto a store, under a name of its own, as a gateway is onto its node."""

    def __init__(self, store: MemoryStore, name: str = "window") -> None:
        self.name = name
        self._store = store

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        return self._store.fetch(digest, deadline, limit)
