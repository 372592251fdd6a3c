from __future__ import annotations

from dataclasses import replace

import pytest
from eth_hash.auto import keccak

from dpki.chain import merkle
from dpki.errors import MalformedInput, UsageError
from dpki.model import Address, AuthorityId, Entry, Hash32, Path, from_timestamp

REGISTRY = Address(b"\x03" * 20)
CA = AuthorityId(b"\x07" * 32)
ENTRY = Entry(
    Hash32(b"\x11" * 32), Address(b"\xdd" * 20), from_timestamp(0x1234), Hash32(b"\x99" * 32)
)


def leaves(count: int) -> list[Hash32]:
    return [Hash32(bytes([i]) * 32) for i in range(count)]


def test_the_leaf_is_spelled_as_the_format_says() -> None:
    context = keccak(
        keccak(b"dpki leaf v1") + (31337).to_bytes(32) + bytes(12) + b"\x03" * 20 + b"\x07" * 32
    )
    assert merkle.leaf_context(31337, REGISTRY, CA) == context
    subject = b"\xdd" * 20 + (0x1234).to_bytes(12)
    expected = keccak(b"\0" + context + (5).to_bytes(4) + subject + b"\x11" * 32)
    assert merkle.leaf(Hash32(context), 5, ENTRY) == expected


def test_everything_but_the_locator_is_bound() -> None:
    def at(
        chain_id: int = 1,
        registry: Address = REGISTRY,
        ca: AuthorityId = CA,
        serial: int = 5,
        **changed: object,
    ) -> Hash32:
        entry = replace(ENTRY, **changed)  # type: ignore[arg-type]
        return merkle.leaf(merkle.leaf_context(chain_id, registry, ca), serial, entry)

    others = [
        at(chain_id=2),
        at(registry=Address.zero()),
        at(ca=AuthorityId.zero()),
        at(serial=6),
        at(certificate_hash=Hash32.zero()),
        at(device=Address.zero()),
        at(not_after=from_timestamp(1)),
    ]
    assert len({at(), *others}) == 8
    assert at(locator=Hash32.zero()) == at()


def test_small_trees_by_hand() -> None:
    a, b, c, d, e = leaves(5)
    join = merkle.node
    assert merkle.Tree([a]).root == a
    assert merkle.Tree([a, b]).root == join(a, b)
    assert merkle.Tree([a, b, c]).root == join(join(a, b), c)
    assert merkle.Tree([a, b, c, d, e]).root == join(join(join(a, b), join(c, d)), e)
    tree = merkle.Tree([a, b, c, d, e])
    assert tree.path(4, 10) == Path(10, 5, (join(join(a, b), join(c, d)),))
    assert tree.path(2, 10) == Path(10, 5, (d, join(a, b), e))


def test_the_commitment_binds_root_and_count() -> None:
    tree = merkle.Tree(leaves(3))
    assert tree.commitment == keccak(b"\x02" + tree.root + (3).to_bytes(4))
    assert merkle.commitment(tree.root, 4) != tree.commitment


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000(count: int) -> None:
    with pytest.raises(UsageError):
        merkle.Tree([Hash32.zero()] * count)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_path_beyond_the_batch(index: int) -> None:
    with pytest.raises(UsageError):
        merkle.Tree(leaves(3)).path(index, 1)


@pytest.mark.parametrize(
    ("serial", "path"),
    [
        (9, Path(10, 3, (Hash32.zero(),) * 2)),
        (13, Path(10, 3, (Hash32.zero(),) * 2)),
        (10, Path(10, 3, (Hash32.zero(),) * 1)),
        (10, Path(10, 3, (Hash32.zero(),) * 3)),
        (12, Path(10, 3, (Hash32.zero(),) * 2)),
        (10, Path(10, 3, ())),
        (0, Path(0, 1, ())),
        (1, Path(1, 0, ())),
        (1, Path(1, -1, ())),
        (1, Path(1, 1001, (Hash32.zero(),) * 10)),
        (2**32, Path(2**32, 1, ())),
    ],
)
def test_an_impossible_place_or_length_is_malformed(serial: int, path: Path) -> None:
    with pytest.raises(MalformedInput):
        merkle.verify_path(leaves(1)[0], serial, path)
