"""What a chain of the OP stack takes for the layer below, beside the gas.

The predeployed contract GasPriceOracle tells (OP Stack specification, "Predeploys" and "Fjord:
L1-Cost fees"): `getL1FeeUpperBound` by the size of the unsigned transaction, whatever is in it;
before Fjord only `getL1Fee`, by the transaction's bytes. It is taken from the account at once, and
no limit in the transaction bounds it.
"""

from __future__ import annotations

from dpki.chain import decode
from dpki.chain.rpc import Reader, RpcError
from dpki.keccak import keccak
from dpki.model import Address

ORACLE = Address(bytes.fromhex("420000000000000000000000000000000000000f"))

_UPPER_BOUND = keccak(b"getL1FeeUpperBound(uint256)")[:4]
_BY_BYTES = keccak(b"getL1Fee(bytes)")[:4]


def has_layer_fee(reader: Reader) -> bool:
    """Return whether the chain has the oracle.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    return bool(decode.data(reader.call("eth_getCode", [str(ORACLE), "latest"]), reader.name))


def fetch_layer_fee(reader: Reader, size: int) -> int:
    """Return wei that the layer below may take for a transaction, at a chain that has the oracle.

    A quarter more than it asks now: its base fee rises by up to an eighth a block (EIP-1559), and
    it may have two before the transaction's turn comes.

    Args:
        size: Bytes of the unsigned transaction.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    number = size.to_bytes(32)
    try:
        asked = _ask(reader, _UPPER_BOUND + number)
    except RpcError:
        # Bytes that are not zero cost most.
        padded = b"\xff" * size + bytes(-size % 32)
        asked = _ask(reader, _BY_BYTES + (32).to_bytes(32) + number + padded)
    return -(-asked * 5 // 4)


def _ask(reader: Reader, data: bytes) -> int:
    answer = reader.call("eth_call", [{"to": str(ORACLE), "data": f"0x{data.hex()}"}, "latest"])
    return int.from_bytes(decode.word(answer, reader.name))
