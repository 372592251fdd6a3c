"""A watchdog's opinion of a batch: from its parcels, the chain and a profile of its own.

It objects only to what it has seen: to certificates that are the anchored ones, and not in order.
Whatever else is wrong (no parcel, a parcel for others, other certificates in it) is no opinion, for
the operator can lay out the right ones; it is told, and tried again.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dpki.bundle.parcel import MAXIMUM_PARCEL, open_parcels, parcel_context
from dpki.bundle.seal import SealingSecrets
from dpki.certificates.profile import Profile
from dpki.chain.domain import Domain
from dpki.errors import BatchRefused, DpkiError
from dpki.issuance.plan import profile_of
from dpki.model import AuthorityState
from dpki.store.base import BlockSource
from dpki.store.publish import Backoff, fetch_first
from dpki.verification.inspection import inspect_batch, verify_entries
from dpki.watchdog.lookout import Review

FETCH = timedelta(seconds=30)
"""How long one parcel may take to be found."""

MAXIMUM_REASON = 256
"""Bytes of an objection's reason: the contract takes no more."""


class View(enum.Enum):
    """What a watchdog thinks of a batch."""

    CONFIRM = "confirm"
    OBJECT = "object"
    WAIT = "wait"


@dataclass(frozen=True)
class Opinion:
    """What a watchdog thinks, and why where it does not confirm."""

    view: View
    reason: str = ""


def examine(
    domain: Domain,
    review: Review,
    secret: SealingSecrets,
    profile: Profile | None,
    sources: Sequence[BlockSource],
    now: datetime,
    backoff: Backoff | None = None,
) -> Opinion:
    """Fetch a batch's parcels, look at every certificate, and say what is thought of it.

    Args:
        profile: The watchdog's own for this CA; None for the default.
        sources: Where parcels are fetched from.
    """
    batch, authority = review.batch, review.authority
    if all(entry.not_after <= now for entry in batch.entries):
        return Opinion(View.WAIT, "all of it has expired")
    if authority.state not in (AuthorityState.ACTIVE, AuthorityState.CLOSED):
        return Opinion(View.WAIT, f"its CA is {authority.state.label}")
    if not review.parcels:
        return Opinion(View.WAIT, "its operator has not laid out the certificates yet")
    context = parcel_context(domain.id, *review.place, review.commitment)
    try:
        parcels = [
            fetch_first(digest, sources, FETCH, limit=MAXIMUM_PARCEL, backoff=backoff)
            for digest in review.parcels
        ]
        blobs = open_parcels(parcels, secret, context)
        rules = profile_of(authority, profile)
    except DpkiError as error:
        return Opinion(View.WAIT, error.message)
    hashes = [entry.certificate_hash for entry in batch.entries]
    if [hashlib.sha256(blob).digest() for blob in blobs] != hashes:
        return Opinion(View.WAIT, "the parcels hold other certificates than the anchored ones")
    try:
        certificates = inspect_batch(authority, batch.first_serial, blobs, rules, None)
        verify_entries(certificates, batch.entries)
    except BatchRefused as error:
        return Opinion(View.OBJECT, shorten(error.message))
    return Opinion(View.CONFIRM)


def shorten(reason: str) -> str:
    """Return the reason, cut to what the contract takes."""
    return reason.encode()[:MAXIMUM_REASON].decode(errors="ignore")
