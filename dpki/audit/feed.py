"""What endpoints tell of a domain's history: logs, blocks and transactions, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dpki.audit.history import Transaction
from dpki.chain import decode
from dpki.chain.logs import Log, fetch_range
from dpki.chain.rpc import Call, Reader
from dpki.errors import EndpointUnavailable
from dpki.model import Address, Hash32, to_timestamp

RANGE = 10_000
"""Blocks in one question, at most: many public endpoints refuse more."""

FIRST_RANGE = 500
"""Blocks in the first question: nobody knows yet how much happens in one."""

LOGS = 4_000
"""Logs that an answer should have, about: 3 MB of JSON."""

TOGETHER = 50
"""Transactions in one question: each comes with its data, of up to 128 KiB."""


@dataclass
class Feed:
    """Asks for logs, and for as many blocks at once as the last answers suggest."""

    reader: Reader
    span: int = FIRST_RANGE

    def logs(self, contracts: Sequence[Address], start: int, last: int) -> tuple[int, list[Log]]:
        """Return the contracts' logs from a block on, and up to which block.

        Raises:
            EndpointUnavailable: No answer, or nonsense, for the first block alone.
        """
        while True:
            end = min(start + self.span - 1, last)
            try:
                found = fetch_range(self.reader, contracts, start, end)
            except EndpointUnavailable:
                # Too much at once is refused, cut off or late: endpoints say it in many ways.
                if end == start:
                    raise
                self.span = max(1, (end - start + 1) // 4)
                continue
            if len(found) > LOGS:
                self.span = max(1, self.span * LOGS // len(found))
            elif 2 * len(found) <= LOGS:
                self.span = min(2 * self.span, RANGE)
            return end, found

    def all_logs(
        self, contracts: Sequence[Address], start: int, last: int
    ) -> Iterator[tuple[int, list[Log]]]:
        """Return the contracts' logs up to a block, stretch by stretch."""
        while start <= last:
            end, found = self.logs(contracts, start, last)
            yield end, found
            start = end + 1

    def times(self, logs: Iterable[Log]) -> dict[int, int]:
        """Return the times of the logs' blocks, in seconds, by number.

        Raises:
            EndpointUnavailable: No answer, or a block is not the one that its logs name.
        """
        hashes: dict[int, Hash32] = {}
        for log in logs:
            if hashes.setdefault(log.block_number, log.block_hash) != log.block_hash:
                raise decode.nonsense(self.reader.name, "logs of two blocks of one number")
        calls = [Call("eth_getBlockByNumber", [hex(number), False]) for number in hashes]
        times = {}
        for answer in self.reader.batch(calls) if calls else ():
            block = decode.block(answer, self.reader.name)
            if hashes.get(block.number) != block.hash:
                raise decode.nonsense(
                    self.reader.name,
                    f"logs of another block {block.number} than the one on the chain",
                )
            times[block.number] = to_timestamp(block.time)
        if len(times) != len(hashes):
            raise decode.nonsense(self.reader.name, "another block than the one asked for")
        return times

    def transactions(self, logs: Iterable[Log]) -> dict[Hash32, Transaction]:
        """Return who sent the logs' transactions.

        Raises:
            EndpointUnavailable: No answer, or it is not of those blocks.
        """
        blocks: dict[Hash32, Hash32] = {}
        for log in logs:
            if log.transaction is None:
                raise decode.nonsense(self.reader.name, "a log of no transaction")
            blocks[log.transaction] = log.block_hash
        found = {}
        asked = list(blocks)
        for start in range(0, len(asked), TOGETHER):
            some = asked[start : start + TOGETHER]
            calls = [Call("eth_getTransactionByHash", [str(one)]) for one in some]
            for hash, answer in zip(some, self.reader.batch(calls), strict=True):
                found[hash] = self._transaction(hash, blocks[hash], answer)
        return found

    def _transaction(self, hash: Hash32, block: Hash32, answer: object) -> Transaction:
        source = self.reader.name
        fields = decode.mapping(answer, source)
        to = fields.get("to")
        sender, receiver = decode.data(fields.get("from"), source), None
        if to is not None:
            receiver = decode.data(to, source)
        if (
            decode.hash32(fields.get("hash"), source) != hash
            or decode.hash32(fields.get("blockHash"), source) != block
            or len(sender) != 20
            or (receiver is not None and len(receiver) != 20)
        ):
            raise decode.nonsense(source, "a transaction that is not the one asked for")
        return Transaction(hash, Address(sender), None if receiver is None else Address(receiver))
