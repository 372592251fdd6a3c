"""Sending one transaction, and knowing what became of it.

Simulated before it costs anything; signed here; then followed until it stands in a block. Fees
follow EIP-1559. Questions go through `chain.rpc`, with its limits, rather than through web3's own
providers: those follow what an endpoint tells them (CCIP-Read would fetch URLs that it names) and
bound each read instead of the whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dpki.chain import decode
from dpki.chain.domain import verify_chain_id
from dpki.chain.rpc import Reader, RpcError, fetch_block
from dpki.errors import EndpointUnavailable, TransactionFailed, WrongDomain
from dpki.http import Deadline
from dpki.model import Address, Block, Hash32
from dpki.transactions.reverts import decode_revert
from dpki.transactions.wallet import Wallet

WAIT = timedelta(seconds=120)
"""How long to wait for a block with the transaction in it."""

MAXIMUM_FEE = 2 * 10**17
"""Wei that one transaction may cost: an endpoint's absurd fees must not empty an account."""

_ETHER = 10**18
_REVERTED = 3
"""JSON-RPC error code of a reverted call (geth, and everybody after it)."""


@dataclass(frozen=True)
class Receipt:
    """A transaction that stands in a block.

    Attributes:
        transaction_hash: Its hash.
        block: The block.
        gas_used: Gas.
        fee: What it cost, in wei; on the OP stack with the part for the layer below.
        contract: The contract that it made, if any.
    """

    transaction_hash: Hash32
    block: Block
    gas_used: int
    fee: int
    contract: Address | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What a transaction would cost at most.

    Attributes:
        gas: Gas.
        fee: Wei.
    """

    gas: int
    fee: int


@dataclass(frozen=True)
class _Plan:
    call: dict[str, Any]
    priority_fee_per_gas: int
    maximum_fee_per_gas: int
    rehearsal: Rehearsal


class Sender:
    """Sends an account's transactions on one chain.

    Args:
        reader: The endpoint.
        wallet: The account.
        chain_id: The chain that it must be; it also stands in the signature (EIP-155).
        confirmations: How many blocks, its own included, a transaction must have before it counts.
        wait: How long to wait for that.
        maximum_fee: Wei that one transaction may cost.

    Raises:
        WrongDomain: The endpoint serves another chain.
        EndpointUnavailable: No answer, or nonsense.
    """

    def __init__(
        self,
        reader: Reader,
        wallet: Wallet,
        chain_id: int,
        *,
        confirmations: int = 1,
        wait: timedelta = WAIT,
        maximum_fee: int = MAXIMUM_FEE,
    ) -> None:
        verify_chain_id(reader, chain_id)
        self.wallet = wallet
        self._reader = reader
        self.chain_id = chain_id
        self._confirmations = confirmations
        self._wait = wait
        self._maximum_fee = maximum_fee
        self._with_code: set[Address] = set()

    def rehearse(self, to: Address | None, data: bytes) -> Rehearsal:
        """Do everything that `send` does before it signs; nothing is sent.

        Raises:
            TransactionForbidden: The contract says that the account has no right to this.
            TransactionReverted: The contract refuses for another reason.
            TransactionFailed: Not enough money, or absurd fees.
            WrongDomain: There is no contract at `to`.
            EndpointUnavailable: No answer, or nonsense.
        """
        return self._prepare(to, data).rehearsal

    def send(self, to: Address | None, data: bytes) -> Receipt:
        """Send a call, or init code when `to` is None, and return when it stands in a block.

        Raises:
            TransactionForbidden: The contract says that the account has no right to this.
            TransactionReverted: The contract refused for another reason.
            TransactionFailed: Not enough money, absurd fees, refused by the node, or not in a block
                in time.
            WrongDomain: There is no contract at `to`.
            EndpointUnavailable: No answer, or nonsense. When that happens after sending, the
                message names the transaction, which may still go through.
        """
        plan = self._prepare(to, data)
        signed = self.wallet.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": self._quantity(
                    "eth_getTransactionCount", str(self.wallet.address), "pending"
                ),
                "gas": plan.rehearsal.gas,
                "maxFeePerGas": plan.maximum_fee_per_gas,
                "maxPriorityFeePerGas": plan.priority_fee_per_gas,
                "value": 0,
                "data": plan.call["data"],
                **({} if to is None else {"to": str(to)}),
            }
        )
        transaction = Hash32(signed.hash)
        self._submit(bytes(signed.raw_transaction), transaction)
        return self._follow(transaction, plan.call)

    def _prepare(self, to: Address | None, data: bytes) -> _Plan:
        call: dict[str, Any] = {"from": str(self.wallet.address), "data": f"0x{data.hex()}"}
        if to is not None:
            self._verify_code(to)
            call["to"] = str(to)
        self._simulate(call)
        # A fifth more than the estimate: the state may have changed when its turn comes.
        gas = self._gas(call) * 6 // 5
        tip, fee = self._fees()
        self._verify_affordable(gas * fee)
        return _Plan(call, tip, fee, Rehearsal(gas, gas * fee))

    def _verify_code(self, contract: Address) -> None:
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

    def _simulate(self, call: dict[str, Any], block: str = "latest") -> None:
        try:
            self._reader.call("eth_call", [call, block])
        except RpcError as error:
            raise self._refused(error) from error

    def _gas(self, call: dict[str, Any]) -> int:
        try:
            return self._quantity("eth_estimateGas", call)
        except RpcError as error:
            raise self._refused(error) from error

    def _fees(self) -> tuple[int, int]:
        """Return priority fee and maximum fee for a unit of gas; the base fee may double."""
        latest = decode.mapping(
            self._reader.call("eth_getBlockByNumber", ["latest", False]), self._reader.name
        )
        base = decode.quantity(latest.get("baseFeePerGas"), self._reader.name)
        try:
            tip = self._quantity("eth_maxPriorityFeePerGas")
        except RpcError:
            tip = 0  # not every node knows the method, and where none is needed none is missed
        return tip, 2 * base + tip

    def _verify_affordable(self, cost: int) -> None:
        if cost > self._maximum_fee:
            raise TransactionFailed(
                f"the transaction could cost {_ether(cost)}, and the limit is"
                f" {_ether(self._maximum_fee)}",
                hint="compare the endpoint's fees with another's; wait until they fall",
            )
        balance = self._quantity("eth_getBalance", str(self.wallet.address), "latest")
        if balance < cost:
            raise TransactionFailed(
                f"account {self.wallet.address} has {_ether(balance)} and needs up to"
                f" {_ether(cost)} on chain"
                f" {self.chain_id}",
                hint="send it some; nothing was sent",
            )

    def _submit(self, raw: bytes, transaction: Hash32) -> None:
        try:
            self._reader.call("eth_sendRawTransaction", [f"0x{raw.hex()}"])
        except RpcError as error:
            # A repeated delivery is refused though the first one arrived ("already known", "nonce
            # too low").
            if self._reader.call("eth_getTransactionByHash", [str(transaction)]) is None:
                raise self._refused(error) from error
        except EndpointUnavailable as error:
            raise EndpointUnavailable(
                f"{error.message}; transaction {transaction} may have been sent",
                hint="look it up before trying again; the same call can't take effect twice",
            ) from error

    def _follow(self, transaction: Hash32, call: dict[str, Any]) -> Receipt:
        """Wait for the transaction's block, and for as many on top as were asked for."""
        deadline, pause = Deadline(self._wait), 0.01
        while not deadline.is_over:
            receipt = self._receipt(transaction)
            if receipt is not None:
                succeeded, found = receipt
                if not succeeded:
                    # Why stands nowhere; the same call on the state after it usually tells.
                    self._simulate(call, hex(found.block.number))
                    raise TransactionFailed(
                        f"transaction {transaction} was reverted in block {found.block.number},"
                        " for a reason that no"
                        " longer holds",
                        hint="try again",
                    )
                head = self._quantity("eth_blockNumber")
                if head - found.block.number + 1 >= self._confirmations:
                    return found
            time.sleep(min(pause, deadline.remaining()))
            pause = min(1.5 * pause, 1.0)
        raise TransactionFailed(
            f"transaction {transaction} is in no confirmed block after"
            f" {self._wait.total_seconds():g} s",
            hint="it may still go through: look it up before trying again",
        )

    def _receipt(self, transaction: Hash32) -> tuple[bool, Receipt] | None:
        """Return whether it succeeded, and its receipt; None while it is in no block."""
        source = self._reader.name
        answer = self._reader.call("eth_getTransactionReceipt", [str(transaction)])
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

    def _quantity(self, method: str, *params: object) -> int:
        return decode.quantity(self._reader.call(method, params), self._reader.name)

    def _refused(self, error: RpcError) -> TransactionFailed:
        """Return the exception for what the contract or the node would not take."""
        text = error.rpc_message.lower()
        if error.code == _REVERTED or "revert" in text:
            return decode_revert(error.data)
        hint = "nothing was sent"
        if "insufficient funds" in text:
            hint = f"send account {self.wallet.address} some of the chain's currency"
        return TransactionFailed(
            f"{self._reader.name} refused the transaction: {error.rpc_message}", hint=hint
        )


def _ether(wei: int) -> str:
    """Return an amount for people: at most nine decimals, rounded up."""
    nano = -(-wei // 10**9)
    whole, rest = divmod(nano, _ETHER // 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") + " ETH"
