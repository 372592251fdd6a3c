from __future__ import annotations

from collections.abc import Sequence

import pytest

from dpki.chain.domain import fetch_domain
from dpki.errors import DomainNotShown, EndpointUnavailable, WrongDomain
from dpki.model import Address, DomainId, Hash32
from tests.fakes.chain import FakeChain


def test_finds_the_domain_from_its_id_alone() -> None:
    chain = FakeChain()
    chain.mine()
    assert fetch_domain(chain, chain.domain.id) == chain.domain


def test_another_chain_id() -> None:
    chain = FakeChain(chain_id=1)
    domain_id = DomainId(1135, chain.domain.id.address, chain.domain.id.block_hash)
    with pytest.raises(WrongDomain, match="serves chain 1, and the trust domain is on chain 1135"):
        fetch_domain(chain, domain_id)


def test_a_block_of_another_chain_with_the_same_chain_id() -> None:
    """Every devnet has chain id 31337 and, often, a domain at the same address."""
    with pytest.raises(DomainNotShown, match="does not show block") as caught:
        fetch_domain(FakeChain(salt=b"other"), FakeChain().domain.id)
    assert caught.value.exit_status == 5, "a node may be behind"


def test_a_block_that_is_known_but_not_on_the_chain() -> None:
    chain = FakeChain()
    orphaned = chain._eth_getBlockByHash(str(chain.domain.block.hash), False)
    fork = FakeChain(salt=b"fork")

    def lie(method: str, params: Sequence[object], honest: object) -> object:
        return orphaned if method == "eth_getBlockByHash" else honest

    fork.lie = lie
    with pytest.raises(WrongDomain, match="has another block"):
        fetch_domain(fork, chain.domain.id)


def test_a_block_that_is_known_but_beyond_the_head() -> None:
    chain = FakeChain()
    chain.lie = lambda m, p, honest: None if m == "eth_getBlockByNumber" else honest
    with pytest.raises(DomainNotShown, match="does not show block"):
        fetch_domain(chain, chain.domain.id)


@pytest.mark.parametrize("where", ["another address", "another block"])
def test_no_contract_there(where: str) -> None:
    chain = FakeChain()
    address, block_hash = chain.domain.id.address, chain.domain.id.block_hash
    if where == "another address":
        address = Address(b"\x77" * 20)
    else:
        block_hash = chain.mine().hash
    with pytest.raises(DomainNotShown, match="does not show that a trust domain was created"):
        fetch_domain(chain, DomainId(31337, address, block_hash))


@pytest.mark.parametrize(
    "change",
    [
        {"address": "0x" + "77" * 20},
        {"blockHash": "0x" + "77" * 32},
        {"topics": []},
        {"topics": ["0x" + "77" * 32] * 2},
        {"data": "0x"},
        {"data": "0x" + "77" * 128},
        {"data": "0x" + "00" * 160},
    ],
)
def test_a_forged_event_is_nonsense(change: dict[str, object]) -> None:
    chain = FakeChain()

    def lie(method: str, params: Sequence[object], honest: object) -> object:
        if method == "eth_getLogs":
            assert isinstance(honest, list)
            return [{**honest[0], **change}]
        return honest

    chain.lie = lie
    with pytest.raises(EndpointUnavailable):
        fetch_domain(chain, chain.domain.id)


def test_two_creations_in_one_block_are_a_lie() -> None:
    chain = FakeChain()
    chain.lie = lambda m, p, honest: honest * 2 if m == "eth_getLogs" else honest  # type: ignore[operator]
    with pytest.raises(WrongDomain, match="2 trust domains were created"):
        fetch_domain(chain, chain.domain.id)


def test_everything_is_asked_by_the_blocks_hash() -> None:
    chain = FakeChain()
    fetch_domain(chain, chain.domain.id)
    (logs,) = [call for call in chain.asked if call.method == "eth_getLogs"]
    assert isinstance(logs.params[0], dict)
    assert logs.params[0]["blockHash"] == str(chain.domain.id.block_hash)
    assert Hash32.parse(str(chain.domain.id.block_hash))
