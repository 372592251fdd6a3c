"""What admins decide from: agreed on, at one block, and never older than what they wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dpki.chain import agreed
from dpki.chain.agreed import AgreedReader, open_access, open_agreed, open_answering, verify_chain
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Fault
from dpki.chain.rpc import Call, RpcError, fetch_block
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import EndpointUnavailable, UsageError, WrongDomain
from dpki.model import Hash32
from tests.fakes.chain import entries
from tests.fakes.proving import ProvingChain, Source, Tell, sources, truth
from tests.relay import Relay, open_relay

TRANSACTION = Hash32(b"\x77" * 32)
LATEST = Call("eth_call", [{"to": "0x" + "11" * 20, "data": "0x"}, "latest"])


@pytest.fixture
def chain() -> ProvingChain:
    chain = ProvingChain()
    chain.issue(chain.register(), entries(2))
    return chain


def reader(places: list[Source], quorum: int = 2) -> AgreedReader:
    return AgreedReader(ProvenReader(panel(places, quorum)))


def panel(places: list[Source], quorum: int = 2) -> Panel[Source]:
    return Panel(places, quorum, 31337, patience=timedelta(seconds=10))


def saying(**answers: object) -> Tell:
    """Return an endpoint that answers these questions so, and the others truly."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        if call.method not in answers:
            return answer()
        told = answers[call.method]
        if isinstance(told, Exception):
            raise told
        return told

    return tell


def reverting(code: int, message: str) -> Tell:
    return saying(eth_call=RpcError("rpc", "eth_call", code, message))


def receipt(status: str = "0x1", **changed: object) -> Mapping[str, object]:
    fields: dict[str, object] = {
        "transactionHash": str(TRANSACTION),
        "blockHash": f"0x{'22' * 32}",
        "status": status,
        "effectiveGasPrice": "0x1",
    }
    return fields | changed


class TestNow:
    """What contracts say now is asked about the newest block that is agreed on."""

    def test_is_asked_by_that_block_s_hash(self, chain: ProvingChain) -> None:
        places = sources(chain, *[saying(eth_call="0x01", eth_getCode="0x02")] * 3)
        asked = reader(places)
        assert asked.call(LATEST.method, LATEST.params) == "0x01"
        assert asked.batch([LATEST, Call("eth_getCode", ["0x" + "11" * 20, "latest"])]) == [
            "0x01",
            "0x02",
        ]
        at = {"blockHash": str(chain.head.hash)}
        put = [
            c for place in places for c in place.asked if c.method in ("eth_call", "eth_getCode")
        ]
        assert put
        assert all(call.params[-1] == at for call in put)

    def test_one_block_for_what_is_asked_together(self, chain: ProvingChain) -> None:
        places = sources(chain, *[saying(eth_call="0x01")] * 2)
        asked = reader(places)
        for _ in range(3):
            asked.call(LATEST.method, LATEST.params)
        heads = [c for c in places[0].asked if c.method == "eth_getBlockByNumber"]
        assert len(heads) == 1

    def test_not_for_long(self, chain: ProvingChain, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agreed, "KEPT", -1.0)
        places = sources(chain, *[saying(eth_call="0x01")] * 2)
        asked = reader(places)
        asked.call(LATEST.method, LATEST.params)
        head = chain.mine()
        asked.call(LATEST.method, LATEST.params)
        last = [c for c in places[0].asked if c.method == "eth_call"][-1]
        assert last.params[-1] == {"blockHash": str(head.hash)}

    def test_other_blocks_stay(self, chain: ProvingChain) -> None:
        places = sources(chain, *[saying(eth_call="0x01")] * 2)
        at = {"blockHash": str(chain.head.hash)}
        assert reader(places).call("eth_call", [{}, at]) == "0x01"

    def test_a_state_is_read_and_proven(self, chain: ProvingChain) -> None:
        asked = reader(sources(chain, truth, truth))
        assert fetch_snapshot(asked, chain.domain) == fetch_snapshot(chain, chain.domain)

    def test_without_a_newest_block(self, chain: ProvingChain) -> None:
        asked = reader(sources(chain, *[saying(eth_getBlockByNumber=None)] * 2))
        with pytest.raises(EndpointUnavailable, match="no newest block"):
            asked.call(LATEST.method, LATEST.params)


class TestRefusals:
    """That a contract refuses is an answer, and agreed on like one."""

    @pytest.mark.parametrize(
        ("code", "message"),
        [(3, "no"), (-32000, "execution reverted"), (-32603, "EVM error InvalidFEOpcode")],
    )
    def test_enough_say_so(self, chain: ProvingChain, code: int, message: str) -> None:
        asked = panel(sources(chain, reverting(3, "execution reverted"), reverting(code, message)))
        with pytest.raises(RpcError) as caught:
            asked.call("eth_call", [{}, {}])
        assert caught.value.is_revert

    def test_one_that_invents_a_refusal_is_outvoted(self, chain: ProvingChain) -> None:
        honest = saying(eth_call="0x01")
        asked = panel(sources(chain, reverting(3, "no"), honest, honest))
        assert asked.call("eth_call", [{}, {}]) == "0x01"
        assert Fault.CONTRADICTS.value in str(asked.evidence(proven=False).aside)

    def test_one_that_invents_an_answer_is_outvoted(self, chain: ProvingChain) -> None:
        honest = reverting(3, "execution reverted")
        asked = panel(sources(chain, saying(eth_call="0x01"), honest, honest))
        with pytest.raises(RpcError):
            asked.call("eth_call", [{}, {}])

    def test_one_alone_does_not_do(self, chain: ProvingChain) -> None:
        down = saying(eth_call=EndpointUnavailable("down"))
        asked = panel(sources(chain, reverting(3, "no"), saying(eth_call="0x01"), down))
        with pytest.raises(EndpointUnavailable, match="contradict each other") as caught:
            asked.call("eth_call", [{}, {}])
        assert not isinstance(caught.value, RpcError)


class TestConfirm:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agreed, "WAIT", timedelta(seconds=0.2))

    def test_spelled_differently_it_is_the_same_receipt(self, chain: ProvingChain) -> None:
        one = saying(eth_getTransactionReceipt=receipt())
        other = saying(eth_getTransactionReceipt=receipt(effectiveGasPrice="0x2", type=None))
        reader(sources(chain, one, other)).confirm(TRANSACTION, chain.head)

    def test_what_is_read_afterwards_is_no_older(self, chain: ProvingChain) -> None:
        """Two endpoints have yet to see the block when the third has the receipt."""
        early, late = chain.head, chain.mine()
        waits = 3

        def behind(call: Call, answer: Callable[[], object]) -> object:
            nonlocal waits
            if call.method == "eth_getTransactionReceipt":
                return receipt()
            if call.method == "eth_getBlockByNumber" and call.params[0] == "latest" and waits > 0:
                waits -= 1
                return chain.show(early)
            return answer()

        asked = reader(sources(chain, saying(eth_getTransactionReceipt=receipt()), behind, behind))
        block = fetch_block(asked, "latest")
        assert block == early
        asked.confirm(TRANSACTION, late)
        assert fetch_block(asked, "latest") == late

    @pytest.mark.parametrize(
        "others",
        [
            saying(eth_getTransactionReceipt=None),
            saying(eth_getTransactionReceipt=receipt("0x0")),
            saying(eth_getTransactionReceipt=receipt(transactionHash=f"0x{'33' * 32}")),
            saying(eth_getTransactionReceipt=EndpointUnavailable("down")),
        ],
        ids=["unknown", "failed", "another's", "down"],
    )
    def test_one_endpoint_s_word_is_not_enough(self, chain: ProvingChain, others: Tell) -> None:
        liar = saying(eth_getTransactionReceipt=receipt())
        with pytest.raises(EndpointUnavailable, match="don't confirm it") as caught:
            reader(sources(chain, liar, others, others)).confirm(TRANSACTION, chain.head)
        assert str(TRANSACTION) in caught.value.message

    def test_a_block_that_never_comes(self, chain: ProvingChain) -> None:
        asked = reader(sources(chain, *[saying(eth_getTransactionReceipt=receipt())] * 2))
        head = chain.head
        with pytest.raises(EndpointUnavailable, match="don't have that block yet"):
            asked.confirm(TRANSACTION, replace(head, number=head.number + 1))


class TestConnections:
    """From URLs, through real sockets."""

    @pytest.fixture
    def relays(self, chain: ProvingChain) -> Any:
        with ExitStack() as stack:
            yield [stack.enter_context(open_relay(chain)) for _ in range(3)]

    def test_one_endpoint_reads_and_sends(self, chain: ProvingChain, relays: list[Relay]) -> None:
        urls = [relay.url for relay in relays[:2]]
        with open_access(urls, chain.domain.id) as access:
            assert access.sending() is access.reader
            assert access.confirm is None
            assert access.evidence().level == "trusted"

    def test_transactions_go_through_one_that_behaved(
        self, chain: ProvingChain, relays: list[Relay]
    ) -> None:
        relays[0].is_gone = True
        urls = [relay.url for relay in relays]
        with open_access(urls, chain.domain.id) as access:
            fetch_snapshot(access.reader, access.domain)
            assert access.sending().name == relays[1].url
            assert access.confirm is not None
            assert access.evidence().level == "proven"
            relays[1].is_gone = True
            assert access.sending().call("eth_chainId") == "0x7a69"
            assert access.sending().name == relays[2].url

    def test_one_is_trusted_and_nothing_is_agreed(self, relays: list[Relay]) -> None:
        with open_agreed([relays[0].url], 31337) as asked:
            assert asked is None

    def test_the_first_that_answers_and_serves_the_chain(self, relays: list[Relay]) -> None:
        relays[0].is_gone = True
        relays[1].tell = lambda call, answer: "0x1" if call.method == "eth_chainId" else answer
        with open_answering([relay.url for relay in relays], 31337) as endpoint:
            assert endpoint.name == relays[2].url
        with (
            pytest.raises(WrongDomain, match="serves chain 1"),
            open_answering([relays[1].url, relays[0].url], 31337),
        ):
            pass

    def test_which_chain_it_is_is_agreed_on(self, relays: list[Relay]) -> None:
        urls = [relay.url for relay in relays]
        relays[0].tell = lambda call, answer: "0x1" if call.method == "eth_chainId" else answer
        verify_chain(urls, 31337)
        verify_chain(urls[1:], 31337)
        with pytest.raises(WrongDomain):
            verify_chain(urls, 1)
        with pytest.raises(WrongDomain):
            verify_chain(urls[:1], 31337)
        with pytest.raises(UsageError, match="only 3"):
            verify_chain(urls, 31337, 4)
