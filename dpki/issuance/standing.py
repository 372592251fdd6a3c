"""How what the journal says stands against the chain. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from dpki.chain.snapshot import Authority, Snapshot
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate
from dpki.issuance.place import Place, place_of


class Standing(enum.Enum):
    """What became of a journaled certificate; the value is what people read."""

    UNFINISHED = "unfinished"
    """Signed, and not yet anchored as far as the journal knows."""
    ANCHORED = "anchored"
    AWAITING = "awaiting watchdogs"
    """Anchored, and its CA's watchdogs have yet to confirm it."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    VOID = "void"
    MISSING = "missing on chain"
    """The journal says anchored; the chain does not, or has another's under its serial."""

    @property
    def is_live(self) -> bool:
        """Whether somebody may still want its bundle."""
        return self in (
            Standing.UNFINISHED,
            Standing.ANCHORED,
            Standing.AWAITING,
            Standing.MISSING,
        )


def as_on_chain(batch: JournaledBatch, snapshot: Snapshot) -> JournaledBatch:
    """Return the batch as anchored where the chain has it and the journal has not heard of it.

    An operator elsewhere anchored what was handed over, or a run was killed before it wrote that.
    """
    place = (batch.authority, batch.first_serial)
    is_open = batch.state is BatchState.PUBLISHED and batch.authority in snapshot.authorities
    if is_open and place in snapshot.commitments and place_of(batch, snapshot) is Place.OURS:
        return replace(batch, state=BatchState.ANCHORED)
    return batch


def standings_of(
    batch: JournaledBatch, snapshot: Snapshot, now: datetime, *, watermark: bool = True
) -> tuple[tuple[JournaledCertificate, Standing], ...]:
    """Return each certificate of a batch with what became of it.

    Args:
        snapshot: It must hold the batch where the journal says that it is anchored.
        watermark: Whether the watermark revokes too, which judges a CA and not a holder; False
            for what was revoked one by one alone.
    """
    is_missing = batch.state is BatchState.ANCHORED and place_of(batch, snapshot) is not Place.OURS
    authority = snapshot.authorities.get(batch.authority)
    if authority is not None and not watermark:
        authority = replace(authority, revoked_below=0)
    standings = [
        (c, _standing(batch, c, authority, is_missing=is_missing, now=now))
        for c in batch.certificates
    ]
    if awaited_by(batch, snapshot) is None:
        return tuple(standings)
    return tuple(
        (c, Standing.AWAITING if standing is Standing.ANCHORED else standing)
        for c, standing in standings
    )


def awaited_by(batch: JournaledBatch, snapshot: Snapshot) -> str | None:
    """Return which watchdogs an anchored batch still waits for, in words; None where for none.

    Args:
        snapshot: It must hold the batch where it is anchored.
    """
    if batch.state is not BatchState.ANCHORED or batch.authority not in snapshot.authorities:
        return None
    return snapshot.awaited(batch.authority, batch.first_serial)


def _standing(
    batch: JournaledBatch,
    certificate: JournaledCertificate,
    authority: Authority | None,
    *,
    is_missing: bool,
    now: datetime,
) -> Standing:
    if batch.state is BatchState.VOID:
        return Standing.VOID
    is_anchored = batch.state is BatchState.ANCHORED and not is_missing
    if is_anchored and authority is not None and authority.is_revoked(certificate.serial):
        return Standing.REVOKED
    # Expired is expired, whatever else: nobody needs to do anything about it any more.
    if certificate.certificate.valid_before <= now:
        return Standing.EXPIRED
    if is_missing:
        return Standing.MISSING
    return Standing.ANCHORED if is_anchored else Standing.UNFINISHED


def foreign_serials(authority: Authority, batches: Iterable[JournaledBatch]) -> list[range]:
    """Return the serials that a CA issued and the journal does not know of.

    Another writer's, or this home's own from before it was restored from an older backup.

    Args:
        batches: The journal's batches of this CA.
    """
    ours = sorted(
        (b.first_serial, b.last_serial) for b in batches if b.state is not BatchState.VOID
    )
    found: list[range] = []
    following = 1
    for first, last in [*ours, (authority.next_serial, authority.next_serial)]:
        end = min(first, authority.next_serial)
        if following < end:
            found.append(range(following, end))
        following = max(following, last + 1)
    return found
