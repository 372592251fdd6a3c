"""A contract's storage under one root, as far as it was proven.

A trie's root commits to every word: as long as it stays the same, no word has changed. When it
changes, most of the trie does not, and a node that the new root leads to is proven by its hash,
whenever it was that somebody sent it. So nodes are kept and walked again, and only where one is
missing a proof has to be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dpki.chain.proofs import EMPTY_ROOT, Node, walk, word_of
from dpki.model import Hash32


class StorageTrie:
    """Storage words under one root.

    Args:
        root: The root, proven.
        nodes: What may be known of it from earlier roots, by hash.
    """

    def __init__(self, root: Hash32, nodes: Mapping[bytes, Node]) -> None:
        self.root = root
        self._nodes = dict(nodes)
        self._used: dict[bytes, Node] = {}
        self._words: dict[int, bytes] = {}

    @property
    def used(self) -> Mapping[bytes, Node]:
        """The nodes that the words which were asked for rest on, by hash."""
        return self._used

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known that could spare a question."""
        return not self._nodes

    def words(self, slots: Sequence[int]) -> list[bytes]:
        """Return words that `lacking` found not to be lacking."""
        words = self._words
        return [words[slot] for slot in slots]

    def lacking(self, slots: Iterable[int]) -> dict[bytes, list[int]]:
        """Return the slots whose words can't be proven yet, by the node that is missing.

        Raises:
            ProofInvalid: The storage holds something that is no word.
        """
        lacking: dict[bytes, list[int]] = {}
        for slot in slots:
            if slot in self._words:
                continue
            missing = self._prove(slot)
            if missing is not None:
                lacking.setdefault(missing, []).append(slot)
        return lacking

    def learn(self, words: Mapping[int, bytes], nodes: Iterable[Node]) -> None:
        """Take words that were proven, and the nodes that proved them."""
        self._words.update(words)
        for node in nodes:
            self._nodes[node.hash] = self._used[node.hash] = node

    def _prove(self, slot: int) -> bytes | None:
        """Prove a word from the nodes that are here; return the hash of the first that is not."""
        if self.root == EMPTY_ROOT:
            self._words[slot] = bytes(32)
            return None
        used: list[Node] = []

        def find(reference: bytes) -> Node:
            if len(reference) < 32:
                return Node.parse(reference)
            node = self._nodes.get(reference)
            if node is None:
                raise _Missing(reference)
            used.append(node)
            return node

        try:
            self._words[slot] = word_of(walk(self.root, slot.to_bytes(32), find))
        except _Missing as missing:
            return missing.reference
        for node in used:
            self._used[node.hash] = node
        return None


class _Missing(Exception):
    """A node is not here."""

    def __init__(self, reference: bytes) -> None:
        self.reference = reference
