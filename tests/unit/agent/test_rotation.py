"""How long a host pair stays, and what is erased when."""

from __future__ import annotations

from datetime import timedelta

from dpki.agent.rotation import Pair, keys_to_erase, retain
from tests.world import NOW

OLD, NEW, NEWEST = "0" * 16, "1" * 16, "2" * 16
DAY = timedelta(days=1)
ALL = {OLD, NEW, NEWEST}


def test_the_old_one_stays_for_the_overlap_by_the_chains_time() -> None:
    first = retain([Pair(OLD)], [NEW], ALL, NOW, DAY)
    assert first == (Pair(NEW), Pair(OLD, NOW))
    later = retain(first, [NEW], ALL, NOW + DAY - timedelta(seconds=1), DAY)
    assert later == first
    assert retain(later, [NEW], ALL, NOW + DAY, DAY) == (Pair(NEW),)


def test_a_chain_that_goes_back_prolongs_nothing_by_more_than_that() -> None:
    pairs = (Pair(NEW), Pair(OLD, NOW))
    assert retain(pairs, [NEW], ALL, NOW - DAY, DAY) == pairs
    assert retain(pairs, [NEW], ALL, NOW + DAY, DAY) == (Pair(NEW),)


def test_two_rotations_within_one_overlap() -> None:
    pairs = retain((Pair(NEW), Pair(OLD, NOW)), [NEWEST], ALL, NOW + DAY / 2, DAY)
    assert pairs == (Pair(NEWEST), Pair(NEW, NOW + DAY / 2), Pair(OLD, NOW))


def test_one_that_counts_no_longer_goes_at_once() -> None:
    """Its certificate was revoked, as after a key had leaked."""
    assert retain([Pair(OLD)], [NEW], {NEW}, NOW, DAY) == (Pair(NEW),)


def test_one_that_is_wanted_again_is_no_longer_superseded() -> None:
    pairs = (Pair(NEW), Pair(OLD, NOW))
    assert retain(pairs, [OLD], ALL, NOW, DAY) == (Pair(OLD), Pair(NEW, NOW))


def test_keys_older_than_all_that_are_presented_are_erased() -> None:
    own = (b"1", b"2", b"3", b"4")
    assert keys_to_erase(own, [b"3"]) == (b"1", b"2")
    assert keys_to_erase(own, [b"3", b"2"]) == (b"1",), "one is within its overlap"
    assert keys_to_erase(own, [b"1"]) == ()
    assert keys_to_erase(own, [b"4"]) == (b"1", b"2", b"3")


def test_nothing_is_erased_while_a_key_from_a_bundle_or_none_is_presented() -> None:
    assert keys_to_erase((b"1", b"2"), [b"admin's"]) == ()
    assert keys_to_erase((b"1", b"2"), []) == ()
