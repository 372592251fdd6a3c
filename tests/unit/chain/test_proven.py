"""Storage words against the header of an agreed block, from whichever endpoint proves them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from dpki.chain import proven
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Fault
from dpki.chain.rpc import Call, RpcError, fetch_block
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import EndpointUnavailable
from dpki.model import Address, AuthorityState, Hash32
from tests.fakes.chain import FakeChain, entries
from tests.fakes.proving import ProvingChain, Source, Tell, sources, truth

DEVICE = Address(b"\xdd" * 20)


@pytest.fixture
def chain() -> ProvingChain:
    chain = ProvingChain()
    ca = chain.register()
    chain.issue(ca, entries(3))
    chain.revoke(ca, [2])
    chain.enroll(DEVICE, Hash32(b"\7" * 32))
    return chain


def reader(places: list[Source], quorum: int = 2) -> ProvenReader:
    panel = Panel(places, quorum, 31337, patience=timedelta(seconds=10))
    return ProvenReader(panel)


def methods(place: Source) -> set[str]:
    return {call.method for call in place.asked}


def without_proofs(call: Call, answer: Callable[[], object]) -> object:
    if call.method == "eth_getProof":
        raise RpcError("rpc", call.method, -32601, "no such method")
    return answer()


def test_a_snapshot_is_proven_and_no_word_is_asked_for(chain: ProvingChain) -> None:
    places = sources(chain, truth, truth, truth)
    asked = reader(places)
    snapshot = fetch_snapshot(asked, chain.domain, devices=[DEVICE])
    assert snapshot == fetch_snapshot(chain, chain.domain, devices=[DEVICE])
    assert asked.evidence().level == "proven"
    assert not any("eth_getStorageAt" in methods(place) for place in places)
    # One endpoint serves the data; the others only agree.
    assert sum("eth_getProof" in methods(place) for place in places) == 1


def test_any_endpoint_may_prove(chain: ProvingChain) -> None:
    places = sources(chain, without_proofs, without_proofs, truth)
    asked = reader(places)
    fetch_snapshot(asked, chain.domain)
    assert asked.evidence().level == "proven"
    assert asked.evidence().aside == ()


def test_without_proofs_the_words_themselves_are_agreed_on(chain: ProvingChain) -> None:
    asked = reader(sources(chain, without_proofs, without_proofs, without_proofs))
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    evidence = asked.evidence()
    assert evidence.level == "reduced"
    assert "no such method" in evidence.why_not


def test_headers_that_can_not_be_rebuilt_are_reduced_and_nobodys_fault() -> None:
    chain = FakeChain()
    chain.register()
    asked = reader(sources(chain, truth, truth))
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "reduced"
    assert asked.evidence().aside == ()


def test_one_liar_among_those_without_proofs(chain: ProvingChain) -> None:
    def lie(call: Call, answer: Callable[[], object]) -> object:
        told = without_proofs(call, answer)
        return f"0x{0:064x}" if call.method == "eth_getStorageAt" else told

    asked = reader(sources(chain, lie, without_proofs, without_proofs))
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().aside == (f"rpc-0: {Fault.CONTRADICTS.value}",)


def test_fewer_keys_where_many_are_refused(
    chain: ProvingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proven, "KEYS", 8)
    monkeypatch.setattr(proven, "FEWER_KEYS", 3)

    def capped(call: Call, answer: Callable[[], object]) -> object:
        if call.method == "eth_getProof" and len(call.params[1]) > 3:  # type: ignore[arg-type]
            raise RpcError("rpc", call.method, -32000, "too many keys")
        return answer()

    asked = reader(sources(chain, capped, capped))
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "proven"


def test_words_of_a_block_that_nobody_agreed_on_are_not_called_proven(
    chain: ProvingChain,
) -> None:
    """A forged header proves itself; that it is on the chain it can't."""
    asked = reader(sources(chain, truth, truth))
    fetch_snapshot(asked, chain.domain)
    at = {"blockHash": str(chain._blocks[1].hash), "requireCanonical": True}
    asked.call("eth_getStorageAt", [str(chain.domain.devices), f"0x{0:064x}", at])
    assert asked.evidence().level == "reduced"


def test_words_of_two_blocks_at_once_are_voted_on(chain: ProvingChain) -> None:
    asked = reader(sources(chain, truth, truth))
    calls = []
    for block in chain._blocks[2:4]:
        fetch_block(asked, block.number)
        at = {"blockHash": str(block.hash)}
        calls.append(Call("eth_getStorageAt", [str(chain.domain.devices), "0x" + "0" * 64, at]))
    assert asked.batch(calls) == [f"0x{0:064x}"] * 2
    assert asked.evidence().level == "reduced"


def test_other_questions_are_voted_on(chain: ProvingChain) -> None:
    asked = reader(sources(chain, truth, truth))
    assert asked.call("eth_chainId") == hex(31337)
    assert asked.name == "a panel of 2 RPC endpoints"


def test_nobody_answers(chain: ProvingChain) -> None:
    def dumb(call: Call, answer: Callable[[], object]) -> object:
        if call.method in ("eth_getProof", "eth_getStorageAt"):
            raise EndpointUnavailable("it is down")
        return answer()

    with pytest.raises(EndpointUnavailable, match="it is down"):
        fetch_snapshot(reader(sources(chain, dumb, dumb)), chain.domain)


def forged(change: Callable[[dict[str, object]], dict[str, object]]) -> Tell:
    def tell(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getProof":
            assert isinstance(told, dict)
            return change(told)
        return told

    return tell


@pytest.mark.parametrize(
    "tell",
    [
        forged(lambda told: {**told, "accountProof": []}),
        forged(lambda told: {**told, "address": str(DEVICE)}),
        forged(lambda told: {**told, "storageProof": []}),
    ],
    ids=["truncated", "another contract", "other slots"],
)
def test_a_forger_is_set_aside_and_the_next_proves(chain: ProvingChain, tell: Tell) -> None:
    asked = reader(sources(chain, tell, truth, truth))
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "proven"
    assert asked.evidence().aside == (f"rpc-0: {Fault.FORGED.value}",)


def bare(tell: Tell) -> Tell:
    """An endpoint that says of its newest block what nobody can do without, and no more."""

    def told(call: Call, answer: Callable[[], object]) -> object:
        shown = tell(call, answer)
        if call.method == "eth_getBlockByNumber":
            assert isinstance(shown, dict)
            return {name: shown[name] for name in ("number", "hash", "timestamp")}
        return shown

    return told


def test_a_header_is_asked_for_where_nobody_showed_it_and_a_forger_is_set_aside(
    chain: ProvingChain,
) -> None:
    forger: Tell = lambda call, answer: {} if call.method == "eth_getBlockByHash" else answer()  # noqa: E731
    places = sources(chain, bare(forger), bare(truth), bare(truth))
    asked = reader(places)
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "proven"
    assert asked.evidence().aside == (f"rpc-0: {Fault.FORGED.value}",)


def test_a_header_that_was_shown_with_the_block_is_not_asked_for(chain: ProvingChain) -> None:
    """Whoever shows another one beside the true hash has lied in vain."""

    def lie(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getBlockByNumber":
            assert isinstance(told, dict)
            return {**told, "stateRoot": f"0x{'66' * 32}"}
        return told

    places = sources(chain, lie, truth, truth)
    asked = reader(places)
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "proven"
    assert not any("eth_getBlockByHash" in methods(place) for place in places)


# --- kept for long --------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def kept(places: list[Source], clock: Clock, quorum: int = 2) -> ProvenReader:
    panel = Panel(places, quorum, 31337, patience=timedelta(seconds=10), clock=clock)
    return ProvenReader(panel, clock)


def questions(places: list[Source]) -> list[Call]:
    """Return what was asked but for which blocks there are, and forget it."""
    asked = [call for place in places for call in place.asked]
    for place in places:
        place.asked.clear()
    return [c for c in asked if c.method not in ("eth_getBlockByNumber", "eth_chainId")]


def keys_in(asked: list[Call]) -> int:
    return sum(len(call.params[1]) for call in asked)  # type: ignore[misc,arg-type]


def test_a_block_in_which_nothing_changed_costs_its_roots_alone(chain: ProvingChain) -> None:
    places = sources(chain, truth, truth, truth)
    asked = reader(places)
    fetch_snapshot(asked, chain.domain, devices=[DEVICE])
    questions(places)
    chain.mine()
    assert fetch_snapshot(asked, chain.domain, devices=[DEVICE]).block == chain.head
    again = questions(places)
    assert [call.method for call in again] == ["eth_getProof"] * 4
    assert keys_in(again) == 0
    assert asked.evidence().level == "proven"


def test_a_changed_word_costs_the_way_to_it_and_not_to_the_others() -> None:
    chain = ProvingChain()
    ca = chain.register()
    for _ in range(8):
        chain.issue(ca, entries(1000))
    for serial in range(1, 8001, 256):
        chain.revoke(ca, [serial], mine=False)
    chain.mine()
    places = sources(chain, truth, truth)
    asked = reader(places)
    fetch_snapshot(asked, chain.domain)
    questions(places)
    chain.revoke(ca, [4000])
    assert 4000 in fetch_snapshot(asked, chain.domain).authorities[ca].revoked
    changed = [call for call in questions(places) if call.params[1]]
    assert {call.params[0] for call in changed} == {str(chain.domain.certificates)}
    assert keys_in(changed) <= 8


def test_proofs_are_asked_for_again_after_a_while(chain: ProvingChain) -> None:
    clock = Clock()
    places = sources(chain, without_proofs, without_proofs)
    asked = kept(places, clock)
    fetch_snapshot(asked, chain.domain)
    for place in places:
        place.tell = truth
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "reduced"
    assert "no such method" in asked.evidence().why_not
    clock.now += proven.RETRY.total_seconds()
    assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.evidence().level == "proven"


def test_nothing_grows_in_a_reader_of_very_many_blocks() -> None:
    chain = ProvingChain()
    ca = chain.register()
    places = sources(chain, truth, truth)
    asked = reader(places)
    sizes = []
    for round in range(1200):
        if round % 30 == 0:
            # The state changes, and does not grow.
            chain.set_state(ca, AuthorityState(1 + round // 30 % 2))
        chain.mine()
        fetch_snapshot(asked, chain.domain)
        fetch_block(asked, chain.head.number - 1)
        questions(places)
        if round % 400 == 399:
            sizes.append(held(asked))
    assert sizes[2] <= sizes[1] + 20
    assert threading.active_count() < 10


def held(value: object, seen: set[int] | None = None) -> int:
    """Return how many objects of a reader's own there are behind a value."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, FakeChain | Source | type):
        return 0
    seen.add(id(value))
    if isinstance(value, dict):
        return len(value) + sum(held(one, seen) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) + sum(held(one, seen) for one in value)
    return 1 + held(vars(value), seen) if hasattr(value, "__dict__") else 1


def test_reading_one_block_has_an_end(chain: ProvingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """However each answer keeps to its own deadline."""
    asked = reader(sources(chain, truth, truth))
    fetch_snapshot(asked, chain.domain)
    monkeypatch.setattr(proven, "READING", timedelta(0))
    with pytest.raises(EndpointUnavailable, match="took longer than"):
        fetch_snapshot(asked, chain.domain)
    chain.mine()
    with pytest.raises(EndpointUnavailable, match="took longer than"):
        fetch_snapshot(asked, chain.domain)
