"""Call data and init code: the contracts' ABIs, as web3 encodes them.

web3 is used for its codec alone; see `sender` for why questions go another way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.exceptions import Web3Exception

from dpki.errors import UsageError
from dpki.transactions.artifacts import load_artifact


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Return the call data of a function.

    Raises:
        UsageError: An argument does not fit its type: a serial beyond 32 bits, for example.
    """
    try:
        encoded: str = _contract(contract).encode_abi(function, args=list(arguments))
    except (Web3Exception, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{contract}.{function} can't take these values: a number or key is out of range"
        ) from error
    return bytes.fromhex(encoded[2:])


def encode_deployment(contract: str, *arguments: Any) -> bytes:
    """Return a contract's init code with its constructor's arguments."""
    encoded: str = _contract(contract).constructor(*arguments).data_in_transaction
    return bytes.fromhex(encoded[2:])


@cache
def _contract(name: str) -> type[Contract]:
    """Return web3's view of a contract: its ABI's types, and no connection to anything."""
    artifact = load_artifact(name)
    return Web3().eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
