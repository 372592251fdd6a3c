"""Calls made as the governor, without effect: so that nobody votes on what would fail."""

from __future__ import annotations

from collections.abc import Sequence

from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader, RpcError
from dpki.errors import TransactionReverted
from dpki.model import Address
from dpki.transactions.account import Account
from dpki.transactions.governed import GovernanceCall
from dpki.transactions.reverts import decode_revert


def failure_of(
    reader: Reader, domain: Domain, maker: Address, calls: Sequence[GovernanceCall]
) -> str | None:
    """Return why the calls would fail now; None where they would not."""
    try:
        try_calls(reader, domain, maker, calls)
    except TransactionReverted as error:
        return error.message
    return None


def try_calls(
    reader: Reader, domain: Domain, maker: Address, calls: Sequence[GovernanceCall]
) -> None:
    """Make the calls from an account without effect, one on top of the other.

    Raises:
        TransactionReverted: One of them would be refused; the message says which.
        EndpointUnavailable: No answer, or nonsense.
    """
    account = Account(reader, maker, domain.id.chain_id)
    made = [
        {"from": str(maker), "to": str(call.target), "data": f"0x{call.data.hex()}"}
        for call in calls
    ]
    if len(made) == 1:
        account.simulate(made[0])
        return
    try:
        answer = reader.call(
            "eth_simulateV1",
            [{"blockStateCalls": [{"calls": made}], "validation": False}, "latest"],
        )
    except RpcError:
        # Without it each can only be tried alone, and all but the first may depend on others.
        account.simulate(made[0])
        return
    blocks = decode.sequence(answer, reader.name)
    told = decode.mapping(blocks[0], reader.name).get("calls") if blocks else None
    results = decode.sequence(told, reader.name)
    if len(results) != len(made):
        raise decode.nonsense(reader.name, "it tried another number of calls than it was given")
    for number, item in enumerate(results, 1):
        result = decode.mapping(item, reader.name)
        if result.get("status") != "0x1":
            error = result.get("error")
            data = error.get("data") if isinstance(error, dict) else None
            raise _of_call(number, decode_revert(data or result.get("returnData")))


def _of_call(number: int, error: TransactionReverted) -> TransactionReverted:
    error.message = f"call {number} of the round would fail: {error.message}"
    error.args = (error.message,)
    return error
