"""What one certificate's verdict needs of a trust domain's state, and nothing else.

A `Snapshot` is complete, and lists are made of it: of CAs, of revocations. An excerpt is a type of
its own so that none can be: it knows one CA, and of its revocations the one word that holds one
serial. Both are judged by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from dpki.chain import layout
from dpki.chain.authority import AuthorityExcerpt, Head, head_slots, serial_slot
from dpki.chain.domain import Contracts
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import DeviceRecord, fetch_places
from dpki.chain.storage import Storage
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityId, Block, Hash32

_NONE: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Excerpt:
    """A part of a trust domain's state at one block.

    Attributes:
        domain: The domain, as its id says it.
        block: The block.
        ca: The one CA that was asked for.
        authority: That CA, as far as one serial needs it; None where it was never registered.
        devices: The devices that were asked for.
        commitments: The batches that were asked for, as in a `Snapshot`.
        progress: How far they are confirmed; only of those that have to be.
    """

    domain: Contracts
    block: Block
    ca: AuthorityId
    authority: AuthorityExcerpt | None
    devices: Mapping[Address, DeviceRecord]
    commitments: Mapping[tuple[AuthorityId, int], Hash32]
    progress: Mapping[tuple[AuthorityId, int], layout.Progress]

    def find(self, ca: AuthorityId) -> AuthorityExcerpt | None:
        """Return the CA, if it was ever registered.

        Raises:
            CouldNotCheck: It is not the one that was asked for.
        """
        if ca != self.ca:
            raise CouldNotCheck(f"authority {ca} was not read")
        return self.authority

    def awaited(self, ca: AuthorityId, first_serial: int) -> str | None:
        """Return what a batch waits for before it counts, in words; None where for nothing.

        The batch must have been asked for.
        """
        authority = self.find(ca)
        if authority is None:
            return "its CA is not registered"
        return authority.awaited(first_serial, self.progress.get((ca, first_serial)))


def fetch_excerpt(
    reader: Reader, contracts: Contracts, block: Block, public_key: bytes, serial: int
) -> Excerpt:
    """Return what is there about one serial of one CA.

    Args:
        public_key: The CA's SubjectPublicKeyInfo. Its hash is the CA's id, so that the chain need
            not be asked for it.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The answers don't add up.
    """
    ca = AuthorityId(sha256(public_key).digest())
    storage = Storage(reader, block)
    # One round of questions, though the last word says nothing of a serial that was not issued.
    *words, revocations = storage.read(
        [*head_slots(contracts, ca), serial_slot(contracts, ca, serial)]
    )
    authority = None
    # A CA that nobody registered has none of its words: one alone would be a contradiction.
    if any(map(any, words)):
        head = Head.decode(reader, ca, words)
        authority = head.excerpt(reader, public_key, serial, revocations)
    return Excerpt(contracts, block, ca, authority, _NONE, _NONE, _NONE)


def extend_excerpt(
    reader: Reader,
    excerpt: Excerpt,
    *,
    devices: Sequence[Address],
    batches: Sequence[tuple[AuthorityId, int]],
) -> Excerpt:
    """Return the excerpt with these devices and batches, read at the very same block.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The answers don't add up.
    """
    storage = Storage(reader, excerpt.block)
    found = fetch_places(storage, excerpt.domain, devices, batches, excerpt.find)
    return replace(
        excerpt,
        devices=found.devices,
        commitments=found.commitments,
        progress=found.progress,
    )
