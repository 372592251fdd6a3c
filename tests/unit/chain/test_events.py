from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dpki.chain import events, logs, merkle
from dpki.chain.events import (
    Batch,
    batch_path,
    batch_tree,
    fetch_batches,
    fetch_issued,
    verify_batch,
)
from dpki.chain.rpc import RpcError
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import CheckedFalse, CouldNotCheck, EndpointUnavailable, UsageError
from dpki.model import Address, AuthorityId, Hash32
from tests.fakes.chain import FakeChain, entries

DEVICE = Address(b"\xdd" * 20)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def ca(chain: FakeChain) -> AuthorityId:
    return chain.register()


def all_batches(chain: FakeChain, **choice: Any) -> tuple[Batch, ...]:
    return fetch_batches(chain, chain.domain, 0, chain.head.number, **choice)


def lying_about_logs(change: Callable[[list[Any]], object]) -> Callable[..., object]:
    def lie(method: str, params: Sequence[object], honest: object) -> object:
        if method != "eth_getLogs":
            return honest
        assert isinstance(honest, list)
        return change(honest)

    return lie


class TestIssued:
    def test_by_authority_device_and_serial(self, chain: FakeChain, ca: AuthorityId) -> None:
        other = chain.register(b"o" * 44)
        chain.issue(ca, entries(3))
        chain.issue(other, entries(2, DEVICE, tag=1))
        chain.issue(ca, entries(2, DEVICE, tag=2))

        def found(**choice: Any) -> list[tuple[AuthorityId, int]]:
            result = fetch_issued(chain, chain.domain, 0, chain.head.number, **choice)
            return [(event.ca, event.serial) for event in result]

        assert found() == [(ca, 1), (ca, 2), (ca, 3), (other, 1), (other, 2), (ca, 4), (ca, 5)]
        assert found(device=DEVICE) == [(other, 1), (other, 2), (ca, 4), (ca, 5)]
        assert found(ca=ca, serial=5) == [(ca, 5)]
        assert found(ca=ca, serial=9) == []

    def test_carries_the_entry_and_its_block(self, chain: FakeChain, ca: AuthorityId) -> None:
        (entry,) = entries(1, DEVICE)
        chain.issue(ca, [entry])
        (event,) = fetch_issued(chain, chain.domain, 0, chain.head.number)
        assert event.entry == entry
        assert (event.block_number, event.block_hash) == (chain.head.number, chain.head.hash)

    def test_only_in_the_blocks_asked_for(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.issue(ca, entries(1))
        block = chain.head.number
        chain.issue(ca, entries(1, tag=1))
        assert len(fetch_issued(chain, chain.domain, block, block)) == 1
        assert fetch_issued(chain, chain.domain, block + 1, block) == ()

    @pytest.mark.parametrize("choice", ["ca", "device", "serial"])
    def test_events_that_were_not_asked_for(
        self, chain: FakeChain, ca: AuthorityId, choice: str
    ) -> None:
        chain.issue(ca, entries(1))
        honest = chain._eth_getLogs(
            {
                "address": str(chain.domain.certificates),
                "topics": [str(events.CERTIFICATE_ISSUED)],
                "fromBlock": "0x0",
                "toBlock": "0xff",
            }
        )
        chain.lie = lying_about_logs(lambda _: honest)
        wanted: dict[str, Any] = {"ca": AuthorityId(b"\x01" * 32), "device": DEVICE, "serial": 7}
        with pytest.raises(EndpointUnavailable, match="not asked for"):
            fetch_issued(chain, chain.domain, 0, chain.head.number, **{choice: wanted[choice]})


class TestBatches:
    def test_complete_and_verified(self, chain: FakeChain, ca: AuthorityId) -> None:
        sizes, first = [1, 3, 10], 1
        for tag, size in enumerate(sizes):
            chain.issue(ca, entries(size, tag=tag))
        found = all_batches(chain)
        snapshot = fetch_snapshot(
            chain, chain.domain, batches=[(ca, b.first_serial) for b in found]
        )
        for tag, (size, batch) in enumerate(zip(sizes, found, strict=True)):
            assert (batch.first_serial, batch.last_serial) == (first, first + size - 1)
            assert batch.entries == tuple(entries(size, tag=tag))
            assert batch.root == batch_tree(batch, chain.domain).root
            assert verify_batch(batch, snapshot) is batch
            first += size

    def test_of_one_authority(self, chain: FakeChain, ca: AuthorityId) -> None:
        other = chain.register(b"o" * 44)
        chain.issue(ca, entries(2))
        chain.issue(other, entries(3, tag=1))
        assert [b.ca for b in all_batches(chain, ca=other)] == [other]

    def test_paths_lead_to_the_root(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.issue(ca, entries(1))
        chain.issue(ca, entries(7))
        batch = all_batches(chain)[1]
        context = merkle.leaf_context(31337, chain.domain.certificates, ca)
        for serial in range(2, 9):
            leaf = merkle.leaf(context, serial, batch.entry(serial))
            path = batch_path(batch, chain.domain, serial)
            assert merkle.verify_path(leaf, serial, path) == batch.root

    @pytest.mark.parametrize("serial", [0, 1, 5])
    def test_a_serial_beyond_it(self, chain: FakeChain, ca: AuthorityId, serial: int) -> None:
        chain.issue(ca, entries(1))
        chain.issue(ca, entries(3))
        batch = all_batches(chain)[1]
        assert not batch.holds(serial)
        with pytest.raises(UsageError):
            batch_path(batch, chain.domain, serial)

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda logs: logs[1:], id="a certificate is missing"),
            pytest.param(lambda logs: logs[:-1], id="the batch is missing"),
            pytest.param(lambda logs: [logs[0], *logs], id="one comes twice"),
            pytest.param(lambda logs: [logs[1], logs[0], *logs[2:]], id="out of order"),
            pytest.param(lambda logs: [{**logs[0], "removed": True}, *logs[1:]], id="removed"),
            pytest.param(
                lambda logs: [{**logs[0], "address": "0x" + "77" * 20}, *logs[1:]],
                id="of another contract",
            ),
            pytest.param(
                lambda logs: [{**logs[0], "blockNumber": "0xffff"}, *logs[1:]], id="out of range"
            ),
            pytest.param(
                lambda logs: [{**logs[0], "blockHash": "0x" + "77" * 32}, *logs[1:]],
                id="of another block",
            ),
            pytest.param(lambda logs: [{**logs[0], "data": "0x00"}, *logs[1:]], id="short data"),
            pytest.param(
                lambda logs: [{**logs[0], "data": "0x" + "ff" * 96}, *logs[1:]], id="absurd time"
            ),
            pytest.param(
                lambda logs: [{**logs[0], "topics": logs[0]["topics"][:3]}], id="few topics"
            ),
            pytest.param(
                lambda logs: [{**logs[-1], "data": "0x" + "00" * 64}], id="of no certificate"
            ),
            pytest.param(
                lambda logs: [{**logs[-1], "data": "0x" + "ff" * 64}], id="of too many certificates"
            ),
            pytest.param(lambda logs: [{**logs[0], "topics": "x"}], id="topics are no list"),
            pytest.param(lambda logs: [None], id="no object"),
            pytest.param(lambda logs: None, id="no list"),
        ],
    )
    def test_incomplete_or_malformed_events(
        self, chain: FakeChain, ca: AuthorityId, damage: Callable[[list[Any]], object]
    ) -> None:
        chain.issue(ca, entries(3))
        chain.lie = lying_about_logs(damage)
        with pytest.raises(EndpointUnavailable):
            all_batches(chain)


class TestVerifyBatch:
    def test_against_a_snapshot_without_it(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.issue(ca, entries(1))
        (batch,) = all_batches(chain)
        with pytest.raises(CouldNotCheck, match="does not hold the batch"):
            verify_batch(batch, fetch_snapshot(chain, chain.domain))

    def test_that_was_never_anchored(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.issue(ca, entries(2))
        (batch,) = all_batches(chain)
        invented = replace(batch, first_serial=2)
        with pytest.raises(CheckedFalse, match="no batch starts at serial 2"):
            verify_batch(invented, fetch_snapshot(chain, chain.domain, batches=[(ca, 2)]))

    @pytest.mark.parametrize(
        "forge",
        [
            lambda e: replace(e, certificate_hash=Hash32(b"\x66" * 32)),
            lambda e: replace(e, device=DEVICE),
            lambda e: replace(e, not_after=e.not_after + timedelta(days=1)),
        ],
    )
    def test_whose_events_were_forged(self, chain: FakeChain, ca: AuthorityId, forge: Any) -> None:
        chain.issue(ca, entries(5))
        (batch,) = all_batches(chain)
        snapshot = fetch_snapshot(chain, chain.domain, batches=[(ca, 1)])
        forged = replace(batch, entries=(*batch.entries[:4], forge(batch.entries[4])))
        # The root that the event claims is of no use to a forger: it is recomputed.
        for claimed in (batch.root, batch_tree(forged, chain.domain).root):
            with pytest.raises(CouldNotCheck, match="not the ones that the chain committed to"):
                verify_batch(replace(forged, root=claimed), snapshot)

    def test_with_an_entry_cut_off(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.issue(ca, entries(4))
        (batch,) = all_batches(chain)
        snapshot = fetch_snapshot(chain, chain.domain, batches=[(ca, 1)])
        with pytest.raises(CouldNotCheck):
            verify_batch(replace(batch, count=3, entries=batch.entries[:3]), snapshot)


class TestRanges:
    def test_are_at_most_10_000_blocks(self, chain: FakeChain, ca: AuthorityId) -> None:
        chain.asked.clear()
        fetch_issued(chain, chain.domain, 0, 25_000)
        spans = [query_span(call.params) for call in chain.asked]
        start = chain.domain.block.number
        assert spans == [
            (start, start + 9_999),
            (start + 10_000, start + 19_999),
            (start + 20_000, 25_000),
        ]

    def test_are_made_smaller_where_the_endpoint_refuses(
        self, chain: FakeChain, ca: AuthorityId
    ) -> None:
        for tag in range(3):
            chain.issue(ca, entries(2, tag=tag))

        def lie(method: str, params: Sequence[object], honest: object) -> object:
            start, end = query_span(params)
            if end - start >= 700:
                raise RpcError("fake", method, -32005, "query returned more than 10000 results")
            return honest

        chain.lie = lie
        assert len(fetch_issued(chain, chain.domain, 0, 30_000)) == 6

    def test_a_refusal_of_a_single_block_is_the_answer(self, chain: FakeChain) -> None:
        def lie(method: str, params: Sequence[object], honest: object) -> object:
            raise RpcError("fake", method, -32000, "pruned")

        chain.lie = lie
        with pytest.raises(RpcError, match="pruned"):
            fetch_issued(chain, chain.domain, 0, 30_000)
        assert len(chain.asked) < 20

    def test_a_search_ends(self, chain: FakeChain, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs, "SEARCH", timedelta(0))
        with pytest.raises(EndpointUnavailable, match="did not finish the search"):
            fetch_issued(chain, chain.domain, 0, 30_000)


def query_span(params: Sequence[object]) -> tuple[int, int]:
    (query,) = params
    assert isinstance(query, dict)
    return int(query["fromBlock"], 16), int(query["toBlock"], 16)
