"""Why a contract refused: revert data, decoded by name and value.

Solidity documentation, "Errors and the Revert Statement": four bytes of the error's signature hash,
then its arguments. A nested call's error arrives unchanged, so the errors of every contract are
looked up together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.exceptions import DecodingError

from dpki.errors import TransactionForbidden, TransactionReverted
from dpki.explanations import revert_hint
from dpki.keccak import keccak
from dpki.model import Address, AuthorityState, DeviceState
from dpki.transactions.abi import decode
from dpki.transactions.artifacts import CONTRACTS, load_artifact

_FOREIGN = (
    # Solidity's own
    ("Error", (("reason", "string", ""),)),
    ("Panic", (("code", "uint256", ""),)),
    # OpenZeppelin's ECDSA
    ("ECDSAInvalidSignature", ()),
    ("ECDSAInvalidSignatureLength", (("length", "uint256", ""),)),
    ("ECDSAInvalidSignatureS", (("s", "bytes32", ""),)),
)


_FORBIDDEN = ("AccessControlUnauthorizedAccount", "TimelockUnauthorizedCaller")
"""What OpenZeppelin's contracts say to a caller without the role."""


@dataclass(frozen=True)
class _Error:
    name: str
    parameters: tuple[tuple[str, str, str], ...]  # name, ABI type, Solidity type

    @property
    def selector(self) -> bytes:
        return keccak(f"{self.name}({','.join(kind for _, kind, _ in self.parameters)})".encode())[
            :4
        ]


@cache
def _errors() -> Mapping[bytes, _Error]:
    found = [_Error(name, parameters) for name, parameters in _FOREIGN]
    for contract in CONTRACTS:
        for item in load_artifact(contract).abi:
            if item["type"] == "error":
                inputs = tuple(
                    (i["name"], i["type"], i.get("internalType", "")) for i in item["inputs"]
                )
                found.append(_Error(item["name"], inputs))
    return {error.selector: error for error in found}


def decode_revert(data: object) -> TransactionReverted:
    """Return the exception for a call that reverted.

    Args:
        data: The `data` of the endpoint's error: hexadecimal revert data, if it is honest and kind.

    Returns: `TransactionForbidden` where the contract said that the caller has no right, else
        `TransactionReverted`.
    """
    raw = _revert_bytes(data)
    error = _errors().get(raw[:4])
    if error is None:
        return TransactionReverted(
            "UnknownError", {"data": f"0x{raw[:64].hex()}"}, hint="is it the right contract?"
        )
    try:
        decoded = decode([kind for _, kind, _ in error.parameters], raw[4:])
    except (DecodingError, OverflowError):
        return TransactionReverted(error.name, {"data": f"0x{raw[:64].hex()}"})
    values = {
        name: _readable(value, kind, solidity)
        for (name, kind, solidity), value in zip(error.parameters, decoded, strict=True)
    }
    hint = revert_hint(error.name)
    if error.name.endswith("Unauthorized") or error.name in _FORBIDDEN:
        return TransactionForbidden(error.name, values, hint=hint)
    return TransactionReverted(error.name, values, hint=hint)


def _revert_bytes(data: object) -> bytes:
    """Return the revert data; some nodes wrap it in an object or put a word before it."""
    if isinstance(data, Mapping):
        data = data.get("data") or data.get("result")
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""


def _readable(value: Any, kind: str, solidity: str) -> object:
    """Return a value in the form that people compare."""
    if kind == "address":
        return str(Address.parse(value))
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    states = {
        "enum ICertificateRegistry.State": AuthorityState,
        "enum IDeviceRegistry.State": DeviceState,
    }
    if solidity in states:
        try:
            return states[solidity](value).name.lower().replace("_", "-")
        except ValueError:
            return value
    return value
