"""A state with proofs, made by the `trie` package: the second opinion on our verifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import rlp
from eth_hash.auto import keccak
from trie import HexaryTrie

from dpki.model import Address, Hash32

NO_CODE = keccak(b"")


def trie_of(values: Mapping[bytes, bytes]) -> HexaryTrie:
    """Return a trie of hashed keys."""
    trie = HexaryTrie({})
    for key, value in values.items():
        trie[keccak(key)] = value
    return trie


def nodes_of(trie: HexaryTrie, key: bytes, *, embedded: bool = False) -> list[bytes]:
    """Return the encoded nodes on the way to a key.

    Args:
        embedded: Whether nodes that stand inside their parents are listed, too, as some clients do.
    """
    nodes = [rlp.encode(node) for node in trie.get_proof(keccak(key)) if node]
    return [node for i, node in enumerate(nodes) if embedded or i == 0 or len(node) >= 32]


def written(nodes: Iterable[bytes]) -> list[str]:
    return [f"0x{node.hex()}" for node in nodes]


@dataclass
class State:
    """Accounts and their storage; zero words are no words."""

    storage: dict[Address, dict[int, int]] = field(default_factory=dict)
    embedded: bool = False

    def __post_init__(self) -> None:
        self._tries = {
            address: trie_of(
                {slot.to_bytes(32): rlp.encode(value) for slot, value in words.items() if value}
            )
            for address, words in self.storage.items()
        }
        self._accounts = trie_of(
            {
                address: rlp.encode([1, 10**18, trie.root_hash, NO_CODE])
                for address, trie in self._tries.items()
            }
        )

    @property
    def root(self) -> Hash32:
        return Hash32(self._accounts.root_hash)

    def proof(self, address: Address, slots: Sequence[int]) -> dict[str, object]:
        """Return what `eth_getProof` answers."""
        trie = self._tries.get(address, trie_of({}))
        words = self.storage.get(address, {})
        return {
            "address": str(address).lower(),
            "accountProof": written(nodes_of(self._accounts, address, embedded=self.embedded)),
            "balance": hex(10**18),
            "codeHash": f"0x{NO_CODE.hex()}",
            "nonce": "0x1",
            "storageHash": f"0x{trie.root_hash.hex()}",
            "storageProof": [
                {
                    "key": f"0x{slot:064x}",
                    "value": hex(words.get(slot, 0)),
                    "proof": written(nodes_of(trie, slot.to_bytes(32), embedded=self.embedded)),
                }
                for slot in slots
            ],
        }
