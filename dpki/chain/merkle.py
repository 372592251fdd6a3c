"""Leaves, trees and commitments of certificate batches.

The format is normative in docs/formats.md ("Leaf, tree, commitment"); the tree's shape is RFC
6962, section 2.1, built level by level: neighbours are joined, and an odd last node moves up
unchanged. contracts/MerkleTree.sol is the other implementation, and tests/integration holds the two
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from dpki.errors import MalformedInput, UsageError
from dpki.keccak import keccak
from dpki.model import MAXIMUM_BATCH, Address, AuthorityId, Entry, Hash32, Path, to_timestamp

_LEAF_TAG = keccak(b"dpki leaf v1")
_MAXIMUM_SERIAL = 2**32 - 1


def leaf_context(chain_id: int, registry: Address, ca: AuthorityId) -> Hash32:
    """Return what binds a leaf to its chain, CertificateRegistry and authority."""
    # Four static words: abi.encode is plain concatenation.
    return Hash32(keccak(_LEAF_TAG + chain_id.to_bytes(32) + bytes(12) + registry + ca))


def subject_word(entry: Entry) -> bytes:
    """Return device (20 bytes) and notAfter (12 bytes, seconds) as the contract packs them."""
    return bytes(entry.device) + to_timestamp(entry.not_after).to_bytes(12)


def leaf(context: Hash32, serial: int, entry: Entry) -> Hash32:
    """Return the leaf of one certificate; the locator is not in it."""
    return Hash32(
        keccak(
            b"\x00" + context + serial.to_bytes(4) + subject_word(entry) + entry.certificate_hash
        )
    )


def node(left: Hash32, right: Hash32) -> Hash32:
    """Return the parent of two nodes."""
    return Hash32(keccak(b"\x01" + left + right))


def commitment(root: Hash32, count: int) -> Hash32:
    """Return the word that the CertificateRegistry stores for a batch."""
    return Hash32(keccak(b"\x02" + root + count.to_bytes(4)))


class Tree:
    """The tree over a batch's leaves.

    Args:
        leaves: 1 to 1,000, in the order of their serials.
    """

    def __init__(self, leaves: Sequence[Hash32]) -> None:
        if not 1 <= len(leaves) <= MAXIMUM_BATCH:
            raise UsageError(f"a batch holds 1 to {MAXIMUM_BATCH} certificates, not {len(leaves)}")
        self._levels = [tuple(leaves)]
        while len(level := self._levels[-1]) > 1:
            joined = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            self._levels.append(tuple(joined) + (level[-1:] if len(level) % 2 else ()))

    @property
    def count(self) -> int:
        """Return the number of leaves."""
        return len(self._levels[0])

    @property
    def root(self) -> Hash32:
        """Return the root."""
        return self._levels[-1][0]

    @property
    def commitment(self) -> Hash32:
        """Return the word that the contract stores for this batch."""
        return commitment(self.root, self.count)

    def path(self, index: int, first_serial: int) -> Path:
        """Return the path of the leaf at `index`, from 0, in the batch from `first_serial`."""
        if not 0 <= index < self.count:
            raise UsageError(f"the batch has {self.count} certificates; there is no index {index}")
        siblings = []
        for level in self._levels[:-1]:
            if (sibling := index ^ 1) < len(level):
                siblings.append(level[sibling])
            index //= 2
        return Path(first_serial, self.count, tuple(siblings))


def verify_path(leaf: Hash32, serial: int, path: Path) -> Hash32:
    """Return the root that the path leads to; the caller compares its commitment with the chain's.

    Args:
        leaf: The certificate's leaf.
        serial: Its serial; with the path's first serial it fixes the place in the tree.

    Raises:
        MalformedInput: The serial lies outside of the batch, or the number of siblings is not the
            one that the place and the count prescribe.
    """
    if not 1 <= path.count <= MAXIMUM_BATCH or not 1 <= path.first_serial <= _MAXIMUM_SERIAL:
        raise MalformedInput(
            f"no batch starts at {path.first_serial} with {path.count} certificates"
        )
    index = serial - path.first_serial
    if not 0 <= index < path.count:
        raise MalformedInput(
            f"serial {serial} is not in the batch of {path.count} certificates from"
            f" {path.first_serial}"
        )
    size, current, siblings = path.count, leaf, iter(path.siblings)
    if len(path.siblings) != expected_siblings(index, size):
        raise MalformedInput(
            f"the path has {len(path.siblings)} siblings, not the {expected_siblings(index, size)}"
            " of its place"
        )
    while size > 1:
        if index % 2:
            current = node(next(siblings), current)
        elif index + 1 < size:
            current = node(current, next(siblings))
        index, size = index // 2, (size + 1) // 2
    return current


def expected_siblings(index: int, count: int) -> int:
    """Return how many siblings the path of the leaf at `index` among `count` has."""
    siblings = 0
    while count > 1:
        siblings += index % 2 or index + 1 < count
        index, count = index // 2, (count + 1) // 2
    return siblings
