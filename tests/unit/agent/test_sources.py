"""Bundles are fetched beside the looks: no gateway holds a revocation up (claim T5)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dpki.agent.sources import Conduct, KnownSource, Pantry
from dpki.bundle.cid import digest_of
from dpki.errors import ContentUnavailable
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT

MINUTE = timedelta(minutes=1)


class Shelf:
    """A source that has what lies on it."""

    name = "shelf"

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = {digest_of(block): block for block in blocks}
        self.asked: list[Hash32] = []

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        self.asked.append(digest)
        try:
            return self.blocks[digest]
        except KeyError as error:
            raise ContentUnavailable("it is not on the shelf") from error


def look(pantry: Pantry, *digests: Hash32) -> list[bytes | str]:
    """Return what a look that needs these gets, or is told."""
    pantry.begin()
    found: list[bytes | str] = []
    for digest in digests:
        try:
            found.append(pantry.fetch(digest, MINUTE))
        except ContentUnavailable as error:
            found.append(error.message)
    pantry.end()
    return found


A, B = digest_of(b"a"), digest_of(b"b")


def test_a_look_asks_nobody_and_the_next_one_finds_it() -> None:
    shelf = Shelf(b"a")
    pantry = Pantry([shelf])
    assert look(pantry, A) == ["it is being fetched"]
    assert shelf.asked == []
    assert pantry.wants
    assert pantry.stock(MINUTE, MINUTE)
    assert look(pantry, A) == [b"a"]
    assert not pantry.wants


def test_a_look_that_needs_no_bundle_changes_nothing() -> None:
    """Such a look takes over what the one before it found wanting."""
    pantry = Pantry([Shelf(b"a")])
    look(pantry, A)
    pantry.begin()
    assert pantry.wants
    assert not pantry.serves
    assert pantry.stock(MINUTE, MINUTE)
    pantry.begin()
    assert pantry.serves
    assert look(pantry, A) == [b"a"]
    assert not pantry.serves


def test_what_can_not_be_had_is_said() -> None:
    pantry = Pantry([Shelf()])
    look(pantry, A)
    assert not pantry.stock(MINUTE, MINUTE)
    (said,) = look(pantry, A)
    assert "it is not on the shelf" in str(said)


def test_the_first_that_can_be_had_is_enough() -> None:
    shelf = Shelf(b"b")
    pantry = Pantry([shelf])
    look(pantry, A, B, digest_of(b"c"))
    assert pantry.stock(MINUTE, MINUTE)
    assert shelf.asked == [A, B]


def test_what_nobody_wants_any_more_is_neither_fetched_nor_kept() -> None:
    shelf = Shelf(b"a", b"b")
    pantry = Pantry([shelf])
    look(pantry, A)
    pantry.stock(MINUTE, MINUTE)
    look(pantry, B)
    look(pantry, B)
    assert look(pantry, A) == ["it is being fetched"]


def test_time_is_bounded() -> None:
    shelf = Shelf(b"a")
    pantry = Pantry([shelf])
    look(pantry, A)
    assert not pantry.stock(timedelta(0), MINUTE)
    assert shelf.asked == []


def test_it_is_noted_how_a_source_behaves() -> None:
    source = KnownSource(Shelf(b"a"))
    source.fetch(A, MINUTE)
    with pytest.raises(ContentUnavailable):
        source.fetch(B, MINUTE)
    assert source.conduct == Conduct(1, 1, "it is not on the shelf")
    source.fetch(A, MINUTE)
    assert source.conduct.last == ""
