"""Sending one transaction, and knowing what became of it.

Simulated before it costs anything; signed here; then followed until it stands in a block
(`flight`), as another one with the same number and higher fees where it has to be. Fees follow
EIP-1559. Questions go through `chain.rpc`, with its limits, rather than through web3's own
providers: those follow what an endpoint tells them (CCIP-Read would fetch URLs that it names) and
bound each read instead of the whole.

One transaction of an account at a time: processes of one user take turns (`outbox`), so that no two
take the same number.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dpki.chain.agreed import Confirm
from dpki.chain.rpc import Reader
from dpki.config.amounts import format_ether
from dpki.errors import TransactionFailed
from dpki.locks import Turn
from dpki.model import Address
from dpki.transactions.account import Account, Receipt
from dpki.transactions.fees import MAXIMUM_FEE, Fees, raise_fees
from dpki.transactions.flight import Flight, NonceTaken, Plan, Rehearsal, Terms
from dpki.transactions.outbox import Outbox
from dpki.transactions.stuck import Stuck, find_stuck
from dpki.transactions.wallet import Wallet, unsigned_size

WAIT = timedelta(seconds=120)
"""How long to wait for a block with the transaction in it."""

PATIENCE = timedelta(seconds=30)
"""How long to wait before the fees are raised: many blocks everywhere, and thrice in `WAIT`."""

_ANY_NONCE = 2**24
"""Stands in for a number where only the transaction's size counts."""

_TRIES = 3
_BUMPS = 40
"""How often a replacement's fees are raised before it is taken: from one to a hundred."""


class Sender:
    """Sends an account's transactions on one chain.

    Args:
        reader: The endpoint; the attribute of this name, too.
        wallet: The account.
        chain_id: The chain that it must be; it also stands in the signature (EIP-155).
        confirmations: How many blocks, its own included, a transaction must have before it counts.
        wait: How long to wait for that.
        maximum_fee: Wei that one transaction may cost, with raised fees too.
        maximum_gas: Gas that one transaction may use; None for what it needs.
        patience: How long to wait before the fees are raised.
        turn: How to wait for other processes with the account.
        confirm: Is given each transaction that took effect, as far as the endpoint says, and its
            block; returns once that counts. None where the endpoint's word is enough.

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
        turn: Turn | None = None,
        confirm: Confirm | None = None,
    ) -> None:
        self.reader = reader
        self._confirm = confirm
        self._account = Account(reader, wallet.address, chain_id)
        self._outbox = Outbox(chain_id, wallet.address)
        self._turn = turn or Turn()
        self.wallet = wallet
        self.chain_id = chain_id
        self._maximum_fee = maximum_fee
        self._maximum_gas = maximum_gas
        self._terms = Terms(
            self._account,
            wallet,
            self._outbox,
            self._turn.doing,
            chain_id,
            confirmations,
            wait,
            maximum_fee,
            patience,
        )

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
            EndpointUnavailable: No answer, or nonsense; or others don't confirm what the endpoint
                says became of it. When that happens after sending, the message names the
                transaction, which may still go through.
        """
        return self._confirmed(self._send(to, data))

    def _send(self, to: Address | None, data: bytes) -> Receipt:
        with self._outbox.hold(self._turn):
            # Prepared only now: what others did meanwhile may forbid ours.
            for _ in range(_TRIES):
                flight = Flight(
                    self._terms, self._prepare(to, data), self._account.count("pending")
                )
                try:
                    flight.offer()
                except NonceTaken:
                    time.sleep(0.2)  # another machine with this account was faster
                else:
                    return flight.follow()
        raise TransactionFailed(
            f"another program keeps taking the next number of account {self.wallet.address}",
            hint="nothing was sent; wait until it has finished, or give it an account of its own",
        )

    def find_stuck(self) -> tuple[Stuck, ...]:
        """Return the account's transactions that wait, by number.

        Raises:
            EndpointUnavailable: No answer, or nonsense.
        """
        return find_stuck(self._account, self._outbox)

    def rehearse_replacement(self, stuck: Stuck, *, again: bool) -> Rehearsal:
        """Return what `replace` would cost at first; nothing is sent.

        Raises:
            TransactionFailed: Not enough money, absurd fees, or not known what was sent.
            EndpointUnavailable: No answer, or nonsense.
        """
        return self._replacement(stuck, again=again).rehearsal

    def replace(self, stuck: Stuck, *, again: bool) -> Receipt:
        """Put another transaction in a stuck one's place, and return when one is in a block.

        Args:
            stuck: A transaction that no running process waits for.
            again: Whether it is the same call once more, for more; else it is an empty one to the
                account itself, and the stuck one will never take effect.

        Returns: The receipt of the new one, or of the stuck one where that was quicker.

        Raises:
            TransactionReverted, TransactionForbidden: The contract refuses the call now.
            TransactionFailed, EndpointUnavailable: As `send`.
        """
        return self._confirmed(self._replace(stuck, again=again))

    def _replace(self, stuck: Stuck, *, again: bool) -> Receipt:
        with self._outbox.hold(self._turn):
            if self._account.count("latest") > stuck.nonce:
                raise TransactionFailed(
                    f"the transaction with number {stuck.nonce} is in a block meanwhile",
                    hint="nothing was sent; see what else waits with: dpki wallet pending",
                )
            plan = self._replacement(stuck, again=again)
            if again:
                self._account.simulate(plan.call)
            flight = Flight(self._terms, plan, stuck.nonce, rival=stuck.hash)
            for _ in range(_BUMPS):
                try:
                    flight.offer()
                except NonceTaken:
                    if self._account.count("latest") > stuck.nonce or not flight.raise_fees():
                        break
                else:
                    return flight.follow()
        raise TransactionFailed(
            f"the transaction with number {stuck.nonce} could not be replaced within"
            f" {format_ether(self._maximum_fee)} ETH, or is in a block meanwhile",
            hint="see dpki wallet pending; then raise --max-fee",
        )

    def _confirmed(self, receipt: Receipt) -> Receipt:
        if self._confirm is not None:
            self._confirm(receipt.transaction_hash, receipt.block)
        return receipt

    def _replacement(self, stuck: Stuck, *, again: bool) -> Plan:
        call, gas = stuck.call, stuck.gas
        if not again:
            call = {"from": str(self.wallet.address), "to": str(self.wallet.address), "data": "0x"}
            gas = self._gas(call)
        if call is None:
            raise TransactionFailed(
                f"nobody here knows what the transaction with number {stuck.nonce} was to do",
                hint="nothing was sent; without --resend an empty one takes its place",
            )
        fees = self._account.market()
        return self._plan(call, gas, fees if stuck.fees is None else raise_fees(stuck.fees, fees))

    def _prepare(self, to: Address | None, data: bytes) -> Plan:
        call: dict[str, Any] = {"from": str(self.wallet.address), "data": f"0x{data.hex()}"}
        if to is not None:
            self._account.verify_code(to)
            call["to"] = str(to)
        self._account.simulate(call)
        return self._plan(call, self._gas(call), self._account.market())

    def _plan(self, call: dict[str, Any], gas: int, fees: Fees) -> Plan:
        plan = Plan(call, gas, fees, 0)
        size = unsigned_size(plan.fields(self.chain_id, _ANY_NONCE))
        plan = replace(plan, layer_fee=self._account.layer_fee(size))
        self._verify_affordable(plan.rehearsal.fee)
        return plan

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
