"""The one interface of everything that keeps or delivers sealed bundles.

Whatever a source says, its bytes are hashed before anybody sees them (claim T5): a source can
withhold content, never replace it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from dpki.bundle.cid import cid_of, digest_of
from dpki.bundle.seal import MAXIMUM_SEALED
from dpki.errors import ContentMismatch, StoreFailed
from dpki.model import Hash32

BLOCK_LIMIT = MAXIMUM_SEALED
"""Bytes of a block, at most (1 MiB); IPFS nodes exchange no larger ones."""


class BlockSource(Protocol):
    """Where blocks can be read."""

    @property
    def name(self) -> str:
        """What people see; two sources of one name are one source."""

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block with this SHA-256.

        Args:
            deadline: How long everything together may take.
            limit: Bytes, at most.

        Raises:
            ContentUnavailable: Not there, not in time, or larger.
            ContentMismatch: Bytes came, but not these.
        """


class BlockStore(BlockSource, Protocol):
    """Where blocks can also be kept."""

    @property
    def confirms_itself(self) -> bool:
        """Whether reading from it shows what its readers will get.

        True for a folder. False for a node: it answers from its own disk, whether or not anybody
        else can reach it.
        """

    def put(self, data: bytes) -> Hash32:
        """Keep a block until it is removed, and return its SHA-256; twice is once.

        Raises:
            StoreFailed: It could not be kept.
        """

    def has(self, digest: Hash32) -> bool:
        """Return whether the block is kept here.

        Raises:
            StoreFailed: That could not be found out.
        """

    def remove(self, digest: Hash32) -> None:
        """Keep the block no longer; one that isn't kept is no error.

        Raises:
            StoreFailed: It could not be removed.
        """


def verify_block(name: str, digest: Hash32, data: bytes) -> bytes:
    """Return the bytes when they are the ones that were asked for.

    Raises:
        ContentMismatch: They hash to something else.
    """
    if digest_of(data) != digest:
        raise ContentMismatch(
            f"{name} delivered {len(data)} bytes that are not {cid_of(digest)}",
            hint="the source is broken or lies; use another",
        )
    return data


def verify_size(data: bytes) -> bytes:
    """Return the bytes when they fit in one block.

    Raises:
        StoreFailed: There are too many of them.
    """
    if len(data) > BLOCK_LIMIT:
        raise StoreFailed(f"{len(data)} bytes do not fit in a block of at most {BLOCK_LIMIT}")
    return data
