"""Transactions of an account that wait: what the node tells of them, and what was recorded here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from dpki.chain import decode
from dpki.errors import TransactionFailed
from dpki.keccak import keccak
from dpki.model import Address, Hash32
from dpki.transactions.account import Account
from dpki.transactions.fees import Fees
from dpki.transactions.outbox import Outbox, Sent

_MOST = 100
"""An account whose every command waits for its transaction has one or two; nodes keep 64."""


@dataclass(frozen=True)
class Stuck:
    """A transaction that is in no block yet, as far as anybody knows it.

    Attributes:
        nonce: Its number.
        hash: Its hash; None where nothing is known.
        call: What it does, as `eth_call` takes it; None where nothing is known.
        gas: The gas that it may use.
        fees: What it offers; None where nothing is known.
        doing: The command that sent it; empty where it was not sent from here.
        since: When it was sent; None where it was not sent from here.
        is_at_node: Whether the node says that it has it.
    """

    nonce: int
    hash: Hash32 | None = None
    call: dict[str, Any] | None = None
    gas: int = 0
    fees: Fees | None = None
    doing: str = ""
    since: datetime | None = None
    is_at_node: bool = False


def find_stuck(account: Account, outbox: Outbox) -> tuple[Stuck, ...]:
    """Return every number from the first that is in no block to the last that anybody knows of.

    Raises:
        TransactionFailed: There are too many to be true.
        EndpointUnavailable: No answer, or nonsense.
    """
    following = account.count("latest")
    sent = {one.nonce: one for one in outbox.load() if one.nonce >= following}
    end = max([account.count("pending"), *(nonce + 1 for nonce in sent)])
    if end - following > _MOST:
        raise TransactionFailed(
            f"{end - following:,} transactions of account {account.address} are said to wait",
            hint="that can't be; try another RPC endpoint",
        )
    return tuple(_look_at(account, nonce, sent.get(nonce)) for nonce in range(following, end))


def _look_at(account: Account, nonce: int, sent: Sent | None) -> Stuck:
    ours = None if sent is None else _decode(sent, account.address)
    theirs = account.waiting(nonce, _parse)
    doing, since = ("", None) if sent is None else (sent.doing, sent.time)
    if theirs is not None:
        # The node's goes first: a newer offer of ours may never have reached it.
        if ours is None or ours.call != theirs.call:
            doing, since = "", None
        return replace(theirs, nonce=nonce, doing=doing, since=since)
    if ours is not None:
        is_at_node = ours.hash is not None and account.is_known(ours.hash)
        return replace(ours, nonce=nonce, doing=doing, since=since, is_at_node=is_at_node)
    return Stuck(nonce)


def _decode(sent: Sent, account: Address) -> Stuck | None:
    """Return what a recorded transaction says; None where it is damaged."""
    try:
        fields = TypedTransaction.from_bytes(HexBytes(sent.raw)).as_dict()
        to = bytes(fields["to"])
        call = _call(account, Address(to) if to else None, fields["value"], bytes(fields["data"]))
        fees = Fees(int(fields["maxPriorityFeePerGas"]), int(fields["maxFeePerGas"]))
        return Stuck(sent.nonce, Hash32(keccak(sent.raw)), call, int(fields["gas"]), fees)
    except Exception:  # noqa: BLE001 - whatever eth-account's decoders raise, it is no transaction
        return None


def _parse(fields: dict[str, object], account: Address, source: str) -> Stuck:
    """Return what the node says of a waiting transaction of the account.

    Raises:
        EndpointUnavailable: It makes no sense.
    """
    if decode.data(fields.get("from"), source) != account:
        raise decode.nonsense(source, "another account's transaction")
    # Of the older types, which offer one price for everything, there is `gasPrice` alone.
    highest = decode.quantity(fields.get("maxFeePerGas") or fields.get("gasPrice"), source)
    tip = decode.quantity(fields.get("maxPriorityFeePerGas") or hex(highest), source)
    to = fields.get("to")
    return Stuck(
        decode.quantity(fields.get("nonce"), source),
        decode.hash32(fields.get("hash"), source),
        _call(
            account,
            None if to is None else _address(decode.data(to, source), source),
            decode.quantity(fields.get("value"), source),
            decode.data(fields.get("input"), source),
        ),
        decode.quantity(fields.get("gas"), source),
        Fees(tip, highest),
        is_at_node=True,
    )


def _address(raw: bytes, source: str) -> Address:
    if len(raw) != 20:
        raise decode.nonsense(source, "an address is malformed")
    return Address(raw)


def _call(account: Address, to: Address | None, value: int, data: bytes) -> dict[str, Any]:
    call = {"from": str(account), "data": f"0x{data.hex()}", "value": hex(value)}
    return call if to is None else call | {"to": str(to)}
