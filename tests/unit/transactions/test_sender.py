"""One transaction on a chain in memory that takes, delays, refuses or loses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_hash.auto import keccak

from dpki.chain.rpc import Call, RpcError
from dpki.errors import (
    DpkiError,
    EndpointUnavailable,
    TransactionFailed,
    TransactionForbidden,
    TransactionReverted,
    WrongDomain,
)
from dpki.files import state_folder
from dpki.locks import Turn
from dpki.model import Address
from dpki.transactions.fees import Fees
from dpki.transactions.flight import Rehearsal
from dpki.transactions.layer import ORACLE
from dpki.transactions.outbox import Outbox, Sent
from dpki.transactions.sender import Sender
from dpki.transactions.wallet import Wallet
from tests.fakes.chain import FakeChain
from tests.faults import refusing


@pytest.fixture(autouse=True)
def fresh_outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


TO = Address(b"\x03" * 20)
WALLET = Wallet.from_key(b"\x01" * 32)
GWEI = 10**9
FORBIDDEN = (
    "0x"
    + keccak(b"CertificateRegistryUnauthorized(address)")[:4].hex()
    + "00" * 12
    + WALLET.address.hex()
)


class Node(FakeChain):
    """Takes transactions: each is mined at once unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.balance = 10**18
        self.status = 1
        self.withheld = 0
        self.sent: list[dict[str, Any]] = []
        self.receipts: dict[str, dict[str, Any]] = {}
        self.fail: dict[str, Exception] = {}

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        self.asked.append(Call(method, params))
        if method in self.fail:
            raise self.fail[method]
        return getattr(self, f"_{method}")(*params)

    def _eth_getCode(self, address: str, block: str) -> str:  # noqa: N802
        return "0x6001" if address == str(TO) else "0x"

    def _eth_call(self, call: dict[str, Any], block: str) -> str:
        return "0x"

    def _eth_estimateGas(self, call: dict[str, Any]) -> str:  # noqa: N802
        return hex(100_000)

    def _eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(GWEI)

    def _eth_getBlockByNumber(self, which: str, full: bool) -> Any:  # noqa: N802
        return {**super()._eth_getBlockByNumber(which, full), "baseFeePerGas": hex(10 * GWEI)}  # type: ignore[dict-item]

    def _eth_getBalance(self, address: str, block: str) -> str:  # noqa: N802
        return hex(self.balance)

    def _eth_getTransactionCount(self, address: str, block: str) -> str:  # noqa: N802
        return hex(len(self.sent) + 5 if block == "pending" else len(self.receipts) + 5)

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        self.take(raw)
        return "0x"

    def take(self, raw: str) -> None:
        block = self.mine()
        digest = f"0x{keccak(bytes.fromhex(raw[2:])).hex()}"
        self.sent.append({"raw": raw, "from": Account.recover_transaction(raw)})
        self.receipts[digest] = {
            "transactionHash": digest,
            "blockHash": str(block.hash),
            "status": hex(self.status),
            "gasUsed": hex(80_000),
            "effectiveGasPrice": hex(11 * GWEI),
            "contractAddress": None,
        }

    def _eth_getTransactionBySenderAndNonce(self, account: str, nonce: str) -> object:  # noqa: N802
        raise refusal(-32601, "method not found")

    def _eth_getTransactionByHash(self, digest: str) -> object:  # noqa: N802
        return {} if digest in self.receipts else None

    def _eth_getTransactionReceipt(self, digest: str) -> object:  # noqa: N802
        if self.withheld:
            self.withheld -= 1
            self.mine()
            return None
        return self.receipts.get(digest)


def sender(node: Node, **options: Any) -> Sender:
    return Sender(node, WALLET, 31337, **{"wait": timedelta(seconds=20), **options})


def refusal(code: int, message: str, data: object = None) -> RpcError:
    return RpcError("fake", "?", code, message, data)


def fees_of(raw: str) -> tuple[int, int]:
    from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    signed = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return signed["maxPriorityFeePerGas"], signed["maxFeePerGas"]


def test_sends_and_reports() -> None:
    node = Node()
    receipt = sender(node).send(TO, b"\x01\x02")
    assert (receipt.gas_used, receipt.fee) == (80_000, 80_000 * 11 * GWEI)
    assert receipt.block == node.head
    assert node.sent[0]["from"] == str(WALLET.address)


def test_the_transaction_says_what_was_simulated() -> None:
    node = Node()
    sender(node).send(TO, b"\x01\x02")
    from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    signed = TypedTransaction.from_bytes(HexBytes(node.sent[0]["raw"])).as_dict()
    assert signed["chainId"] == 31337
    assert signed["nonce"] == 5
    assert signed["gas"] == 120_000
    assert signed["maxPriorityFeePerGas"] == GWEI
    assert signed["maxFeePerGas"] == 21 * GWEI
    assert (bytes(signed["to"]), signed["value"], bytes(signed["data"])) == (
        bytes(TO),
        0,
        b"\x01\x02",
    )


def test_a_rehearsal_sends_nothing() -> None:
    node = Node()
    assert sender(node).rehearse(TO, b"") == Rehearsal(120_000, 120_000 * 21 * GWEI)
    assert node.sent == []


def test_the_layer_below_is_part_of_the_fee() -> None:
    node = Node()
    original = node._eth_getTransactionReceipt

    def with_l1_fee(digest: str) -> Any:
        found = original(digest)
        return found and {**found, "l1Fee": hex(12345)}  # type: ignore[dict-item]

    node._eth_getTransactionReceipt = with_l1_fee  # type: ignore[method-assign]
    assert sender(node).send(TO, b"").fee == 80_000 * 11 * GWEI + 12345


class Rollup(Node):
    """A chain of the OP stack, that takes a thousandth of an ether for the layer below."""

    below = 10**15
    knows_upper_bound = True

    def _eth_getCode(self, address: str, block: str) -> str:  # noqa: N802
        return "0x6001" if address == str(ORACLE) else super()._eth_getCode(address, block)

    def _eth_call(self, call: dict[str, Any], block: str) -> str:
        if call.get("to") != str(ORACLE):
            return super()._eth_call(call, block)
        if call["data"].startswith("0xf1c7a58b"):
            if not self.knows_upper_bound:
                raise refusal(3, "execution reverted")
        else:
            # getL1Fee(bytes): offset, length, and bytes as expensive as they get
            assert call["data"].startswith("0x49948e0e")
            words = bytes.fromhex(call["data"][10:])
            size = int.from_bytes(words[32:64])
            assert words[:32] == (32).to_bytes(32)
            assert words[64 : 64 + size] == b"\xff" * size
            assert len(words) % 32 == 0
        return f"0x{self.below:064x}"


class TestTheLayerBelow:
    L2 = 120_000 * 21 * GWEI

    @pytest.mark.parametrize("knows_upper_bound", [True, False])
    def test_counts_with_a_quarter_in_reserve(self, knows_upper_bound: bool) -> None:
        node = Rollup()
        node.knows_upper_bound = knows_upper_bound
        below = 10**15 * 5 // 4
        assert sender(node).rehearse(TO, b"") == Rehearsal(120_000, self.L2 + below, below)

    def test_counts_in_the_limit(self) -> None:
        assert sender(Rollup(), maximum_fee=self.L2 + 125 * 10**13).rehearse(TO, b"")
        node = Rollup()
        with pytest.raises(TransactionFailed, match=r"could cost 0\.00377 ETH, and the limit is"):
            sender(node, maximum_fee=self.L2 + 124 * 10**13).send(TO, b"")
        assert node.sent == []

    def test_counts_in_what_the_account_must_have(self) -> None:
        node = Rollup()
        node.balance = self.L2 + 124 * 10**13
        with pytest.raises(TransactionFailed, match=r"needs up to 0\.00377 ETH"):
            sender(node).send(TO, b"")
        assert node.sent == []

    def test_an_oracle_that_does_not_answer_is_no_free_chain(self) -> None:
        node = Rollup()
        node.fail["eth_getCode"] = EndpointUnavailable("fake: gone")
        with pytest.raises(EndpointUnavailable):
            sender(node).rehearse(None, b"")

    def test_grows_with_the_transaction(self) -> None:
        """What the oracle is asked for is the unsigned transaction's size."""
        node, asked = Rollup(), list[int]()
        original = node._eth_call

        def listen(call: dict[str, Any], block: str) -> str:
            if call.get("to") == str(ORACLE):
                asked.append(int(call["data"][10:], 16))
            return original(call, block)

        node._eth_call = listen  # type: ignore[method-assign]
        sender(node).send(TO, b"\x01" * 5000)
        unsigned = (len(node.sent[0]["raw"]) - 2) // 2 - 67
        assert unsigned <= asked[0] <= unsigned + 6


class TestWhatWasSent:
    """Is written down before it is sent, and forgotten once it is in a block."""

    def box(self) -> Outbox:
        return Outbox(31337, WALLET.address)

    def test_is_recorded_while_it_waits_and_no_longer(self) -> None:
        node, seen = Node(), list[tuple[Sent, ...]]()
        original = node._eth_sendRawTransaction

        def look(raw: str) -> str:
            seen.append(self.box().load())
            return original(raw)

        node._eth_sendRawTransaction = look  # type: ignore[method-assign]
        sender(node, turn=Turn("dpki ssh issue")).send(TO, b"\x01")
        ((sent,),) = seen
        assert (sent.nonce, sent.doing) == (5, "dpki ssh issue")
        assert f"0x{sent.raw.hex()}" == node.sent[0]["raw"]
        assert self.box().load() == ()

    def test_stays_where_nobody_knows_whether_it_arrived(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = EndpointUnavailable("fake: gone")
        with pytest.raises(EndpointUnavailable):
            sender(node).send(TO, b"\x01")
        (stuck,) = sender(node).find_stuck()
        assert (stuck.nonce, stuck.is_at_node) == (5, False)
        assert stuck.call is not None
        assert (stuck.call["to"], stuck.call["data"]) == (str(TO), "0x01")
        del node.fail["eth_sendRawTransaction"]
        assert sender(node).replace(stuck, again=True).gas_used == 80_000
        assert self.box().load() == ()

    def test_was_refused_and_is_none(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = refusal(-32000, "intrinsic gas too low")
        with pytest.raises(TransactionFailed):
            sender(node).send(TO, b"")
        assert self.box().load() == ()

    def test_is_not_sent_where_it_can_not_be_recorded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dpki").write_text("in the way")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        node = Node()
        with pytest.raises(DpkiError, match="could not write") as caught:
            sender(node).send(TO, b"")
        assert "XDG_STATE_HOME" in caught.value.hint
        assert node.sent == []

    def test_is_sent_where_there_is_room_for_the_lock_alone(self, tmp_path: Path) -> None:
        """A revocation must not wait for room on a disk."""
        sender(Node()).send(TO, b"")
        node = Node()
        with refusing(1, tmp_path) as refusal:
            sender(node).send(TO, b"")
        assert refusal.happened
        assert len(node.sent) == 1
        assert self.box().load() == ()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"{",
            b'{"version": 2, "sent": []}',
            b'{"version": 1, "sent": [{"nonce": 5}]}',
        ],
    )
    def test_a_damaged_record_says_nothing(self, content: bytes) -> None:
        with self.box().hold(Turn()):
            pass
        file = next(state_folder("wallets").glob("31337-*.lock")).with_suffix(".json")
        file.write_bytes(content)
        assert self.box().load() == ()
        assert sender(Node()).send(TO, b"").gas_used == 80_000

    def test_more_than_can_be_true(self) -> None:
        node = Node()
        node._eth_getTransactionCount = lambda _, b: hex(10**6 if b == "pending" else 5)  # type: ignore[method-assign]
        with pytest.raises(TransactionFailed, match="are said to wait"):
            sender(node).find_stuck()

    def test_what_nobody_knows_can_be_ended_and_not_repeated(self) -> None:
        node = Node()
        node._eth_getTransactionCount = lambda _, b: hex(6 if b == "pending" else 5)  # type: ignore[method-assign]
        (stuck,) = sender(node).find_stuck()
        assert stuck.call is None
        with pytest.raises(TransactionFailed, match="nobody here knows"):
            sender(node).replace(stuck, again=True)
        assert node.sent == []
        assert sender(node).replace(stuck, again=False).gas_used == 80_000

    @pytest.mark.parametrize(
        "change",
        [{"from": str(TO)}, {"hash": None}, {"to": "0x01"}, {"gas": -1}, {"value": "x"}],
    )
    def test_a_node_that_tells_nonsense_of_it(self, change: dict[str, object]) -> None:
        node = Node()
        fields = {
            "from": str(WALLET.address),
            "hash": "0x" + "11" * 32,
            "to": str(TO),
            "gas": "0x5208",
            "value": "0x0",
            "input": "0x",
            "nonce": "0x5",
            "gasPrice": "0x7",
        }
        node._eth_getTransactionCount = lambda _, b: hex(6 if b == "pending" else 5)  # type: ignore[method-assign]
        node._eth_getTransactionBySenderAndNonce = lambda *_: fields  # type: ignore[method-assign]
        (stuck,) = sender(node).find_stuck()
        assert stuck.fees == Fees(7, 7)
        fields |= change  # type: ignore[arg-type]
        with pytest.raises(EndpointUnavailable, match="nonsense"):
            sender(node).find_stuck()


@pytest.mark.parametrize("act", [Sender.send, Sender.rehearse])
class TestNothingIsSent:
    def test_to_another_chain(self, act: Callable[..., object]) -> None:
        node = Node()
        with pytest.raises(WrongDomain, match="serves chain 31337"):
            act(Sender(node, WALLET, 1135), TO, b"")
        assert node.sent == []

    def test_to_an_address_without_contract(self, act: Callable[..., object]) -> None:
        node = Node()
        with pytest.raises(WrongDomain, match="no contract at"):
            act(sender(node), Address(b"\x09" * 20), b"")
        assert node.sent == []

    def test_that_the_contract_refuses(self, act: Callable[..., object]) -> None:
        node = Node()
        node.fail["eth_call"] = refusal(3, "execution reverted", FORBIDDEN)
        with pytest.raises(TransactionForbidden, match="CertificateRegistryUnauthorized") as caught:
            act(sender(node), TO, b"")
        assert caught.value.values == {"caller": str(WALLET.address)}
        assert node.sent == []

    def test_that_the_estimate_refuses(self, act: Callable[..., object]) -> None:
        node = Node()
        node.fail["eth_estimateGas"] = refusal(-32000, "execution reverted: no", None)
        with pytest.raises(TransactionReverted):
            act(sender(node), TO, b"")
        assert node.sent == []

    def test_that_can_not_be_paid(self, act: Callable[..., object]) -> None:
        node = Node()
        node.balance = 2 * 10**15
        with pytest.raises(TransactionFailed) as caught:
            act(sender(node), TO, b"")
        assert "has 0.002 ETH and needs up to 0.00252 ETH" in caught.value.message
        assert str(WALLET.address) in caught.value.message
        assert node.sent == []

    def test_at_an_absurd_price(self, act: Callable[..., object]) -> None:
        node = Node()
        with pytest.raises(
            TransactionFailed, match=r"could cost 0\.00252 ETH, and the limit is 0\.0025 ETH"
        ):
            act(sender(node, maximum_fee=25 * 10**14), TO, b"")
        assert node.sent == []

    @pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
    def test_that_the_node_would_not_take(self, act: Callable[..., object], method: str) -> None:
        node = Node()
        node.fail[method] = refusal(-32000, "insufficient funds for transfer")
        with pytest.raises(TransactionFailed, match="insufficient funds") as caught:
            act(sender(node), TO, b"")
        assert not isinstance(caught.value, TransactionReverted)
        assert "currency" in caught.value.hint


def test_the_gas_limit_cuts_the_reserve_and_no_more() -> None:
    node = Node()
    assert sender(node, maximum_gas=110_000).rehearse(TO, b"").gas == 110_000
    assert sender(node, maximum_gas=500_000).rehearse(TO, b"").gas == 120_000
    with pytest.raises(TransactionFailed, match="needs 100,000 gas, and the limit is 99,999"):
        sender(node, maximum_gas=99_999).send(TO, b"")
    assert node.sent == []


def test_a_node_that_knows_no_priority_fee() -> None:
    node = Node()
    node.fail["eth_maxPriorityFeePerGas"] = refusal(-32601, "method not found")
    assert sender(node).rehearse(TO, b"").fee == 120_000 * 20 * GWEI


class TestAfterSending:
    def test_waits_for_the_block(self) -> None:
        node = Node()
        node.withheld = 3
        assert sender(node).send(TO, b"").gas_used == 80_000

    def test_waits_for_confirmations(self) -> None:
        node = Node()
        original = node._eth_blockNumber

        def mine_and_tell() -> str:
            node.mine()
            return original()

        node._eth_blockNumber = mine_and_tell  # type: ignore[method-assign]
        receipt = sender(node, confirmations=4).send(TO, b"")
        assert node.head.number - receipt.block.number + 1 >= 4

    def test_gives_up_in_time_and_names_the_transaction(self) -> None:
        node = Node()
        node.withheld = 10**9
        with pytest.raises(
            TransactionFailed, match=r"transaction 0x[0-9a-f]{64} is in no confirmed block"
        ):
            sender(node, wait=timedelta(milliseconds=40)).send(TO, b"")

    def test_a_delivery_that_was_repeated_is_no_failure(self) -> None:
        node = Node()

        def take_and_refuse(raw: str) -> str:
            node.take(raw)
            raise refusal(-32000, "already known")

        node._eth_sendRawTransaction = take_and_refuse  # type: ignore[method-assign]
        assert sender(node).send(TO, b"").gas_used == 80_000

    def test_a_number_that_was_taken_meanwhile_is_replaced_by_the_next(self) -> None:
        node = Node()
        first: list[str] = []

        def refuse_once(raw: str) -> str:
            if not first:
                first.append(raw)
                node.sent.append({"raw": "0x", "from": "another process"})
                raise refusal(-32000, "nonce too low: next nonce 6, tx nonce 5")
            node.take(raw)
            return "0x"

        node._eth_sendRawTransaction = refuse_once  # type: ignore[method-assign]
        assert sender(node).send(TO, b"").gas_used == 80_000
        assert node.sent[-1]["raw"] != first[0]

    def test_a_number_that_is_always_taken(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = refusal(-32000, "nonce too low")
        with pytest.raises(TransactionFailed, match="keeps taking the next number"):
            sender(node).send(TO, b"")

    def test_a_fee_that_is_too_low_is_raised(self) -> None:
        node = Node()
        offered: list[str] = []

        def refuse_once(raw: str) -> str:
            offered.append(raw)
            if len(offered) == 1:
                raise refusal(-32000, "max fee per gas less than block base fee")
            node.take(raw)
            return "0x"

        node._eth_sendRawTransaction = refuse_once  # type: ignore[method-assign]
        sender(node).send(TO, b"")
        assert [fees_of(raw) for raw in offered] == [
            (GWEI, 21 * GWEI),
            (GWEI * 9 // 8, 21 * GWEI * 9 // 8),
        ]

    def test_a_fee_that_is_too_low_and_may_not_be_raised(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = refusal(-32000, "transaction underpriced")
        with pytest.raises(TransactionFailed, match="underpriced") as caught:
            sender(node, maximum_fee=120_000 * 22 * GWEI).send(TO, b"")
        assert "--max-fee" in caught.value.hint

    def test_a_node_that_still_indexes_is_waited_for(self) -> None:
        """go-ethereum refuses to look a transaction up for a moment after its start."""
        node = Node()
        waiting = iter([True, True])
        receipt = node._eth_getTransactionReceipt

        def indexing(digest: str) -> object:
            if next(waiting, False):
                raise refusal(-32000, "transaction indexing is in progress")
            return receipt(digest)

        node._eth_getTransactionReceipt = indexing  # type: ignore[method-assign]
        assert sender(node).send(TO, b"").block == node.head
        assert len(node.sent) == 1

    def test_a_refused_delivery_to_a_node_that_still_indexes(self) -> None:
        """Whether it has the transaction it can't say: then it is the refusal that counts."""
        node = Node()
        node.fail["eth_sendRawTransaction"] = refusal(-32000, "transaction type not supported")
        node.fail["eth_getTransactionByHash"] = refusal(
            -32000, "transaction indexing is in progress"
        )
        with pytest.raises(TransactionFailed, match="type not supported"):
            sender(node).send(TO, b"")

    def test_any_other_refusal_to_show_a_receipt_names_the_transaction(self) -> None:
        node = Node()
        node.fail["eth_getTransactionReceipt"] = refusal(-32601, "no such method")
        with pytest.raises(EndpointUnavailable, match=r"no such method.* may have been sent"):
            sender(node).send(TO, b"")

    def test_an_endpoint_that_dies_while_it_waits_names_the_transaction(self) -> None:
        node = Node()
        node.fail["eth_getTransactionReceipt"] = EndpointUnavailable("fake: gone")
        with pytest.raises(
            EndpointUnavailable, match=r"fake: gone; transaction 0x[0-9a-f]{64} may have been sent"
        ):
            sender(node).send(TO, b"")

    def test_a_delivery_that_was_refused(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = refusal(-32000, "transaction underpriced")
        with pytest.raises(TransactionFailed, match="underpriced"):
            sender(node).send(TO, b"")

    def test_a_delivery_without_an_answer_names_the_transaction(self) -> None:
        node = Node()
        node.fail["eth_sendRawTransaction"] = EndpointUnavailable(
            "fake: no whole answer within 1 s"
        )
        with pytest.raises(
            EndpointUnavailable, match=r"transaction 0x[0-9a-f]{64} may have been sent"
        ):
            sender(node).send(TO, b"")

    def test_reverted_in_its_block(self) -> None:
        node = Node()
        node.status = 0
        original = node._eth_call

        def refuse_afterwards(call: dict[str, Any], block: str) -> str:
            if block != "latest":
                raise refusal(3, "execution reverted", FORBIDDEN)
            return original(call, block)

        node._eth_call = refuse_afterwards  # type: ignore[method-assign]
        with pytest.raises(TransactionForbidden):
            sender(node).send(TO, b"")

    def test_reverted_for_a_reason_that_is_gone(self) -> None:
        node = Node()
        node.status = 0
        with pytest.raises(TransactionFailed, match="was reverted in block"):
            sender(node).send(TO, b"")

    @pytest.mark.parametrize(
        "change",
        [
            {"transactionHash": "0x" + "00" * 32},
            {"gasUsed": None},
            {"status": "yes"},
            {"effectiveGasPrice": 1},
        ],
    )
    def test_a_receipt_that_is_none(self, change: dict[str, object]) -> None:
        node = Node()
        original = node._eth_getTransactionReceipt
        node._eth_getTransactionReceipt = lambda d: {**original(d), **change}  # type: ignore[method-assign,dict-item]
        with pytest.raises(EndpointUnavailable):
            sender(node).send(TO, b"")
