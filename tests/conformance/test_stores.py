"""What every place for blocks promises, asked of each of them: real ones and stand-ins alike."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.cid import digest_of
from dpki.devnet.kubo import Kubo
from dpki.errors import ContentUnavailable, StoreFailed
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, BlockSource, BlockStore
from dpki.store.directory import DirectoryStore
from dpki.store.gateway import Gateway
from dpki.store.kubo import KuboStore
from tests.stores import MemoryStore

DEADLINE = timedelta(seconds=20)
# A node searches for a missing block until it is told to stop.
MISSING = timedelta(seconds=0.5)


@dataclass(frozen=True)
class Place:
    """A source under test, and a way to make it have a block."""

    source: BlockSource
    put: Callable[[bytes], Hash32]


@pytest.fixture(params=["memory", "directory", "kubo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlockStore]:
    match request.param:
        case "memory":
            yield MemoryStore()
        case "directory":
            yield DirectoryStore(tmp_path / "blocks")
        case _:
            nodes: tuple[Kubo, Kubo] = request.getfixturevalue("kubo_nodes")
            kubo = KuboStore(nodes[0].addresses.api_multiaddr)
            yield kubo
            kubo.close()


@pytest.fixture(params=["memory", "directory", "kubo", "gateway", "another node's gateway"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    match request.param:
        case "memory":
            memory = MemoryStore()
            yield Place(memory, memory.put)
        case "directory":
            directory = DirectoryStore(tmp_path / "blocks")
            yield Place(directory, directory.put)
        case kind:
            nodes: tuple[Kubo, Kubo] = request.getfixturevalue("kubo_nodes")
            kubo = KuboStore(nodes[0].addresses.api_multiaddr)
            window = nodes[1 if "another" in kind else 0].addresses.gateway
            yield Place(kubo if kind == "kubo" else Gateway(window), kubo.put)
            kubo.close()


@pytest.fixture
def data() -> bytes:
    """A block that nothing has seen before."""
    return secrets.token_bytes(2000)


class TestReading:
    def test_what_was_put_is_delivered(self, place: Place, data: bytes) -> None:
        digest = place.put(data)
        assert place.source.fetch(digest, DEADLINE) == data

    # Not 0: IPFS nodes don't exchange empty blocks.
    @pytest.mark.parametrize("size", [1, 512 * 1024 + 1142, BLOCK_LIMIT])
    def test_every_size(self, place: Place, size: int) -> None:
        data = secrets.token_bytes(size)
        assert place.source.fetch(place.put(data), DEADLINE) == data

    def test_what_is_missing_is_unavailable(self, place: Place, data: bytes) -> None:
        place.put(b"so that there is something")
        with pytest.raises(ContentUnavailable) as caught:
            place.source.fetch(digest_of(data), MISSING)
        assert place.source.name in str(caught.value)

    def test_the_limit_is_kept(self, place: Place, data: bytes) -> None:
        digest = place.put(data)
        assert place.source.fetch(digest, DEADLINE, len(data)) == data
        with pytest.raises(ContentUnavailable):
            place.source.fetch(digest, DEADLINE, len(data) - 1)

    def test_it_has_a_name(self, place: Place) -> None:
        assert place.source.name.isprintable()
        assert place.source.name


class TestKeeping:
    def test_put_returns_the_sha256(self, store: BlockStore, data: bytes) -> None:
        assert store.put(data) == digest_of(data)

    def test_twice_is_once(self, store: BlockStore, data: bytes) -> None:
        digest = store.put(data)
        assert store.put(data) == digest
        assert store.has(digest)
        store.remove(digest)
        assert not store.has(digest)

    def test_has_only_what_was_put(self, store: BlockStore, data: bytes) -> None:
        assert not store.has(digest_of(data))
        store.put(data)
        assert store.has(digest_of(data))

    def test_removed_is_gone(self, store: BlockStore, data: bytes) -> None:
        digest = store.put(data)
        store.remove(digest)
        assert not store.has(digest)
        with pytest.raises(ContentUnavailable):
            store.fetch(digest, MISSING)

    def test_removing_what_is_not_there_is_no_error(self, store: BlockStore, data: bytes) -> None:
        store.remove(digest_of(data))
        assert not store.has(digest_of(data))

    def test_removed_can_be_put_again(self, store: BlockStore, data: bytes) -> None:
        digest = store.put(data)
        store.remove(digest)
        store.put(data)
        assert store.fetch(digest, DEADLINE) == data

    def test_other_blocks_stay(self, store: BlockStore, data: bytes) -> None:
        other = store.put(data + b"other")
        store.remove(store.put(data))
        assert store.fetch(other, DEADLINE) == data + b"other"

    def test_too_large_is_refused(self, store: BlockStore) -> None:
        data = bytes(BLOCK_LIMIT + 1)
        with pytest.raises(StoreFailed, match="do not fit"):
            store.put(data)
        assert not store.has(digest_of(data))

    def test_every_store_is_a_source(self, store: BlockStore, data: bytes) -> None:
        assert store.fetch(store.put(data), DEADLINE) == data
        assert isinstance(store.confirms_itself, bool)
