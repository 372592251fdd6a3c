"""Several endpoints: each is looked at, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from dpki.chain.rpc import Call
from dpki.chain.snapshot import fetch_snapshot
from dpki.doctor.finding import Finding, Level, exit_status
from dpki.doctor.network import ChainView, look_at_chain
from tests.fakes.chain import entries
from tests.fakes.proving import ProvingChain
from tests.relay import Relay, open_relay


@pytest.fixture
def chain() -> ProvingChain:
    chain = ProvingChain()
    chain.issue(chain.register(), entries(2))
    return chain


@pytest.fixture
def relays(chain: ProvingChain) -> Iterator[list[Relay]]:
    with ExitStack() as stack:
        yield [stack.enter_context(open_relay(chain)) for _ in range(3)]


def look(chain: ProvingChain, relays: list[Relay], quorum: int | None = None) -> ChainView:
    urls = [relay.url for relay in relays]
    return look_at_chain(urls, chain.domain.id, chain.head.time, quorum=quorum)


def about(view: ChainView, part: str) -> list[Finding]:
    return [finding for finding in view.findings if finding.part == part]


def test_that_they_agree_is_said(chain: ProvingChain, relays: list[Relay]) -> None:
    view = look(chain, relays)
    (quorum,) = about(view, "quorum")
    assert quorum.level is Level.OK
    assert quorum.said.startswith("proven: 2 of 3 endpoints agree")
    assert {finding.level for finding in view.findings} == {Level.OK}
    assert view.snapshot == fetch_snapshot(chain, chain.domain)


@pytest.mark.parametrize("count", [1, 2])
def test_that_one_is_trusted_is_said(chain: ProvingChain, relays: list[Relay], count: int) -> None:
    view = look(chain, relays[:count])
    (quorum,) = about(view, "quorum")
    assert (quorum.level, quorum.said) == (Level.OK, "trusting one endpoint")
    assert view.snapshot == fetch_snapshot(chain, chain.domain)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_shows_another_state_is_named(
    chain: ProvingChain, relays: list[Relay], place: int
) -> None:
    def lie(call: Call, answer: Any) -> Any:
        """Say that two serials more were issued."""
        if call.method == "eth_getStorageAt" and int(answer, 16):
            return f"0x{int(answer, 16) + (2 << 160):064x}"
        return answer

    relays[place].tell = lie
    view = look(chain, relays)
    problems = [f for f in about(view, "endpoint") if f.level is not Level.OK]
    assert [finding.where for finding in problems] == [relays[place].url]
    assert exit_status(view.findings) in (3, 5)
    assert view.snapshot == fetch_snapshot(chain, chain.domain)


def test_without_proofs_it_is_a_warning(chain: ProvingChain, relays: list[Relay]) -> None:
    def no_proof(call: Call, answer: Any) -> Any:
        return {} if call.method == "eth_getProof" else answer

    for relay in relays:
        relay.tell = no_proof
    (first, *_) = about(look(chain, relays), "quorum")
    assert first.level is Level.WARNING
    assert "reduced" in first.said


def test_one_that_is_gone_is_named_and_set_aside(chain: ProvingChain, relays: list[Relay]) -> None:
    relays[1].is_gone = True
    view = look(chain, relays)
    (agreed, aside) = about(view, "quorum")
    assert agreed.level is Level.OK
    assert aside.level is Level.WARNING
    assert relays[1].url in aside.said
    (gone,) = [f for f in about(view, "endpoint") if f.level is not Level.OK]
    assert (gone.where, gone.level) == (relays[1].url, Level.COULD_NOT_CHECK)


def test_too_few_that_agree_were_not_checked(chain: ProvingChain, relays: list[Relay]) -> None:
    relays[0].is_gone = relays[1].is_gone = True
    view = look(chain, relays)
    (quorum,) = about(view, "quorum")
    assert quorum.level is Level.COULD_NOT_CHECK
    assert view.snapshot is None
    assert exit_status(view.findings) == 5
