"""A contract's logs: what was asked for, whole and in order, or an error.

Logs are an endpoint's word and nothing more; whoever reads them holds them against something.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dpki.chain import decode
from dpki.chain.rpc import Reader, RpcError
from dpki.errors import EndpointUnavailable
from dpki.http import Deadline
from dpki.model import Address, Hash32

RANGE = 10_000
"""Blocks in one question: many public endpoints refuse more."""

SEARCH = timedelta(minutes=5)
"""For a whole search: an endpoint that finds every range too large must not hold us for ever."""


@dataclass(frozen=True)
class Log:
    """A log of a contract that was asked about.

    Attributes:
        index: Its place among all logs of its block.
        contract: Whose it is.
        transaction: The transaction that it was made in; None where the endpoint does not say.
    """

    topics: tuple[Hash32, ...]
    data: bytes
    block_number: int
    block_hash: Hash32
    index: int
    contract: Address
    transaction: Hash32 | None = None


def fetch_logs(
    reader: Reader, contract: Address, from_block: int, to_block: int, topics: Sequence[object]
) -> list[Log]:
    """Return the contract's logs of the blocks, both ends included, in the chain's order.

    Asks for less at once where the endpoint finds it too much.

    Args:
        topics: As `eth_getLogs` takes them.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    found: list[Log] = []
    deadline = Deadline(SEARCH)
    start, span = from_block, RANGE
    while start <= to_block:
        if deadline.is_over:
            raise EndpointUnavailable(
                f"{reader.name} did not finish the search of blocks {from_block} to {to_block}"
                f" within {SEARCH.total_seconds():g} s",
                hint="search fewer blocks, or ask another RPC endpoint",
            )
        end = min(start + span - 1, to_block)
        try:
            answer = fetch_range(reader, [contract], start, end, topics)
        except RpcError:
            # Endpoints say "too many" in as many words as there are endpoints; what a smaller range
            # can't cure surfaces at a single block.
            if start == end:
                raise
            span = (end - start + 1) // 2
            continue
        found += answer
        start, span = end + 1, min(2 * span, RANGE)
    return found


def fetch_range(
    reader: Reader,
    contracts: Sequence[Address],
    start: int,
    end: int,
    topics: Sequence[object] = (),
) -> list[Log]:
    """Return the contracts' logs of the blocks, both ends included, by one question.

    Raises:
        RpcError: The endpoint refuses: it is too much at once, perhaps.
        EndpointUnavailable: No answer, or nonsense.
    """
    # One contract is asked for by itself: not every endpoint takes a list.
    asked = [str(contract) for contract in contracts]
    query = {
        "address": asked[0] if len(asked) == 1 else asked,
        "topics": list(topics),
        "fromBlock": hex(start),
        "toBlock": hex(end),
    }
    answer = reader.call("eth_getLogs", [query])
    return list(_parse_logs(answer, frozenset(contracts), start, end, reader.name))


def _parse_logs(
    answer: object, contracts: Container[bytes], start: int, end: int, source: str
) -> Iterable[Log]:
    """Return the logs of one answer: what was asked for, and in order."""
    last = (-1, -1)
    for item in decode.sequence(answer, source):
        fields = decode.mapping(item, source)
        contract = decode.data(fields.get("address"), source)
        transaction = fields.get("transactionHash")
        if contract not in contracts:
            raise decode.nonsense(source, "events of another contract")
        log = Log(
            topics=tuple(
                decode.hash32(t, source) for t in decode.sequence(fields.get("topics"), source)
            ),
            data=decode.data(fields.get("data"), source),
            block_number=decode.quantity(fields.get("blockNumber"), source),
            block_hash=decode.hash32(fields.get("blockHash"), source),
            index=decode.quantity(fields.get("logIndex"), source),
            contract=Address(contract),
            transaction=None if transaction is None else decode.hash32(transaction, source),
        )
        place = (log.block_number, log.index)
        if fields.get("removed") is True or not start <= log.block_number <= end or place <= last:
            raise decode.nonsense(source, "events out of range, removed or out of order")
        last = place
        yield log
