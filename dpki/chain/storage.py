"""Storage words of one block, asked of whoever has them."""

from __future__ import annotations

from collections.abc import Sequence

from dpki.chain import decode
from dpki.chain.rpc import Call, Reader
from dpki.errors import CouldNotCheck
from dpki.model import Address, Block

Slot = tuple[Address, int]
"""A word's place: contract and slot."""


class Storage:
    """Storage words of one block."""

    def __init__(self, reader: Reader, block: Block) -> None:
        self.reader = reader
        # requireCanonical: a block that a reorg has thrown out must not be answered from.
        self._at = {"blockHash": str(block.hash), "requireCanonical": True}

    def read(self, slots: Sequence[Slot]) -> list[bytes]:
        """Return one word a slot, in order."""
        calls = [
            Call("eth_getStorageAt", [str(contract), f"0x{slot:064x}", self._at])
            for contract, slot in slots
        ]
        return [decode.word(answer, self.reader.name) for answer in self.reader.batch(calls)]


def contradiction(source: Reader, what: str) -> CouldNotCheck:
    """Return the error for words that the contracts can't have written."""
    return CouldNotCheck(
        f"{source.name} answered something that the contracts can't have written: {what}",
        hint="ask another RPC endpoint; nothing was changed",
    )
