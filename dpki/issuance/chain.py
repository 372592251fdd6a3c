"""What issuing needs of a chain: to look and to write. One interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.errors import NotAllowed
from dpki.model import Address, AuthorityId, Block, Entry, Hash32

if TYPE_CHECKING:
    # web3 takes half a second to import: who has no writer yet needn't wait for it.
    from dpki.transactions.writer import DomainWriter


class Anchored(Protocol):
    """A transaction that is in a block and has its confirmations."""

    @property
    def transaction_hash(self) -> Hash32:
        """Its hash."""

    @property
    def block(self) -> Block:
        """The block that it is in."""


class Chain(Protocol):
    """A trust domain on a chain, with an account that writes."""

    @property
    def domain(self) -> Domain:
        """The trust domain."""

    @property
    def account(self) -> Address | None:
        """The account that writes; None where another machine's does (see `handover`)."""

    def snapshot(
        self,
        *,
        devices: Iterable[Address] = (),
        batches: Iterable[tuple[AuthorityId, int]] = (),
    ) -> Snapshot:
        """Return the newest state.

        Raises:
            CouldNotCheck: The chain could not be read.
        """

    def issue(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> Anchored:
        """Anchor a batch, and return once it is in a block and has its confirmations.

        Raises:
            TransactionReverted: The contract refused; nothing was written.
            TransactionFailed: It was not accepted, or not in a block in time; it still may be.
            CouldNotCheck: The chain could not be asked what became of it.
        """

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> Anchored:
        """Revoke serials, for ever; raises like `issue`."""


class LiveChain:
    """A `Chain` behind an endpoint.

    Args:
        writer: None where another machine writes: then there is no account, and writing is refused.
    """

    def __init__(self, reader: Reader, domain: Domain, writer: DomainWriter | None) -> None:
        self._reader = reader
        self._domain = domain
        self._writer = writer

    @property
    def domain(self) -> Domain:
        """The trust domain."""
        return self._domain

    @property
    def account(self) -> Address | None:
        """The account that writes."""
        return None if self._writer is None else self._writer.account

    def snapshot(
        self,
        *,
        devices: Iterable[Address] = (),
        batches: Iterable[tuple[AuthorityId, int]] = (),
    ) -> Snapshot:
        """Return the newest state."""
        return fetch_snapshot(self._reader, self._domain, devices=devices, batches=batches)

    def issue(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> Anchored:
        """Anchor a batch."""
        return self._wallet().issue(ca, first_serial, entries)

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> Anchored:
        """Revoke serials."""
        return self._wallet().revoke(ca, serials)

    def _wallet(self) -> DomainWriter:
        if self._writer is None:
            raise NotAllowed(
                "there is no wallet here to write to the chain with",
                hint="let the CA's operator do it",
            )
        return self._writer
