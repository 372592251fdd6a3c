"""Calls tried as the governor: in order, and on endpoints that can't do that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from eth_hash.auto import keccak

from dpki.chain.rpc import Call, RpcError
from dpki.council.trial import failure_of, try_calls
from dpki.errors import EndpointUnavailable, TransactionReverted
from dpki.model import Address
from dpki.transactions.governed import GovernanceCall
from tests.fakes.chain import FakeChain

DOMAIN = FakeChain().domain
GOVERNOR = Address(b"\x0c" * 20)
CALLS = [GovernanceCall(Address(bytes([n]) * 20), b"\1") for n in (1, 2)]
REVERT = "0x" + keccak(b"TrustDomainZeroGovernor()")[:4].hex()


class Endpoint:
    """Answers `eth_simulateV1` as told, and refuses an `eth_call` to the addresses given."""

    name = "a fake"

    def __init__(self, simulated: object, refusing: Sequence[Address] = ()) -> None:
        self.simulated = simulated
        self.refusing = [str(address) for address in refusing]
        self.asked: list[str] = []

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        self.asked.append(method)
        if method == "eth_chainId":
            return hex(DOMAIN.id.chain_id)
        if method == "eth_call":
            made = params[0]
            assert isinstance(made, dict)
            assert made["from"] == str(GOVERNOR)
            if made["to"] in self.refusing:
                raise RpcError(self.name, method, 3, "execution reverted", REVERT)
            return "0x"
        if isinstance(self.simulated, Exception):
            raise self.simulated
        return self.simulated

    def batch(self, calls: Sequence[Call]) -> list[object]:
        return [self.call(one.method, one.params) for one in calls]


def results(*statuses: str) -> object:
    return [{"calls": [{"status": s, "error": {"data": REVERT}} for s in statuses]}]


def test_all_go_well() -> None:
    try_calls(Endpoint(results("0x1", "0x1")), DOMAIN, GOVERNOR, CALLS)
    assert failure_of(Endpoint(results("0x1", "0x1")), DOMAIN, GOVERNOR, CALLS) is None


@pytest.mark.parametrize(("statuses", "number"), [(("0x0", "0x1"), 1), (("0x1", "0x0"), 2)])
def test_the_one_that_fails_is_named(statuses: tuple[str, ...], number: int) -> None:
    with pytest.raises(TransactionReverted, match=f"call {number} of the round would fail"):
        try_calls(Endpoint(results(*statuses)), DOMAIN, GOVERNOR, CALLS)


def test_one_call_needs_no_order() -> None:
    endpoint = Endpoint(AssertionError())
    try_calls(endpoint, DOMAIN, GOVERNOR, CALLS[:1])
    assert "eth_simulateV1" not in endpoint.asked
    told = failure_of(Endpoint(None, [CALLS[0].target]), DOMAIN, GOVERNOR, CALLS[:1])
    assert told == "the contract refused: TrustDomainZeroGovernor()"


def test_without_it_the_first_is_tried_alone() -> None:
    """What the second needs of the first can't be known: it is not called a failure."""
    unknown = RpcError("a fake", "eth_simulateV1", -32601, "method not found")
    try_calls(Endpoint(unknown, [CALLS[1].target]), DOMAIN, GOVERNOR, CALLS)
    with pytest.raises(TransactionReverted):
        try_calls(Endpoint(unknown, [CALLS[0].target]), DOMAIN, GOVERNOR, CALLS)


@pytest.mark.parametrize(
    "answer", [None, [], {}, [{"calls": None}], [{"calls": ["x"]}], results("0x1")]
)
def test_nonsense_is_no_yes(answer: object) -> None:
    with pytest.raises(EndpointUnavailable):
        try_calls(Endpoint(answer), DOMAIN, GOVERNOR, CALLS)
