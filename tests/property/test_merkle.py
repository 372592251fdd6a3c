"""Trees against the recursive definition of RFC 6962, section 2.1, and paths against trees."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dpki.chain import merkle
from dpki.errors import MalformedInput
from dpki.model import MAXIMUM_BATCH, Hash32, Path

counts = st.integers(1, 80) | st.sampled_from([127, 128, 129, 255, 256, 257, 999, MAXIMUM_BATCH])
firsts = st.integers(1, 2**32 - 1 - MAXIMUM_BATCH)


def leaves_of(count: int) -> list[Hash32]:
    return [Hash32(i.to_bytes(32)) for i in range(count)]


def rfc6962_root(leaves: list[Hash32]) -> Hash32:
    """MTH(D[n]) = HASH(0x01 || MTH(D[0:k]) || MTH(D[k:n])), k the largest power of two below n."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return merkle.node(rfc6962_root(leaves[:k]), rfc6962_root(leaves[k:]))


@given(counts)
def test_the_shape_is_rfc_6962s(count: int) -> None:
    leaves = leaves_of(count)
    assert merkle.Tree(leaves).root == rfc6962_root(leaves)


@given(counts, firsts, st.data())
def test_every_path_leads_to_the_root_from_its_own_place_only(
    count: int, first: int, data: st.DataObject
) -> None:
    leaves = leaves_of(count)
    tree = merkle.Tree(leaves)
    index = data.draw(st.integers(0, count - 1))
    path = tree.path(index, first)
    assert len(path.siblings) == merkle.expected_siblings(index, count) <= 10
    assert merkle.verify_path(leaves[index], first + index, path) == tree.root

    other = data.draw(st.integers(0, count - 1))
    if other != index:
        assert reaches(leaves[other], first + index, path) != tree.root
        assert reaches(leaves[index], first + other, path) != tree.root


@given(counts, st.data())
def test_a_changed_path_leads_elsewhere(count: int, data: st.DataObject) -> None:
    tree = merkle.Tree(leaves_of(count))
    index = data.draw(st.integers(0, count - 1))
    path = tree.path(index, 1)
    siblings = list(path.siblings)
    change = data.draw(st.sampled_from(["flip", "drop", "add", "count"]))
    if change == "flip" and siblings:
        place = data.draw(st.integers(0, len(siblings) - 1))
        siblings[place] = Hash32(bytes([siblings[place][0] ^ 1]) + siblings[place][1:])
    elif change == "drop" and siblings:
        siblings.pop(data.draw(st.integers(0, len(siblings) - 1)))
    elif change == "count":
        claimed = data.draw(st.integers(index + 1, MAXIMUM_BATCH).filter(lambda n: n != count))
        root = reaches(leaves_of(count)[index], 1 + index, replace(path, count=claimed))
        # Another count may well give the same root; the commitment binds the count for that.
        assert root is None or merkle.commitment(root, claimed) != tree.commitment
        return
    else:
        siblings.append(Hash32.zero())
    assert reaches(leaves_of(count)[index], 1 + index, Path(1, count, tuple(siblings))) != tree.root


def reaches(leaf: Hash32, serial: int, path: Path) -> Hash32 | None:
    """Return the root that a path leads to; None where it is refused."""
    try:
        return merkle.verify_path(leaf, serial, path)
    except MalformedInput:
        return None


@given(counts)
def test_order_counts(count: int) -> None:
    leaves = leaves_of(count)
    backwards = merkle.Tree(leaves[::-1])
    assert (backwards.root == merkle.Tree(leaves).root) == (count == 1)
