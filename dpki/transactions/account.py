"""One account on one chain: what there is to ask and to tell, a question a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dpki.chain import decode
from dpki.chain.domain import verify_chain_id
from dpki.chain.rpc import REVERTED, Reader, RpcError, fetch_block
from dpki.errors import EndpointUnavailable, TransactionFailed, WrongDomain
from dpki.model import Address, Block, Hash32
from dpki.transactions.fees import Fees, Refusal, classify_refusal, suggest_fees
from dpki.transactions.layer import fetch_layer_fee, has_layer_fee
from dpki.transactions.reverts import decode_revert
from dpki.transactions.wallet import SignedTransaction

_Waiting = TypeVar("_Waiting")


@dataclass(frozen=True)
class Receipt:
    """A transaction that stands in a block.

    Attributes:
        transaction_hash: Its hash.
        block: The block.
        gas_used: Gas.
        fee: What it cost, in wei; on the OP stack with the part for the layer below.
        contract: The contract that it made, if any.
        balance: Wei that the account had left after it; None where nobody asked.
    """

    transaction_hash: Hash32
    block: Block
    gas_used: int
    fee: int
    contract: Address | None = None
    balance: int | None = None


class Account:
    """An account, as an endpoint knows it.

    Args:
        reader: The endpoint.
        address: The account.
        chain_id: The chain that it must be.

    Raises:
        WrongDomain: The endpoint serves another chain.
        EndpointUnavailable: No answer, or nonsense; so do all methods.
    """

    def __init__(self, reader: Reader, address: Address, chain_id: int) -> None:
        verify_chain_id(reader, chain_id)
        self.address = address
        self._reader = reader
        self._with_code: set[Address] = set()
        self._has_layer_fee: bool | None = None

    def verify_code(self, contract: Address) -> None:
        """Raise `WrongDomain` when there is no contract."""
        if contract in self._with_code:
            return
        code = decode.data(
            self._reader.call("eth_getCode", [str(contract), "latest"]), self._reader.name
        )
        if not code:
            # A call to an address without code succeeds and does nothing.
            raise WrongDomain(
                f"there is no contract at {contract} on the chain behind {self._reader.name}",
                hint="compare the domain id and the RPC endpoint with what `dpki deploy` printed",
            )
        self._with_code.add(contract)

    def simulate(self, call: dict[str, Any], block: str = "latest") -> None:
        """Raise `TransactionFailed` when the contract, or the node, refuses the call."""
        try:
            self._reader.call("eth_call", [call, block])
        except RpcError as error:
            raise self.refused(error) from error

    def estimate(self, call: dict[str, Any]) -> int:
        """Return the gas that a call would take.

        Raises:
            TransactionFailed: The contract or the node refuses.
        """
        try:
            return self._quantity("eth_estimateGas", call)
        except RpcError as error:
            raise self.refused(error) from error

    def market(self) -> Fees:
        """Return what the chain asks for now."""
        latest = decode.mapping(
            self._reader.call("eth_getBlockByNumber", ["latest", False]), self._reader.name
        )
        base = decode.quantity(latest.get("baseFeePerGas"), self._reader.name)
        try:
            tip = self._quantity("eth_maxPriorityFeePerGas")
        except RpcError:
            tip = 0  # not every node knows the method, and where none is needed none is missed
        return suggest_fees(base, tip)

    def layer_fee(self, size: int) -> int:
        """Return wei that the layer below may take for a transaction; 0 where there is none.

        Args:
            size: Bytes of the unsigned transaction.
        """
        if self._has_layer_fee is None:
            self._has_layer_fee = has_layer_fee(self._reader)
        return fetch_layer_fee(self._reader, size) if self._has_layer_fee else 0

    def waiting(
        self, nonce: int, parse: Callable[[dict[str, object], Address, str], _Waiting]
    ) -> _Waiting | None:
        """Return the transaction of a number as the node has it; None where it does not tell.

        Args:
            nonce: The number.
            parse: Given its fields, the account and the node's name.
        """
        try:
            answer = self._reader.call(
                "eth_getTransactionBySenderAndNonce", [str(self.address), hex(nonce)]
            )
        except RpcError:
            return None  # a young method, which many nodes don't know
        if answer is None:
            return None
        source = self._reader.name
        return parse(decode.mapping(answer, source), self.address, source)

    def submit(self, signed: SignedTransaction) -> RpcError | None:
        """Send; return why the node would not take it, None when it has it."""
        try:
            self._reader.call("eth_sendRawTransaction", [f"0x{signed.raw.hex()}"])
        except RpcError as error:
            # A repeated delivery is refused though the first one arrived ("already known", "nonce
            # too low").
            return None if self.is_known(signed.hash) else error
        return None

    def receipt(self, transaction: Hash32) -> tuple[bool, Receipt] | None:
        """Return whether it succeeded, and its receipt; None while it is in no block."""
        source = self._reader.name
        answer = self._look_up("eth_getTransactionReceipt", transaction)
        if answer is None:
            return None
        fields = decode.mapping(answer, source)
        if decode.hash32(fields.get("transactionHash"), source) != transaction:
            raise decode.nonsense(source, "another transaction's receipt")
        block = fetch_block(self._reader, decode.hash32(fields.get("blockHash"), source))
        if block is None:
            return None  # thrown out by a reorg between the two questions
        gas = decode.quantity(fields.get("gasUsed"), source)
        below = decode.quantity(fields["l1Fee"], source) if fields.get("l1Fee") else 0
        created = fields.get("contractAddress")
        return decode.quantity(fields.get("status"), source) == 1, Receipt(
            transaction_hash=transaction,
            block=block,
            gas_used=gas,
            fee=gas * decode.quantity(fields.get("effectiveGasPrice"), source) + below,
            contract=None if created is None else Address(decode.data(created, source)),
        )

    def is_known(self, transaction: Hash32) -> bool:
        """Return whether the node has the transaction, waiting or in a block."""
        return self._look_up("eth_getTransactionByHash", transaction) is not None

    def _look_up(self, method: str, transaction: Hash32) -> object:
        """Return what the node has of a transaction; None also while it has yet to look."""
        try:
            return self._reader.call(method, [str(transaction)])
        except RpcError as error:
            # geth's words (internal/ethapi/errors.go), for a moment after its start.
            if "indexing is in progress" in error.rpc_message:
                return None
            raise

    def count(self, block: str) -> int:
        """Return the next number of the account: `latest`, or after those that wait: `pending`."""
        return self._quantity("eth_getTransactionCount", str(self.address), block)

    def balance(self) -> int:
        """Return the account's wei."""
        return self._quantity("eth_getBalance", str(self.address), "latest")

    def head(self) -> int:
        """Return the newest block's number."""
        return self._quantity("eth_blockNumber")

    def _quantity(self, method: str, *params: object) -> int:
        return decode.quantity(self._reader.call(method, params), self._reader.name)

    def refused(self, error: RpcError) -> TransactionFailed:
        """Return the exception for what the contract or the node would not take."""
        text = error.rpc_message.lower()
        if error.code == REVERTED or "revert" in text:
            return decode_revert(error.data)
        hint = "nothing was sent"
        if "insufficient funds" in text:
            hint = f"send account {self.address} some of the chain's currency"
        elif classify_refusal(text) is Refusal.FEE_TOO_LOW:
            hint = "nothing was sent; wait until the fees fall, or raise --max-fee"
        return TransactionFailed(
            f"{self._reader.name} refused the transaction: {error.rpc_message}", hint=hint
        )


def perhaps_sent(error: EndpointUnavailable, transaction: Hash32) -> EndpointUnavailable:
    """Return the error with the transaction's name in it."""
    return EndpointUnavailable(
        f"{error.message}; transaction {transaction} may have been sent",
        hint="look it up before trying again; the same call can't take effect twice",
    )
