"""What two endpoints' answers are compared by."""

from __future__ import annotations

from dpki.chain import decode
from dpki.chain.rpc import Call
from dpki.model import Block, to_timestamp

_LOG_FIELDS = ("address", "topics", "data", "blockNumber", "blockHash", "logIndex")


def comparable(call: Call, answer: object, source: str) -> object:
    """Return an answer without what endpoints of different make write differently.

    Raises:
        EndpointUnavailable: It is nonsense.
    """
    if call.method == "eth_getStorageAt":
        return f"0x{decode.word(answer, source).hex()}"
    if call.method == "eth_chainId":
        return hex(decode.quantity(answer, source))
    if call.method.startswith("eth_getBlockBy"):
        return None if answer is None else block_object(decode.block(answer, source))
    if call.method == "eth_getLogs":
        logs = [decode.mapping(log, source) for log in decode.sequence(answer, source)]
        return [_lower({name: log.get(name) for name in _LOG_FIELDS}) for log in logs]
    return answer


def _lower(log: dict[str, object]) -> dict[str, object]:
    def one(value: object) -> object:
        if isinstance(value, list):
            return [one(item) for item in value]
        return value.lower() if isinstance(value, str) else value

    return {name: one(value) for name, value in log.items()}


def block_object(block: Block) -> dict[str, object]:
    """Return a block as an endpoint answers it, without what nobody here asks for."""
    return {
        "number": hex(block.number),
        "hash": str(block.hash),
        "timestamp": hex(to_timestamp(block.time)),
    }
