"""Reverts, checked to the last value.

`ape.reverts` lets two things pass: an error that ape could not decode, whatever it was, and a value
that the error does not have. Here either fails the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ape.exceptions import ContractLogicError, CustomError
from eth_abi.abi import decode
from eth_hash.auto import keccak


def plain(value: Any) -> Any:
    """Return a decoded value as bytes, int, bool or lower-case address."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if hasattr(value, "address"):
        value = str(value.address)
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return value.lower()
    return value


@contextmanager
def reverts(error: Any, **values: Any) -> Iterator[None]:
    """Fail unless the body reverts with exactly this error, holding exactly these values.

    With no values given only the error's name counts.
    """
    with pytest.raises(ContractLogicError) as reverted:
        yield
    name, found = _read(reverted.value, error)
    assert name == error.abi.name
    if values:
        assert found == {key: plain(value) for key, value in values.items()}


def _read(reverted: ContractLogicError, expected: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(reverted, CustomError):
        inputs = {name: plain(value) for name, value in reverted.inputs.items()}
        return reverted.abi.name, inputs
    # An error of a contract that was called by the one that ape knows it called; or a view's, with
    # Anvil's words around it.
    text = str(reverted.revert_message).removeprefix("custom error ").replace(": ", "")
    data = bytes.fromhex(text.removeprefix("0x"))
    assert data[:4] == keccak(expected.abi.selector.encode())[:4], f"another error: {data.hex()}"
    types = [part.canonical_type for part in expected.abi.inputs]
    names = [part.name for part in expected.abi.inputs]
    decoded = decode(types, data[4:])
    return expected.abi.name, {n: plain(v) for n, v in zip(names, decoded, strict=True)}
