"""One endpoint that is believed, and what happens when it fails: the next one, and no mixture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dpki.chain.failover import Failover
from dpki.chain.quorum import PENALTY, Fault
from dpki.chain.rpc import Call, RpcError, fetch_block
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import ConfigError, DomainNotShown, EndpointUnavailable, WrongDomain
from tests.fakes.chain import FakeChain
from tests.fakes.proving import Source, sources, truth


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    chain.register()
    return chain


def down(call: Call, answer: Callable[[], object]) -> object:
    raise EndpointUnavailable("it is down")


def elsewhere(call: Call, answer: Callable[[], object]) -> object:
    return "0x1" if call.method == "eth_chainId" else answer()


def failover(chain: FakeChain, places: list[Source], clock: Clock | None = None) -> Failover:
    return Failover(places, chain.domain.id, clock or Clock())


def test_the_first_that_answers_is_asked_and_nobody_else(chain: FakeChain) -> None:
    places = sources(chain, down, elsewhere, truth, truth)
    asked = failover(chain, places)
    assert asked.domain == chain.domain
    assert asked.name == "rpc-2"
    assert fetch_snapshot(asked, asked.domain) == fetch_snapshot(chain, chain.domain)
    assert not places[3].asked
    evidence = asked.evidence()
    assert evidence.level == "trusted"
    assert evidence.aside == (
        f"rpc-0: {Fault.SILENT.value}",
        f"rpc-1: {Fault.OTHER_CHAIN.value}",
    )


def test_the_next_takes_the_place_of_one_that_fails_later(chain: FakeChain) -> None:
    places = sources(chain, truth, truth)
    clock = Clock()
    asked = failover(chain, places, clock)
    places[0].tell = down
    assert fetch_block(asked, "latest") == chain.head
    assert asked.name == "rpc-1"
    # It stays with that one: what is read together comes from one.
    places[0].tell = truth
    clock.now += PENALTY.total_seconds() + 1
    assert fetch_block(asked, "latest") == chain.head
    assert asked.name == "rpc-1"
    places[1].tell = down
    assert fetch_snapshot(asked, asked.domain) == fetch_snapshot(chain, chain.domain)
    assert asked.name == "rpc-0"
    assert asked.evidence().aside == (f"rpc-1: {Fault.SILENT.value}",)


def test_one_that_shows_another_domain_does_not_take_its_place(chain: FakeChain) -> None:
    places = sources(chain, truth, elsewhere, down)
    asked = failover(chain, places)
    places[0].tell = down
    with pytest.raises(EndpointUnavailable, match="it is down"):
        fetch_block(asked, "latest")
    places[0].tell = truth
    assert fetch_block(asked, "latest") == chain.head
    assert asked.name == "rpc-0"


def test_one_alone_that_fails_is_asked_again(chain: FakeChain) -> None:
    (place,) = places = sources(chain, truth)
    asked = failover(chain, places)
    place.tell = down
    with pytest.raises(EndpointUnavailable, match="it is down"):
        fetch_block(asked, "latest")
    place.tell = truth
    assert fetch_block(asked, "latest") == chain.head


def test_a_question_that_is_refused_is_put_to_nobody_else(chain: FakeChain) -> None:
    places = sources(chain, truth, truth)
    asked = failover(chain, places)
    with pytest.raises(RpcError):
        asked.call("dpki_nothing")
    assert not places[1].asked
    assert asked.name == "rpc-0"


def test_none_answers(chain: FakeChain) -> None:
    with pytest.raises(ConfigError, match="no RPC endpoint"):
        failover(chain, [])
    with pytest.raises(EndpointUnavailable, match="it is down"):
        failover(chain, sources(chain, down, elsewhere))
    with pytest.raises(WrongDomain, match="no endpoint holds"):
        failover(chain, sources(chain, elsewhere, elsewhere))
    with pytest.raises(DomainNotShown):
        failover(chain, sources(FakeChain(salt=b"other"), truth))
