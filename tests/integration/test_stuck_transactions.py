"""Transactions that don't simply go through, on a real Anvil that mines when it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import Anvil
from dpki.errors import TransactionFailed
from dpki.model import Address
from dpki.transactions import flight
from dpki.transactions.account import Receipt
from dpki.transactions.fees import MAXIMUM_FEE
from dpki.transactions.writer import DomainWriter
from tests.domains import Deployed, deploy

WALLET = development_wallet(0, chain_id=31337)
PATIENCE = timedelta(milliseconds=150)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with Anvil(tmp_path_factory.mktemp("anvil")) as anvil, Endpoint(anvil.url) as endpoint:
        yield deploy(anvil, endpoint)


@pytest.fixture
def chain(deployed: Deployed) -> Iterator[Deployed]:
    """The chain mines nothing until it is told to; afterwards it does again."""
    deployed.endpoint.call("evm_setAutomine", [False])
    yield deployed
    deployed.endpoint.call("evm_setAutomine", [True])
    deployed.endpoint.call("anvil_dropAllTransactions")


class Sending:
    """`setGuardian` on its way, in a thread with an endpoint of its own."""

    def __init__(self, chain: Deployed, **options: Any) -> None:
        self.chain = chain
        self.pool = ThreadPoolExecutor(1)
        self.result: Future[Receipt] = self.pool.submit(self.send, options)

    def send(self, options: dict[str, Any]) -> Receipt:
        with Endpoint(self.chain.node.url) as endpoint:
            guardian = options.pop("guardian", Address(b"\x0a" * 20))
            options = {"patience": PATIENCE, "wait": timedelta(seconds=20), **options}
            writer = DomainWriter(endpoint, self.chain.domain, WALLET, **options)
            return writer.set_guardian(guardian)

    def waiting(self) -> dict[str, Any] | None:
        """Return the account's transaction in the node's pool."""
        pool: Any = self.chain.endpoint.call("txpool_content")
        mine = {a.lower(): sent for a, sent in pool["pending"].items()}
        return next(iter(mine.get(str(WALLET.address).lower(), {}).values()), None)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the waiting transaction is so, and return it."""
        for _ in range(1000):
            found = self.waiting()
            if found is not None and condition(found):
                return found
            if self.result.done():
                self.result.result()
            time.sleep(0.01)
        raise AssertionError("it never came to that")

    def mine(self) -> None:
        self.chain.endpoint.call("evm_mine")


def fees(transaction: dict[str, Any]) -> tuple[int, int]:
    return int(transaction["maxFeePerGas"], 16), int(transaction["maxPriorityFeePerGas"], 16)


def nonce(chain: Deployed) -> int:
    answer = chain.endpoint.call("eth_getTransactionCount", [str(WALLET.address), "latest"])
    return int(str(answer), 16)


def test_a_stuck_one_is_replaced_for_an_eighth_more_and_takes_effect_once(chain: Deployed) -> None:
    before = nonce(chain)
    sending = Sending(chain)
    first = sending.until(lambda _: True)
    second = sending.until(lambda found: found["hash"] != first["hash"])
    assert second["nonce"] == first["nonce"]
    assert second["input"] == first["input"]
    for old, new in zip(fees(first), fees(second), strict=True):
        assert new * 8 >= old * 9
    sending.mine()
    receipt = sending.result.result(20)
    assert receipt.gas_used > 0
    assert receipt.balance is not None
    assert nonce(chain) == before + 1


def test_never_beyond_the_highest_fee(chain: Deployed) -> None:
    gas_and_fees = DomainWriter(chain.endpoint, chain.domain, WALLET).rehearsal()
    cost = gas_and_fees.set_guardian(Address(b"\x0a" * 20)).fee
    sending = Sending(chain, maximum_fee=cost * 11 // 10, wait=timedelta(seconds=1))
    first = sending.until(lambda _: True)
    with pytest.raises(TransactionFailed, match="could not be raised within") as caught:
        sending.result.result(20)
    assert "--max-fee" in caught.value.hint
    assert first["hash"] in caught.value.message
    assert cost < MAXIMUM_FEE


def test_one_that_the_node_lost_is_sent_again(chain: Deployed) -> None:
    sending = Sending(chain)
    lost = sending.until(lambda _: True)
    chain.endpoint.call("anvil_dropAllTransactions")
    sending.until(lambda found: found["nonce"] == lost["nonce"])
    sending.mine()
    sending.result.result(20)


def test_a_reorg_under_it_is_waited_out(chain: Deployed) -> None:
    before = nonce(chain)
    snapshot = chain.endpoint.call("evm_snapshot")
    sending = Sending(chain, confirmations=3)
    first = sending.until(lambda _: True)
    sending.mine()
    assert nonce(chain) == before + 1
    chain.endpoint.call("evm_revert", [snapshot])
    assert nonce(chain) == before
    # The same bytes: Anvil has forgotten them, as a node may after a reorg.
    again = sending.until(lambda _: True)
    assert again["nonce"] == first["nonce"]
    for _ in range(3):
        sending.mine()
    receipt = sending.result.result(20)
    assert nonce(chain) == before + 1
    assert fetch_snapshot(chain.endpoint, chain.domain).block.number >= receipt.block.number + 2


def test_one_that_another_took_the_place_of(
    chain: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "_SETTLE", timedelta(milliseconds=100))
    sending = Sending(chain, patience=timedelta(seconds=20))
    mine = sending.until(lambda _: True)
    other = {
        "from": str(WALLET.address),
        "to": str(WALLET.address),
        "nonce": mine["nonce"],
        "maxFeePerGas": hex(3 * fees(mine)[0]),
        "maxPriorityFeePerGas": hex(3 * fees(mine)[1] + 1),
    }
    chain.endpoint.call("eth_sendTransaction", [other])
    sending.mine()
    with pytest.raises(TransactionFailed, match="was replaced: another one of account") as caught:
        sending.result.result(20)
    assert caught.value.exit_status == 1
    assert mine["hash"] in caught.value.message


def test_two_processes_with_one_account_both_get_through(deployed: Deployed) -> None:
    before = nonce(deployed)
    both = [Sending(deployed, guardian=Address(bytes([n]) * 20)) for n in (1, 2)]
    assert len({sending.result.result(20).transaction_hash for sending in both}) == 2
    assert nonce(deployed) == before + 2
