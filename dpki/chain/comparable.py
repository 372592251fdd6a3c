"""What two endpoints' answers are compared by."""

from __future__ import annotations

import json

from dpki.chain import decode
from dpki.chain.rpc import Call
from dpki.model import Block, to_timestamp


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
        return [_log(item, source) for item in decode.sequence(answer, source)]
    # Of these two the rest is written in as many ways as there are kinds of transactions.
    if call.method == "eth_getTransactionByHash" and answer is not None:
        fields = decode.mapping(answer, source)
        return {name: _hex(fields.get(name), source) for name in _OF_TRANSACTION}
    if call.method == "eth_getTransactionReceipt" and answer is not None:
        fields = decode.mapping(answer, source)
        return {
            "transactionHash": _hex(fields.get("transactionHash"), source),
            "blockHash": _hex(fields.get("blockHash"), source),
            "status": hex(decode.quantity(fields.get("status"), source)),
        }
    if call.method in ("eth_call", "eth_getCode"):
        return _hex(answer, source)
    return answer


def written(value: object, source: str) -> str:
    """Return an answer as text; two are the same if their texts are.

    Raises:
        EndpointUnavailable: It can't be written: nested by the thousand, or a number without end.
    """
    try:
        return json.dumps(value, sort_keys=True)
    except (RecursionError, ValueError) as error:
        raise decode.nonsense(source, "an answer that can't be written down") from error


_OF_TRANSACTION = ("hash", "blockHash", "from", "to")


def _hex(value: object, source: str) -> str | None:
    return None if value is None else f"0x{decode.data(value, source).hex()}"


def _log(item: object, source: str) -> dict[str, object]:
    """Return what of an event matters to us, in one spelling."""
    log = decode.mapping(item, source)
    topics = decode.sequence(log.get("topics"), source)
    return {
        "address": f"0x{decode.data(log.get('address'), source).hex()}",
        "topics": [str(decode.hash32(topic, source)) for topic in topics],
        "data": f"0x{decode.data(log.get('data'), source).hex()}",
        "blockNumber": hex(decode.quantity(log.get("blockNumber"), source)),
        "blockHash": str(decode.hash32(log.get("blockHash"), source)),
        "logIndex": hex(decode.quantity(log.get("logIndex"), source)),
        "transactionHash": _hex(log.get("transactionHash"), source),
        "removed": log.get("removed") is True,
    }


def block_object(block: Block) -> dict[str, object]:
    """Return a block as an endpoint answers it, without what nobody here asks for."""
    return {
        "number": hex(block.number),
        "hash": str(block.hash),
        "timestamp": hex(to_timestamp(block.time)),
    }
