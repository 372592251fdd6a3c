"""Sending one transaction, and knowing what became of it.

Simulated before it costs anything; signed here; then followed until it stands in a block, as
another one with the same number and higher fees where it has to be. Fees follow EIP-1559. Questions
go through `chain.rpc`, with its limits, rather than through web3's own providers: those follow what
an endpoint tells them (CCIP-Read would fetch URLs that it names) and bound each read instead of the
whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from dpki.chain.rpc import Reader
from dpki.config.amounts import format_ether
from dpki.errors import EndpointUnavailable, TransactionFailed
from dpki.http import Deadline
from dpki.model import Address, Hash32
from dpki.transactions.account import Account, Receipt, perhaps_sent
from dpki.transactions.fees import (
    MAXIMUM_FEE,
    Fees,
    Refusal,
    classify_refusal,
    raise_fees,
)
from dpki.transactions.wallet import SignedTransaction, Wallet

WAIT = timedelta(seconds=120)
"""How long to wait for a block with the transaction in it."""

PATIENCE = timedelta(seconds=30)
"""How long to wait before the fees are raised: many blocks everywhere, and thrice in `WAIT`."""

_SETTLE = timedelta(seconds=5)
"""How long an endpoint may know that a number is used, and not yet by which transaction."""

_TRIES = 3
_REVERTED = 3
"""JSON-RPC error code of a reverted call (geth, and everybody after it)."""


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
    fees: Fees
    rehearsal: Rehearsal


@dataclass
class _Flight:
    """A transaction on its way, under one number and as many hashes as it was offered with."""

    plan: _Plan
    nonce: int
    offers: list[SignedTransaction] = field(default_factory=list)
    is_at_limit: bool = False
    used: Deadline | None = None
    """Runs since the number was seen used, by nobody knows which transaction."""

    @property
    def name(self) -> Hash32:
        """The hash of the newest offer."""
        return self.offers[-1].hash


class _NonceTaken(Exception):
    """The transaction was not taken, as another one has its number."""


class Sender:
    """Sends an account's transactions on one chain.

    Args:
        reader: The endpoint.
        wallet: The account.
        chain_id: The chain that it must be; it also stands in the signature (EIP-155).
        confirmations: How many blocks, its own included, a transaction must have before it counts.
        wait: How long to wait for that.
        maximum_fee: Wei that one transaction may cost, with raised fees too.
        maximum_gas: Gas that one transaction may use; None for what it needs.
        patience: How long to wait before the fees are raised.

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
        maximum_gas: int | None = None,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._account = Account(reader, wallet.address, chain_id)
        self.wallet = wallet
        self._endpoint = reader.name
        self.chain_id = chain_id
        self._confirmations = confirmations
        self._wait = wait
        self._maximum_fee = maximum_fee
        self._maximum_gas = maximum_gas
        self._patience = patience

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
        for _ in range(_TRIES):
            flight = _Flight(plan, self._account.count("pending"))
            try:
                self._offer(flight)
            except _NonceTaken:
                # Another process with this account was faster; what it did may forbid ours.
                time.sleep(0.2)
                plan = self._prepare(to, data)
            else:
                return self._follow(flight)
        raise TransactionFailed(
            f"another program keeps taking the next number of account {self.wallet.address}",
            hint="nothing was sent; wait until it has finished, or give it an account of its own",
        )

    def _prepare(self, to: Address | None, data: bytes) -> _Plan:
        call: dict[str, Any] = {"from": str(self.wallet.address), "data": f"0x{data.hex()}"}
        if to is not None:
            self._account.verify_code(to)
            call["to"] = str(to)
        self._account.simulate(call)
        gas = self._gas(call)
        fees = self._account.market()
        self._verify_affordable(gas * fees.maximum)
        return _Plan(call, fees, Rehearsal(gas, gas * fees.maximum))

    def _gas(self, call: dict[str, Any]) -> int:
        needed = self._account.estimate(call)
        if self._maximum_gas is not None and needed > self._maximum_gas:
            raise TransactionFailed(
                f"the transaction needs {needed:,} gas, and the limit is {self._maximum_gas:,}",
                hint="nothing was sent; raise --gas-limit, or do less at once",
            )
        # A fifth more than the estimate: the state may have changed when its turn comes.
        return min(needed * 6 // 5, self._maximum_gas or needed * 6 // 5)

    def _verify_affordable(self, cost: int) -> None:
        if cost > self._maximum_fee:
            raise TransactionFailed(
                f"the transaction could cost {format_ether(cost)} ETH, and the limit is"
                f" {format_ether(self._maximum_fee)} ETH",
                hint="nothing was sent; wait until the fees fall, or raise --max-fee",
            )
        balance = self._account.balance()
        if balance < cost:
            raise TransactionFailed(
                f"account {self.wallet.address} has {format_ether(balance)} ETH and needs up to"
                f" {format_ether(cost)} ETH on chain"
                f" {self.chain_id}",
                hint="send it some; nothing was sent",
            )

    # --- sending ---------------------------------------------------------------------------------

    def _offer(self, flight: _Flight) -> None:
        """Send the transaction for the first time, for more where the node asks for more.

        Raises:
            _NonceTaken: Another one has its number; nothing was sent.
            TransactionFailed: The node would not take it; nothing was sent.
            EndpointUnavailable: Nobody knows whether it arrived.
        """
        for number in range(1, _TRIES + 1):
            flight.offers = [self._sign(flight)]
            try:
                error = self._account.submit(flight.offers[0])
            except EndpointUnavailable as lost:
                raise perhaps_sent(lost, flight.name) from lost
            if error is None:
                return
            refusal = classify_refusal(error.rpc_message)
            if refusal is Refusal.NONCE_TAKEN:
                raise _NonceTaken from error
            if refusal is Refusal.OTHER or number == _TRIES or not self._raise(flight):
                raise self._account.refused(error) from error

    def _sign(self, flight: _Flight) -> SignedTransaction:
        plan = flight.plan
        return self.wallet.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": flight.nonce,
                "gas": plan.rehearsal.gas,
                "maxFeePerGas": plan.fees.maximum,
                "maxPriorityFeePerGas": plan.fees.tip,
                "value": 0,
                "data": plan.call["data"],
                **({"to": plan.call["to"]} if "to" in plan.call else {}),
            }
        )

    def _raise(self, flight: _Flight) -> bool:
        """Raise the fees; return whether limit and balance allow it."""
        fees = raise_fees(flight.plan.fees, self._account.market())
        cost = flight.plan.rehearsal.gas * fees.maximum
        flight.is_at_limit = cost > self._maximum_fee or cost > self._account.balance()
        if not flight.is_at_limit:
            flight.plan = replace(flight.plan, fees=fees)
        return not flight.is_at_limit

    # --- following -------------------------------------------------------------------------------

    def _follow(self, flight: _Flight) -> Receipt:
        """Wait for the transaction's block, and for as many on top as were asked for."""
        deadline, patience, pause = Deadline(self._wait), Deadline(self._patience), 0.01
        while not deadline.is_over:
            try:
                done, is_in_block = self._look(flight)
                if done is not None:
                    return done
                if patience.is_over and not is_in_block:
                    self._push(flight)
                    patience = Deadline(self._patience)
            except EndpointUnavailable as error:
                raise perhaps_sent(error, flight.name) from error
            time.sleep(min(pause, deadline.remaining()))
            pause = min(1.5 * pause, 1.0)
        limit = f"; its fees could not be raised within {format_ether(self._maximum_fee)} ETH"
        raise TransactionFailed(
            f"transaction {flight.name} is in no confirmed block after"
            f" {self._wait.total_seconds():g} s{limit if flight.is_at_limit else ''}",
            hint="it may still go through: look it up before trying again"
            + (", with a higher --max-fee" if flight.is_at_limit else ""),
        )

    def _look(self, flight: _Flight) -> tuple[Receipt | None, bool]:
        """Return the receipt once it is confirmed, and whether there is one at all.

        A reorg may take the block away again: then there is none, and the waiting goes on.
        """
        for offer in reversed(flight.offers):
            receipt = self._account.receipt(offer.hash)
            if receipt is None:
                continue
            flight.used = None
            succeeded, found = receipt
            if not succeeded:
                # Why stands nowhere; the same call on the state after it usually tells.
                self._account.simulate(flight.plan.call, hex(found.block.number))
                raise TransactionFailed(
                    f"transaction {offer.hash} was reverted in block {found.block.number},"
                    " for a reason that no longer holds",
                    hint="try again",
                )
            head = self._account.head()
            if head - found.block.number + 1 < self._confirmations:
                return None, True
            return replace(found, balance=self._balance_left()), True
        self._verify_unused(flight)
        return None, False

    def _balance_left(self) -> int | None:
        try:
            return self._account.balance()
        except EndpointUnavailable:
            return None  # what was to be done is done

    def _verify_unused(self, flight: _Flight) -> None:
        """Raise `TransactionFailed` when another transaction has taken the number for good."""
        if self._account.count("latest") <= flight.nonce:
            flight.used = None
        elif flight.used is None:
            flight.used = Deadline(_SETTLE)
        elif flight.used.is_over:
            raise TransactionFailed(
                f"transaction {flight.name} was replaced: another one of account"
                f" {self.wallet.address} has its number {flight.nonce}",
                hint="it has had no effect; find out who else uses the account, then try again",
            )

    def _push(self, flight: _Flight) -> None:
        """Offer a stuck transaction again: the same where it was lost, for more where it waits.

        It is the same call under the same number, so at most one of them takes effect.
        """
        if not self._account.is_known(flight.name):
            self._account.submit(flight.offers[-1])
            return
        before = flight.plan
        if self._raise(flight):
            offer = self._sign(flight)
            if self._account.submit(offer) is None:
                flight.offers.append(offer)
            else:
                flight.plan = before
