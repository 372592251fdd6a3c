"""One transaction on its way: offered, followed, offered again for more, until it is in a block."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from dpki.config.amounts import format_ether
from dpki.errors import EndpointUnavailable, TransactionFailed
from dpki.http import Deadline
from dpki.model import Hash32
from dpki.transactions.account import Account, Receipt, perhaps_sent
from dpki.transactions.fees import Fees, Refusal, classify_refusal, raise_fees
from dpki.transactions.outbox import Outbox
from dpki.transactions.wallet import SignedTransaction, Wallet

_SETTLE = timedelta(seconds=5)
"""How long an endpoint may know that a number is used, and not yet by which transaction."""

_TRIES = 3


@dataclass(frozen=True)
class Rehearsal:
    """What a transaction would cost at most.

    Attributes:
        gas: Gas.
        fee: Wei, in all.
        layer_fee: Wei of the fee that are for the layer below, on a chain of the OP stack.
    """

    gas: int
    fee: int
    layer_fee: int = 0

    def __add__(self, other: Rehearsal) -> Rehearsal:
        """Return what both cost."""
        return Rehearsal(
            self.gas + other.gas, self.fee + other.fee, self.layer_fee + other.layer_fee
        )


@dataclass(frozen=True)
class Plan:
    """A transaction, but for its number.

    Attributes:
        call: As `eth_call` takes it.
        gas: The gas that it may use.
        fees: What it offers for each.
        layer_fee: Wei that the layer below may take beside that.
    """

    call: dict[str, Any]
    gas: int
    fees: Fees
    layer_fee: int

    @property
    def rehearsal(self) -> Rehearsal:
        """What it would cost at most."""
        return Rehearsal(self.gas, self.gas * self.fees.maximum + self.layer_fee, self.layer_fee)

    def fields(self, chain_id: int, nonce: int) -> dict[str, Any]:
        """Return it as eth-account takes it."""
        return {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "gas": self.gas,
            "maxFeePerGas": self.fees.maximum,
            "maxPriorityFeePerGas": self.fees.tip,
            "value": int(self.call.get("value", "0x0"), 16),
            "data": self.call["data"],
            **({"to": self.call["to"]} if "to" in self.call else {}),
        }


@dataclass(frozen=True)
class Terms:
    """Who sends, and how far that may go; the attributes are those of `Sender`."""

    account: Account
    wallet: Wallet
    outbox: Outbox
    doing: str
    chain_id: int
    confirmations: int
    wait: timedelta
    maximum_fee: int
    patience: timedelta


class NonceTaken(Exception):
    """The transaction was not taken, as another one has its number."""


class Flight:
    """A transaction on its way, under one number and as many hashes as it was offered with.

    Args:
        terms: Who sends.
        plan: What.
        nonce: Its number.
        rival: A transaction with that number that waits already, and may be the one that gets into
            a block.
    """

    def __init__(
        self, terms: Terms, plan: Plan, nonce: int, *, rival: Hash32 | None = None
    ) -> None:
        self._terms = terms
        self._account = terms.account
        self._plan = plan
        self._nonce = nonce
        self._rivals = [] if rival is None else [rival]
        self._offers: list[SignedTransaction] = []
        self._is_at_limit = False
        # Runs since the number was seen used, by nobody knows which transaction.
        self._used: Deadline | None = None

    @property
    def name(self) -> Hash32:
        """The hash of the newest offer."""
        return self._offers[-1].hash

    def offer(self) -> None:
        """Send the transaction for the first time, for more where the node asks for more.

        Raises:
            NonceTaken: Another one has its number; nothing was sent.
            TransactionFailed: The node would not take it; nothing was sent.
            EndpointUnavailable: Nobody knows whether it arrived.
        """
        before = self._terms.outbox.find(self._nonce)
        for number in range(1, _TRIES + 1):
            self._offers = [self._sign()]
            try:
                error = self._account.submit(self._offers[0])
            except EndpointUnavailable as lost:
                raise perhaps_sent(lost, self.name) from lost
            if error is None:
                return
            self._terms.outbox.restore(self._nonce, before)
            refusal = classify_refusal(error.rpc_message)
            if refusal is Refusal.NONCE_TAKEN:
                raise NonceTaken from error
            if refusal is Refusal.OTHER or number == _TRIES or not self.raise_fees():
                raise self._account.refused(error) from error

    def _sign(self) -> SignedTransaction:
        signed = self._terms.wallet.sign_transaction(
            self._plan.fields(self._terms.chain_id, self._nonce)
        )
        # Before it is sent: whoever comes after a crash finds what there may be.
        self._terms.outbox.record(self._nonce, signed.raw, self._terms.doing)
        return signed

    def raise_fees(self) -> bool:
        """Raise the fees; return whether limit and balance allow it."""
        fees = raise_fees(self._plan.fees, self._account.market())
        raised = replace(self._plan, fees=fees)
        cost = raised.rehearsal.fee
        self._is_at_limit = cost > self._terms.maximum_fee or cost > self._account.balance()
        if not self._is_at_limit:
            self._plan = raised
        return not self._is_at_limit

    def follow(self) -> Receipt:
        """Wait for the transaction's block, and for as many on top as were asked for.

        Returns: The receipt of the offer that got into a block, or of its rival.

        Raises:
            TransactionReverted, TransactionFailed, EndpointUnavailable: As `Sender.send`.
        """
        terms, pause = self._terms, 0.01
        deadline, patience = Deadline(terms.wait), Deadline(terms.patience)
        while not deadline.is_over:
            try:
                done, is_in_block = self._look()
                if done is not None:
                    terms.outbox.forget(self._nonce + 1)
                    return done
                if patience.is_over and not is_in_block:
                    self._push()
                    patience = Deadline(terms.patience)
            except EndpointUnavailable as error:
                raise perhaps_sent(error, self.name) from error
            time.sleep(min(pause, deadline.remaining()))
            pause = min(1.5 * pause, 1.0)
        limit = f"; its fees could not be raised within {format_ether(terms.maximum_fee)} ETH"
        raise TransactionFailed(
            f"transaction {self.name} is in no confirmed block after"
            f" {terms.wait.total_seconds():g} s{limit if self._is_at_limit else ''}",
            hint="it may still go through: see dpki wallet pending, and end it or send it for more"
            " with dpki wallet unstick"
            + (", with a higher --max-fee" if self._is_at_limit else ""),
        )

    def _look(self) -> tuple[Receipt | None, bool]:
        """Return the receipt once it is confirmed, and whether there is one at all.

        A reorg may take the block away again: then there is none, and the waiting goes on.
        """
        for offered in (*(offer.hash for offer in reversed(self._offers)), *self._rivals):
            receipt = self._account.receipt(offered)
            if receipt is None:
                continue
            self._used = None
            succeeded, found = receipt
            if not succeeded:
                # Why stands nowhere; the same call on the state after it usually tells.
                self._account.simulate(self._plan.call, hex(found.block.number))
                raise TransactionFailed(
                    f"transaction {offered} was reverted in block {found.block.number},"
                    " for a reason that no longer holds",
                    hint="try again",
                )
            head = self._account.head()
            if head - found.block.number + 1 < self._terms.confirmations:
                return None, True
            return replace(found, balance=self._balance_left()), True
        self._verify_unused()
        return None, False

    def _balance_left(self) -> int | None:
        try:
            return self._account.balance()
        except EndpointUnavailable:
            return None  # what was to be done is done

    def _verify_unused(self) -> None:
        """Raise `TransactionFailed` when another transaction has taken the number for good."""
        if self._account.count("latest") <= self._nonce:
            self._used = None
        elif self._used is None:
            self._used = Deadline(_SETTLE)
        elif self._used.is_over:
            raise TransactionFailed(
                f"transaction {self.name} was replaced: another one of account"
                f" {self._terms.wallet.address} has its number {self._nonce}",
                hint="it has had no effect; find out who else uses the account, then try again",
            )

    def _push(self) -> None:
        """Offer a stuck transaction again: the same where it was lost, for more where it waits.

        It is the same call under the same number, so at most one of them takes effect.
        """
        if not self._account.is_known(self.name):
            self._account.submit(self._offers[-1])
            return
        before, recorded = self._plan, self._terms.outbox.find(self._nonce)
        if self.raise_fees():
            offer = self._sign()
            if self._account.submit(offer) is None:
                self._offers.append(offer)
            else:
                self._plan = before
                self._terms.outbox.restore(self._nonce, recorded)
