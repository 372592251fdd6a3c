"""A new trust domain, in one transaction; and the contracts that may govern one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from dpki.chain import decode
from dpki.chain.agreed import Confirm
from dpki.chain.rpc import Reader
from dpki.errors import TransactionFailed
from dpki.locks import Turn
from dpki.model import Address, DomainId
from dpki.transactions.account import Receipt
from dpki.transactions.calls import encode_deployment
from dpki.transactions.fees import MAXIMUM_FEE
from dpki.transactions.flight import Rehearsal
from dpki.transactions.sender import WAIT, Sender
from dpki.transactions.wallet import Wallet


def deploy_domain(
    reader: Reader,
    wallet: Wallet,
    *,
    governor: Address,
    guardian: Address | None = None,
    registrars: Sequence[Address] = (),
    chain_id: int | None = None,
    confirmations: int = 1,
    wait: timedelta = WAIT,
    maximum_fee: int = MAXIMUM_FEE,
    maximum_gas: int | None = None,
    turn: Turn | None = None,
    confirm: Confirm | None = None,
) -> tuple[DomainId, Receipt]:
    """Deploy TrustDomain and its registries; return the domain's id.

    The id names the deployment block, so a reorg that moves the transaction makes it void: on a
    chain that has them, ask for more confirmations.

    Args:
        reader: The endpoint.
        wallet: The account that pays; it gets no role by that.
        governor: Decides which CAs exist.
        guardian: May suspend a CA at once, and nothing else.
        registrars: May enrol and retire devices.
        chain_id: The chain that it must be; None takes the endpoint's.
        confirmations: Blocks that the transaction must have, its own included.
        wait: How long to wait for that.
        maximum_fee: Wei that it may cost.
        maximum_gas: Gas that it may use; None for what it needs.
        turn: How to wait for other processes with the account.

    Raises:
        WrongDomain: The endpoint serves another chain.
        TransactionReverted: The contract refused, such as a zero governor.
        TransactionFailed: Not enough money, absurd fees, or not in a block in time.
        EndpointUnavailable: No answer, or nonsense.
    """
    sender = _sender(
        reader,
        wallet,
        chain_id,
        confirmations=confirmations,
        wait=wait,
        maximum_fee=maximum_fee,
        maximum_gas=maximum_gas,
        turn=turn,
        confirm=confirm,
    )
    address, receipt = deploy_contract(sender, _init_code(governor, guardian, registrars))
    return DomainId(sender.chain_id, address, receipt.block.hash), receipt


def rehearse_deployment(
    reader: Reader,
    wallet: Wallet,
    *,
    governor: Address,
    guardian: Address | None = None,
    registrars: Sequence[Address] = (),
    chain_id: int | None = None,
    maximum_fee: int = MAXIMUM_FEE,
    maximum_gas: int | None = None,
) -> Rehearsal:
    """Do everything that `deploy_domain` does before it signs; nothing is sent.

    Raises:
        WrongDomain: The endpoint serves another chain.
        TransactionReverted: The contract refuses, such as a zero governor.
        TransactionFailed: Not enough money, or absurd fees.
        EndpointUnavailable: No answer, or nonsense.
    """
    sender = _sender(reader, wallet, chain_id, maximum_fee=maximum_fee, maximum_gas=maximum_gas)
    return sender.rehearse(None, _init_code(governor, guardian, registrars))


def deploy_timelock(
    reader: Reader,
    wallet: Wallet,
    *,
    delay: timedelta,
    chain_id: int | None = None,
    confirmations: int = 1,
    maximum_fee: int = MAXIMUM_FEE,
    maximum_gas: int | None = None,
    turn: Turn | None = None,
) -> tuple[Address, Receipt]:
    """Deploy OpenZeppelin's TimelockController, for the wallet's account alone.

    It proposes, cancels and executes; nobody is admin, so that the delay and the roles change by
    an operation that has waited itself.

    Args:
        delay: How long every operation waits at least.

    Raises:
        As `deploy_domain`.
    """
    limits = {"maximum_fee": maximum_fee, "maximum_gas": maximum_gas}
    sender = _sender(reader, wallet, chain_id, confirmations=confirmations, turn=turn, **limits)
    return deploy_contract(sender, timelock_code(wallet.address, delay))


def timelock_code(owner: Address, delay: timedelta) -> bytes:
    """Return the init code of a timelock that one account uses."""
    only = [str(owner)]
    seconds = int(delay.total_seconds())
    return encode_deployment("TimelockController", seconds, only, only, str(Address.zero()))


def deploy_contract(sender: Sender, code: bytes) -> tuple[Address, Receipt]:
    """Deploy any contract; return where it is.

    Raises:
        TransactionFailed: As `Sender.send`, or the transaction made none.
    """
    receipt = sender.send(None, code)
    if receipt.contract is None:
        raise TransactionFailed(
            f"transaction {receipt.transaction_hash} made no contract",
            hint="try another RPC endpoint",
        )
    return receipt.contract, receipt


def _sender(reader: Reader, wallet: Wallet, chain_id: int | None, **options: Any) -> Sender:
    if chain_id is None:
        chain_id = decode.quantity(reader.call("eth_chainId"), reader.name)
    return Sender(reader, wallet, chain_id, **options)


def _init_code(governor: Address, guardian: Address | None, registrars: Sequence[Address]) -> bytes:
    return encode_deployment(
        "TrustDomain",
        str(governor),
        str(guardian or Address.zero()),
        [str(registrar) for registrar in registrars],
    )
