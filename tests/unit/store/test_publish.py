from __future__ import annotations

from datetime import timedelta

import pytest

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import (
    ConfigError,
    ContentMismatch,
    ContentUnavailable,
    StoreFailed,
)
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT
from dpki.store.publish import Backoff, fetch_first, publish
from tests.stores import CallingSource, MemoryStore, WindowOf

DATA = b"sealed"
DIGEST = digest_of(DATA)
SECOND = timedelta(seconds=1)


class TestPublish:
    def test_it_is_put_and_read_back_elsewhere(self) -> None:
        store = MemoryStore("a")
        assert publish(DATA, [store], [WindowOf(store)], 1) == DIGEST
        assert store.blocks == {DIGEST: DATA}

    def test_doing_it_again_changes_nothing(self) -> None:
        store = MemoryStore("a")
        for _ in range(2):
            assert publish(DATA, [store], [WindowOf(store)], 1) == DIGEST
        assert store.blocks == {DIGEST: DATA}

    def test_stores_are_taken_in_order_until_there_are_enough(self) -> None:
        stores = [MemoryStore(name) for name in "abc"]
        publish(DATA, stores, [WindowOf(stores[0])], 2)
        assert [len(store.puts) for store in stores] == [1, 1, 0]

    def test_one_that_fails_is_passed_over(self) -> None:
        stores = [MemoryStore(name) for name in "abc"]
        stores[0].is_down = True
        publish(DATA, stores, [WindowOf(stores[2])], 2)
        assert [len(store.puts) for store in stores] == [0, 1, 1]

    def test_too_few_copies(self) -> None:
        stores = [MemoryStore(name) for name in "abc"]
        stores[0].is_down = stores[2].is_down = True
        with pytest.raises(StoreFailed, match="only 1 of 2 copies") as caught:
            publish(DATA, stores, [WindowOf(stores[1])], 2)
        assert "a is down" in str(caught.value)
        assert "c is down" in str(caught.value)

    def test_a_store_that_it_was_put_on_does_not_count_as_reading_back(self) -> None:
        one, other = MemoryStore("a"), MemoryStore("b")
        with pytest.raises(StoreFailed, match=r"put on a, but can't be read back.*b has no"):
            publish(DATA, [one], [one, other], 1)

    def test_another_store_may_be_the_one_to_read_from(self) -> None:
        one = MemoryStore("a")
        other = MemoryStore("b")
        other.blocks = one.blocks  # as two nodes that exchange blocks
        assert publish(DATA, [one, other], [one, other], 1) == DIGEST
        assert other.puts == []

    def test_what_comes_back_is_checked(self) -> None:
        def lie(digest: Hash32, deadline: timedelta, limit: int) -> bytes:
            raise ContentMismatch("the gateway lies")

        with pytest.raises(StoreFailed, match="the gateway lies"):
            publish(DATA, [MemoryStore("a")], [CallingSource("liar", lie)], 1)

    def test_a_folder_confirms_itself(self) -> None:
        folder = MemoryStore("folder", confirms_itself=True)
        assert publish(DATA, [folder], [], 1) == DIGEST

    def test_a_folder_that_lost_it_does_not(self) -> None:
        folder = MemoryStore("folder", confirms_itself=True)
        folder.put = lambda data: digest_of(data)  # type: ignore[method-assign]
        with pytest.raises(StoreFailed, match="can't be read back"):
            publish(DATA, [folder], [], 1)

    def test_a_folder_does_not_confirm_a_node(self) -> None:
        folder = MemoryStore("folder", confirms_itself=True)
        with pytest.raises(ConfigError, match="no source to read back"):
            publish(DATA, [folder, MemoryStore("node")], [], 2)
        assert folder.puts == []

    @pytest.mark.parametrize("copies", [-1, 0, 3])
    def test_copies_that_make_no_sense(self, copies: int) -> None:
        stores = [MemoryStore("a"), MemoryStore("b")]
        with pytest.raises(ConfigError, match="copies"):
            publish(DATA, stores, [WindowOf(stores[0])], copies)
        assert stores[0].puts == []

    def test_one_store_twice(self) -> None:
        stores = [MemoryStore("a"), MemoryStore("a")]
        with pytest.raises(ConfigError, match="twice"):
            publish(DATA, stores, [WindowOf(stores[0])], 2)

    def test_nothing_to_read_back_from_is_noticed_first(self) -> None:
        store = MemoryStore("a")
        with pytest.raises(ConfigError, match="no source to read back"):
            publish(DATA, [store], [store], 1)
        assert store.puts == []

    def test_nothing_left_to_read_back_from(self) -> None:
        stores = [MemoryStore("a"), MemoryStore("b")]
        stores[0].is_down = True
        with pytest.raises(StoreFailed, match="no other source left"):
            publish(DATA, stores, [stores[1]], 1)

    def test_a_block_that_is_too_large(self) -> None:
        store = MemoryStore("a")
        with pytest.raises(StoreFailed, match="do not fit"):
            publish(bytes(BLOCK_LIMIT + 1), [store], [WindowOf(store)], 1)
        assert store.puts == []


class TestFetchFirst:
    def test_the_first_that_has_it(self) -> None:
        empty, full = MemoryStore("empty"), MemoryStore("full")
        full.put(DATA)
        never = CallingSource("never", lambda *_: pytest.fail("asked in vain"))
        assert fetch_first(DIGEST, [empty, full, never], SECOND) == DATA

    def test_everybody_s_reason(self) -> None:
        def lie(digest: Hash32, deadline: timedelta, limit: int) -> bytes:
            raise ContentMismatch("b lies")

        sources = [MemoryStore("a"), CallingSource("b", lie)]
        with pytest.raises(ContentUnavailable) as caught:
            fetch_first(DIGEST, sources, SECOND)
        assert cid_of(DIGEST) in str(caught.value)
        assert "a has no" in str(caught.value)
        assert "b lies" in str(caught.value)

    def test_nobody_to_ask(self) -> None:
        with pytest.raises(ContentUnavailable, match="no source"):
            fetch_first(DIGEST, [], SECOND)

    def test_each_gets_a_share_of_what_is_left(self) -> None:
        shares: list[timedelta] = []

        def note(digest: Hash32, deadline: timedelta, limit: int) -> bytes:
            shares.append(deadline)
            raise ContentUnavailable("no")

        with pytest.raises(ContentUnavailable):
            fetch_first(DIGEST, [CallingSource(n, note) for n in "abcd"], timedelta(hours=4))
        # quick ones leave their time to those behind them
        assert [round(share / timedelta(minutes=1)) for share in shares] == [60, 80, 120, 240]

    def test_the_limit_is_passed_on(self) -> None:
        store = MemoryStore("a")
        store.put(DATA)
        with pytest.raises(ContentUnavailable, match="larger than 5 bytes"):
            fetch_first(DIGEST, [store], SECOND, limit=5)


class TestBackoff:
    def test_who_failed_is_tried_last_for_a_while(self) -> None:
        """Over several blocks: a dead gateway costs its share of the time once, not every time."""
        store = MemoryStore()
        digest = store.put(b"block")
        asked: list[str] = []

        def dead(digest: Hash32, deadline: timedelta, limit: int) -> bytes:
            asked.append("dead")
            raise ContentUnavailable("dead")

        def alive(digest: Hash32, deadline: timedelta, limit: int) -> bytes:
            asked.append("alive")
            return b"block"

        sources = [CallingSource("dead", dead), CallingSource("alive", alive)]
        now = [0.0]
        backoff = Backoff(timedelta(seconds=60), lambda: now[0])
        for _ in range(3):
            fetch_first(digest, sources, timedelta(seconds=5), backoff=backoff)
        assert asked == ["dead", "alive", "alive", "alive"]
        now[0] = 60.0
        fetch_first(digest, sources, timedelta(seconds=5), backoff=backoff)
        assert asked[4:] == ["dead", "alive"]

    def test_it_is_still_tried(self) -> None:
        store = MemoryStore("only")
        backoff = Backoff()
        backoff.failed(store)
        digest = store.put(b"block")
        assert fetch_first(digest, [store], timedelta(seconds=5), backoff=backoff) == b"block"

    def test_the_order_is_otherwise_kept(self) -> None:
        stores = [MemoryStore(str(n)) for n in range(5)]
        backoff = Backoff()
        for index in (3, 1):
            backoff.failed(stores[index])
        assert [s.name for s in backoff.order(stores)] == ["0", "2", "4", "1", "3"]
