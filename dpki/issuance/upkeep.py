"""Keeping the stores in order: what lives is everywhere, what is dead is nowhere.

From the journal's own sealed bytes, whatever became of a node's disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dpki.bundle.cid import digest_of
from dpki.chain.snapshot import Snapshot
from dpki.devices.acknowledgement import Stage
from dpki.errors import StoreFailed
from dpki.issuance.acknowledgements import Certificate
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate
from dpki.issuance.journal import Journal
from dpki.issuance.placements import Place, Placement
from dpki.issuance.standing import Standing, standings_of
from dpki.model import AuthorityId, Hash32
from dpki.store.base import BlockStore


@dataclass(frozen=True)
class JournaledBundle:
    """A sealed bundle that the journal holds.

    Attributes:
        batch: The journal's number of its batch.
        is_delivered: Whether its device said that it has installed the certificate. It keeps what
            the bundle said, and needs it no more.
        is_awaited: Whether its batch is still to be published and anchored: `resume` does that.
        places: What is known of it in each store, by the store's name.
    """

    batch: int
    is_delivered: bool
    is_awaited: bool
    authority: AuthorityId
    serial: int
    subject: str
    data: bytes = field(repr=False)
    standing: Standing
    places: Mapping[str, Place]

    @property
    def is_wanted(self) -> bool:
        """Whether somebody may still come for it."""
        return self.standing.is_live and not (
            self.is_delivered and self.standing is Standing.ANCHORED
        )

    @property
    def digest(self) -> Hash32:
        """Its SHA-256, which is its CID."""
        return digest_of(self.data)

    @property
    def pending(self) -> tuple[str, ...]:
        """The stores that it could not be put on."""
        return tuple(name for name, place in self.places.items() if place is Place.PENDING)


@dataclass(frozen=True)
class Upkeep:
    """What was done.

    Attributes:
        done: Bundles with the name of the store.
        failed: The same, with the reason; each is tried again by the next run.
    """

    done: tuple[tuple[JournaledBundle, str], ...]
    failed: tuple[tuple[JournaledBundle, str, str], ...]


def load_bundles(
    journal: Journal, batches: Iterable[JournaledBatch], snapshot: Snapshot, now: datetime
) -> tuple[JournaledBundle, ...]:
    """Return the sealed bundles of these batches, in the order of signing.

    Args:
        snapshot: It must hold every batch that the journal says is anchored.
    """
    places, stages = journal.placements.load(), journal.acknowledgements.stages()
    return tuple(
        JournaledBundle(
            batch=batch.number,
            is_delivered=stages.get(certificate_named(batch, certificate)) is Stage.INSTALLED,
            is_awaited=batch.state is BatchState.SEALED,
            authority=batch.authority,
            serial=certificate.serial,
            subject=certificate.subject,
            data=certificate.bundle,
            standing=standing,
            places=places.get((batch.number, certificate.serial), {}),
        )
        for batch in batches
        for certificate, standing in standings_of(batch, snapshot, now)
        if certificate.bundle is not None
    )


def repin(
    journal: Journal, bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> Upkeep:
    """Put every living bundle on every store, whatever is thought to be there already."""
    return _everywhere(journal, wanted_everywhere(bundles, stores), _put, Place.KEPT)


def retry(
    journal: Journal, bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> Upkeep:
    """Put every living bundle of the outbox where it could not be put before."""
    return _everywhere(journal, wanted_again(bundles, stores), _put, Place.KEPT)


def collect(
    journal: Journal, bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> Upkeep:
    """Remove every bundle that nobody needs any more from every store."""
    return _everywhere(journal, unwanted(bundles, stores), _remove, Place.REMOVED)


def wanted_everywhere(
    bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> list[tuple[JournaledBundle, BlockStore]]:
    """Return what `repin` does."""
    return [(b, store) for store in stores for b in bundles if b.standing.is_live]


def wanted_again(
    bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> list[tuple[JournaledBundle, BlockStore]]:
    """Return what `retry` does."""
    return [
        (b, store) for b, store in wanted_everywhere(bundles, stores) if store.name in b.pending
    ]


def unwanted(
    bundles: Sequence[JournaledBundle], stores: Sequence[BlockStore]
) -> list[tuple[JournaledBundle, BlockStore]]:
    """Return what `collect` does: a store that isn't known not to have it may have it."""
    return [
        (b, store)
        for store in stores
        for b in bundles
        if not b.is_wanted and b.places.get(store.name) is not Place.REMOVED
    ]


def certificate_named(batch: JournaledBatch, certificate: JournaledCertificate) -> Certificate:
    """Return what a device that has the certificate says."""
    return (
        certificate.device,
        batch.authority,
        certificate.serial,
        certificate.certificate.hash,
    )


def _put(store: BlockStore, bundle: JournaledBundle) -> None:
    store.put(bundle.data)


def _remove(store: BlockStore, bundle: JournaledBundle) -> None:
    store.remove(bundle.digest)


def _everywhere(
    journal: Journal,
    work: Sequence[tuple[JournaledBundle, BlockStore]],
    act: Callable[[BlockStore, JournaledBundle], None],
    success: Place,
) -> Upkeep:
    """Do it all; a store that fails once is left alone for the rest of the run."""
    done: list[tuple[JournaledBundle, str]] = []
    failed: list[tuple[JournaledBundle, str, str]] = []
    down: dict[str, str] = {}
    try:
        for bundle, store in work:
            if store.name not in down:
                try:
                    act(store, bundle)
                except StoreFailed as error:
                    down[store.name] = error.message
            if store.name in down:
                failed.append((bundle, store.name, down[store.name]))
            else:
                done.append((bundle, store.name))
    finally:
        # Also when interrupted: what was done is done.
        records = [Placement(b.batch, b.serial, name, success) for b, name in done]
        if success is Place.KEPT:
            records += [Placement(b.batch, b.serial, n, Place.PENDING) for b, n, _ in failed]
        journal.placements.record(records)
    return Upkeep(tuple(done), tuple(failed))
