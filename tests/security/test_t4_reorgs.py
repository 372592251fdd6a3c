"""T4: the chain itself goes back, by one block or several: what was removed stays so.

The rest follows the chain.
Reorgs are real ones, of Anvil and of go-ethereum. That an issuer's journal submits again what a
reorg threw out is shown in tests/integration/test_issuance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dpki.chain.rpc import Endpoint
from dpki.devnet.anvil import Anvil
from dpki.errors import CouldNotCheck
from dpki.verification.check import check
from tests.chain_world import ChainWorld, world_on
from tests.geth import Geth

CONFIRMATIONS = 3


@dataclass(frozen=True)
class Chain:
    """A node that can be made to forget its newest blocks.

    Attributes:
        mark: Remembers the newest block.
        back: Goes back to what `mark` returned.
        finalize: Makes the newest block final.
    """

    url: str
    mine: Callable[[int], None]
    mark: Callable[[], str]
    back: Callable[[str], None]
    finalize: Callable[[], None]


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Anvil(tmp_path_factory.mktemp("anvil")) as node, Endpoint(node.url) as endpoint:

        def mine(blocks: int) -> None:
            # Of another time than the blocks that went: else they would be the same ones.
            endpoint.call("evm_increaseTime", [5])
            endpoint.call("anvil_mine", [hex(blocks)])

        def back(mark: str) -> None:
            assert endpoint.call("evm_revert", [mark]) is True

        yield Chain(
            node.url, mine, lambda: str(endpoint.call("evm_snapshot")), back, lambda: mine(100)
        )


@pytest.fixture(scope="module")
def go_ethereum(geth: Geth) -> Iterator[Chain]:
    with Endpoint(geth.url) as endpoint:

        def back(mark: str) -> None:
            endpoint.call("debug_setHead", [mark])
            assert endpoint.call("eth_blockNumber") == mark

        yield Chain(
            geth.url, geth.mine, lambda: str(endpoint.call("eth_blockNumber")), back, geth.finalize
        )


@pytest.fixture(params=["anvil", "go_ethereum"])
def chain(request: pytest.FixtureRequest) -> Chain:
    found: Chain = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def world(chain: Chain, tmp_path: Path) -> Iterator[ChainWorld]:
    with world_on(chain.url, tmp_path) as opened:
        opened.confirmations, opened.finality = CONFIRMATIONS, "finalized"
        yield opened


def users_known(world: ChainWorld) -> set[int]:
    return {k.serial for k in world.observe().known if k.authority == world.users.id}


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_across_a_reorg(chain: Chain, world: ChainWorld, depth: int) -> None:
    first, second = world.sign_user(1), world.sign_user(2)
    world.anchor_users(first)
    chain.finalize()
    chain.mine(CONFIRMATIONS)
    assert users_known(world) == {1}
    mark = chain.mark()
    world.writer.revoke(world.users.id, [1])
    world.anchor_users(second)
    if depth > 2:
        chain.mine(depth - 2)
    # The revocation acts at once, the new certificate once it is deep enough.
    seen = world.observe()
    assert seen.snapshot.authorities[world.users.id].is_revoked(1)
    assert (2 in users_known(world)) == (depth - 1 >= CONFIRMATIONS)

    chain.back(mark)
    chain.mine(depth + CONFIRMATIONS)
    seen = world.observe()
    assert seen.problems == ()
    assert seen.snapshot.authorities[world.users.id].is_revoked(1)
    assert users_known(world) == {1}
    # Whoever remembers nothing sees the chain as it is.
    verdicts = [
        check(world.reader, world.domain, certificate, None, datetime.now(UTC)).verdict.value
        for certificate in (first, second)
    ]
    assert verdicts == ["valid", "not anchored"]

    # What is anchored in its place counts.
    third = world.sign_user(2)
    world.users.next_serial = 2
    world.anchor_users(third)
    chain.mine(CONFIRMATIONS)
    hashes = {k.serial: k.entry.certificate_hash for k in world.observe().known}
    assert hashes[2] == third.hash


def test_a_reorg_after_which_the_transactions_come_again(chain: Chain, world: ChainWorld) -> None:
    """As they do where whoever sent them, or a node, offers them to the blocks that come."""
    first, second = world.sign_user(1), world.sign_user(2)
    world.anchor_users(first)
    chain.finalize()
    mark, start = chain.mark(), head(world)
    world.writer.revoke(world.users.id, [1])
    world.anchor_users(second)
    sent = transactions(world, start + 1)
    chain.mine(CONFIRMATIONS)
    assert users_known(world) == {1, 2}
    chain.back(mark)
    chain.mine(CONFIRMATIONS)
    seen = world.observe()
    assert seen.snapshot.authorities[world.users.id].is_revoked(1)
    assert users_known(world) == {1}
    for one in sent:
        world.reader.call("eth_sendRawTransaction", [one])
    chain.mine(CONFIRMATIONS)
    seen = world.observe()
    assert seen.problems == ()
    assert seen.snapshot.authorities[world.users.id].is_revoked(1)
    assert users_known(world) == {1, 2}


def head(world: ChainWorld) -> int:
    return int(str(world.reader.call("eth_blockNumber")), 16)


def transactions(world: ChainWorld, start: int) -> list[object]:
    """Return what was sent since a block, as it was sent."""
    found = []
    for number in range(start, head(world) + 1):
        block: Any = world.reader.call("eth_getBlockByNumber", [hex(number), False])
        found += [
            world.reader.call("eth_getRawTransactionByHash", [hash])
            for hash in block["transactions"]
        ]
    return found


def test_what_was_final_does_not_go_back(chain: Chain, world: ChainWorld) -> None:
    world.anchor_users(world.sign_user(1))
    mark = chain.mark()
    world.anchor_users(world.sign_user(2))
    world.observe()
    chain.finalize()
    world.observe()
    chain.back(mark)
    with pytest.raises(CouldNotCheck, match=r"was final|already final"):
        world.observe()
    # Nor when the other branch has grown as long.
    chain.mine(1)
    chain.finalize()
    with pytest.raises(CouldNotCheck, match=r"was final|already final"):
        world.observe()
