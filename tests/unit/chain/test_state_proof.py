"""Words out of a proof that is at hand: the state's own, or none."""

from __future__ import annotations

import pytest
from eth_hash.auto import keccak

from dpki.chain import rlp
from dpki.chain.excerpt import fetch_excerpt
from dpki.chain.header import Header, parse_header, verify_header
from dpki.chain.panel import Panel
from dpki.chain.rpc import Call
from dpki.chain.snapshot import extend_snapshot, fetch_snapshot
from dpki.chain.state_proof import StateCollector, StateProof
from dpki.errors import CouldNotCheck, ProofInvalid, WrongDomain
from dpki.model import Address, Hash32
from tests.fakes.chain import entries
from tests.fakes.proving import ProvingChain, sources, truth

NOWHERE = Address(b"\x77" * 20)


@pytest.fixture
def chain() -> ProvingChain:
    chain = ProvingChain()
    ca = chain.register()
    chain.issue(ca, entries(3))
    chain.revoke(ca, [2])
    return chain


def reading(chain: ProvingChain) -> StateCollector:
    panel = Panel(sources(chain, truth, truth), 2, chain.chain_id)
    return StateCollector(panel, chain.head)


def state_of(chain: ProvingChain) -> StateProof:
    """Return a proof of all that a snapshot holds."""
    asked = reading(chain)
    snapshot = fetch_snapshot(chain, chain.domain)
    (ca,) = snapshot.authorities
    fetch_excerpt(asked, chain.domain, chain.head, b"k" * 91, 2)
    extend_snapshot(asked, snapshot, batches=[(ca, 1)])
    asked.batch(
        [
            Call("eth_getStorageAt", [str(contract), f"0x{slot:064x}", at(chain.head.hash)])
            for contract, slot in chain._storage
        ]
    )
    return asked.collected()


def at(hash: Hash32) -> dict[str, object]:
    return {"blockHash": str(hash), "requireCanonical": True}


def test_holds_what_was_read(chain: ProvingChain) -> None:
    state = state_of(chain)
    assert state.header.block == chain.head
    for (contract, slot), value in chain._storage.items():
        params = [str(contract), f"0x{slot:064x}", at(chain.head.hash)]
        assert state.call("eth_getStorageAt", params) == f"0x{value:064x}"


def test_and_says_which_nodes_it_took(chain: ProvingChain) -> None:
    state = state_of(chain)
    assert state.needed == ()
    assert state.has_more
    params = [str(chain.domain.authorities), f"0x{1:064x}", at(chain.head.hash)]
    state.call("eth_getStorageAt", params)
    assert state.has_more
    smaller = StateProof.parse(state.header, state.needed)
    assert smaller.call("eth_getStorageAt", params) == f"0x{1:064x}"
    assert smaller.needed == state.needed
    assert not smaller.has_more


def test_an_empty_storage_holds_zeros(chain: ProvingChain) -> None:
    state = state_of(chain)
    params = [str(chain.domain.watchdogs), f"0x{5:064x}", at(chain.head.hash)]
    assert state.call("eth_getStorageAt", params) == f"0x{0:064x}"


def test_what_was_not_read_is_not_zero() -> None:
    """A trie of many words, of whose nodes only those on the way to one are at hand."""
    chain = ProvingChain()
    for slot in range(200):
        chain.put(chain.domain.certificates, slot, slot + 1)
    chain.mine()
    asked = reading(chain)
    registry, here = str(chain.domain.certificates), at(chain.head.hash)
    asked.call("eth_getStorageAt", [registry, f"0x{7:064x}", here])
    state = asked.collected()
    assert state.call("eth_getStorageAt", [registry, f"0x{7:064x}", here]) == f"0x{8:064x}"
    with pytest.raises(CouldNotCheck, match="lacks a part"):
        state.call("eth_getStorageAt", [registry, f"0x{8:064x}", here])


def test_answers_nothing_else(chain: ProvingChain) -> None:
    state = state_of(chain)
    contract, slot = str(chain.domain.authorities), f"0x{1:064x}"
    for method, params in (
        ("eth_chainId", []),
        ("eth_getStorageAt", [contract, slot, at(chain.domain.block.hash)]),
        ("eth_getStorageAt", [contract, slot, "latest"]),
    ):
        with pytest.raises(CouldNotCheck, match="can't answer"):
            state.call(method, params)


def test_a_contract_that_is_not_there(chain: ProvingChain) -> None:
    """Not one whose words are zero: whoever names another domain must not learn "unknown"."""
    asked = reading(chain)
    params = [str(NOWHERE), f"0x{0:064x}", at(chain.head.hash)]
    assert asked.call("eth_getStorageAt", params) == f"0x{0:064x}"
    with pytest.raises(WrongDomain, match="holds no contract"):
        asked.collected().call("eth_getStorageAt", params)


def test_only_what_a_proof_can_answer_is_collected(chain: ProvingChain) -> None:
    asked = reading(chain)
    assert asked.name == "a panel of 2 RPC endpoints"
    with pytest.raises(CouldNotCheck, match="nothing that a state proof answers"):
        asked.call("eth_chainId")


@pytest.mark.parametrize("method", ["eth_getBlockByHash", "eth_getProof"])
def test_where_nobody_proves_nothing_is_collected(chain: ProvingChain, method: str) -> None:
    chain.lie = lambda asked, _, honest: {} if asked == method else honest
    with pytest.raises(CouldNotCheck, match="no endpoint proves the state") as caught:
        reading(chain).call(
            "eth_getStorageAt",
            [str(chain.domain.devices), f"0x{5:064x}", at(chain.head.hash)],
        )
    assert "eth_getProof" in caught.value.hint


class TestHeader:
    def test_reads_back(self, chain: ProvingChain) -> None:
        shown = verify_header(chain.show(chain.head), chain.head.hash)
        assert parse_header(shown.rlp) == shown

    @pytest.mark.parametrize("count", [14, 22])
    def test_of_another_length(self, count: int) -> None:
        with pytest.raises(ProofInvalid, match=f"it has {count} fields"):
            parse_header(rlp.encode_list([rlp.encode(b"\1" * 32)] * count))

    @pytest.mark.parametrize(("place", "value"), [(3, b""), (8, b"\0"), (11, b"\xff" * 8)])
    def test_with_a_field_that_can_t_be(
        self, chain: ProvingChain, place: int, value: bytes
    ) -> None:
        header: Header = verify_header(chain.show(chain.head), chain.head.hash)
        items = [item.raw for item in rlp.decode_list(header.rlp)]
        items[place] = rlp.encode(value)
        with pytest.raises(ProofInvalid, match="header is malformed"):
            parse_header(rlp.encode_list(items))

    def test_that_is_none(self) -> None:
        for encoded in (b"", b"\x80", keccak(b"")):
            with pytest.raises(ProofInvalid):
                parse_header(encoded)
