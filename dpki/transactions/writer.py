"""Changing a trust domain with one account, or only trying to."""

from __future__ import annotations

from datetime import timedelta

from dpki.chain.agreed import Confirm
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.locks import Turn
from dpki.model import Address
from dpki.transactions.account import Receipt
from dpki.transactions.actions import DomainActions
from dpki.transactions.deploy import deploy_contract
from dpki.transactions.fees import MAXIMUM_FEE
from dpki.transactions.flight import Rehearsal
from dpki.transactions.governed import GovernanceCall
from dpki.transactions.sender import PATIENCE, WAIT, Sender
from dpki.transactions.wallet import Wallet


class DomainWriter(DomainActions[Receipt]):
    """Changes a trust domain: each action simulates, sends, waits, and raises as `Sender.send`.

    Args:
        reader: The endpoint.
        domain: The domain, as found on the endpoint's chain.
        wallet: The account that signs.
        confirmations: Blocks that a transaction must have, its own included, before it counts.
        wait: How long to wait for that.
        maximum_fee: Wei that one transaction may cost, with raised fees too.
        maximum_gas: Gas that one transaction may use; None for what it needs.
        patience: How long to wait before the fees are raised.
        turn: How to wait for other processes with the account.
        confirm: See `Sender`.

    Raises:
        WrongDomain: The endpoint serves another chain.
        EndpointUnavailable: No answer, or nonsense.
    """

    def __init__(
        self,
        reader: Reader,
        domain: Domain,
        wallet: Wallet,
        *,
        confirmations: int = 1,
        wait: timedelta = WAIT,
        maximum_fee: int = MAXIMUM_FEE,
        maximum_gas: int | None = None,
        patience: timedelta = PATIENCE,
        turn: Turn | None = None,
        confirm: Confirm | None = None,
    ) -> None:
        super().__init__(domain)
        self._sender = Sender(
            reader,
            wallet,
            domain.id.chain_id,
            confirmations=confirmations,
            wait=wait,
            maximum_fee=maximum_fee,
            maximum_gas=maximum_gas,
            patience=patience,
            turn=turn,
            confirm=confirm,
        )

    @property
    def reader(self) -> Reader:
        """Return the endpoint that transactions go through, and are tried at."""
        return self._sender.reader

    @property
    def account(self) -> Address:
        """Return the account that signs."""
        return self._sender.wallet.address

    @property
    def wallet(self) -> Wallet:
        """Return the account's wallet."""
        return self._sender.wallet

    def rehearsal(self) -> DomainRehearsal:
        """Return the same actions, without effect."""
        return DomainRehearsal(self._sender, self.domain)

    def send(self, call: GovernanceCall) -> Receipt:
        """Make any call; raises as `Sender.send`."""
        return self._perform(call.target, call.data)

    def rehearse(self, call: GovernanceCall) -> Rehearsal:
        """Try any call as far as signing; raises as `Sender.rehearse`."""
        return self._sender.rehearse(call.target, call.data)

    def deploy(self, code: bytes) -> tuple[Address, Receipt]:
        """Deploy a contract; raises as `Sender.send`."""
        return deploy_contract(self._sender, code)

    def rehearse_deployment(self, code: bytes) -> Rehearsal:
        """Try a deployment as far as signing; raises as `Sender.rehearse`."""
        return self._sender.rehearse(None, code)

    def _perform(self, contract: Address, data: bytes) -> Receipt:
        return self._sender.send(contract, data)


class DomainRehearsal(DomainActions[Rehearsal]):
    """Tries each action as far as signing; raises what `Sender.send` would raise until then.

    Args:
        sender: Whose account, on which chain.
        domain: The domain.
    """

    def __init__(self, sender: Sender, domain: Domain) -> None:
        super().__init__(domain)
        self._sender = sender

    def _perform(self, contract: Address, data: bytes) -> Rehearsal:
        return self._sender.rehearse(contract, data)
