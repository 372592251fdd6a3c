"""Storage words of one block, asked of whoever has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dpki.chain import decode
from dpki.chain.rpc import Call, Reader
from dpki.errors import CouldNotCheck
from dpki.model import Address, Block, Hash32

Slot = tuple[Address, int]
"""A word's place: contract and slot."""


@runtime_checkable
class WordReader(Protocol):
    """A reader that has storage words as such: thousands of them need not be written as JSON."""

    def words(self, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
        """Return a block's storage words, one a slot, in order.

        Raises:
            EndpointUnavailable: No answer, or nonsense.
        """
        ...


class Storage:
    """Storage words of one block."""

    def __init__(self, reader: Reader, block: Block) -> None:
        self.reader = reader
        self._block = block

    def read(self, slots: Sequence[Slot]) -> list[bytes]:
        """Return one word a slot, in order."""
        if isinstance(self.reader, WordReader):
            return self.reader.words(self._block.hash, slots)
        return read_words(self.reader, self._block.hash, slots)


def read_words(reader: Reader, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
    """Return a block's storage words, asked for as such; see `WordReader.words`."""
    # requireCanonical: a block that a reorg has thrown out must not be answered from.
    at = {"blockHash": str(block), "requireCanonical": True}
    calls = [
        Call("eth_getStorageAt", [str(contract), f"0x{slot:064x}", at]) for contract, slot in slots
    ]
    return [decode.word(answer, reader.name) for answer in reader.batch(calls)]


def contradiction(source: Reader, what: str) -> CouldNotCheck:
    """Return the error for words that the contracts can't have written."""
    return CouldNotCheck(
        f"{source.name} answered something that the contracts can't have written: {what}",
        hint="ask another RPC endpoint; nothing was changed",
    )
