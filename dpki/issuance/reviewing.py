"""The operator's part with watchdogs: after anchoring, lay out the certificates for them.

What is left to be done is read from the chain (who watches, what is accepted, which reviews were
asked for), so that nothing needs to be journaled: whoever is killed on the way does it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpki.bundle.parcel import make_parcels, parcel_context
from dpki.chain.events import fetch_reviews
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.issuance.publishing import Publisher
from dpki.model import AuthorityId, Hash32
from dpki.verification.reviews import fetch_watchdogs

if TYPE_CHECKING:
    # web3 takes half a second to import: who has no writer yet needn't wait for it.
    from dpki.transactions.account import Receipt
    from dpki.transactions.writer import DomainWriter


@dataclass(frozen=True)
class Anchored:
    """A batch whose certificates are at hand.

    Attributes:
        blobs: The certificates, in the order of their serials.
        commitment: What the batch is on chain, where it is there.
    """

    ca: AuthorityId
    first_serial: int
    blobs: tuple[bytes, ...]
    commitment: Hash32


def find_unreviewed(
    reader: Reader, writer: DomainWriter, batches: Iterable[Anchored], *, again: bool = False
) -> tuple[Snapshot, tuple[Anchored, ...]]:
    """Return the batches that wait for watchdogs who have not been shown them yet.

    Args:
        again: Also those that they were shown.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    wanted = {(one.ca, one.first_serial): one for one in batches}
    snapshot = fetch_snapshot(reader, writer.domain, batches=wanted)
    waiting = [
        one
        for place, one in wanted.items()
        if snapshot.commitments[place] == one.commitment and snapshot.awaited(*place) is not None
    ]
    shown: set[tuple[AuthorityId, int]] = set()
    for ca in () if again else {one.ca for one in waiting}:
        start, end = snapshot.domain.block.number, snapshot.block.number
        found = fetch_reviews(reader, snapshot.domain, start, end, ca=ca)
        shown |= {(ca, first) for first in found}
    return snapshot, tuple(one for one in waiting if (one.ca, one.first_serial) not in shown)


def request_review(
    reader: Reader,
    writer: DomainWriter,
    publisher: Publisher,
    snapshot: Snapshot,
    batch: Anchored,
) -> Receipt:
    """Seal a batch's certificates for its CA's watchdogs, publish them, and say so on chain.

    Args:
        snapshot: From `find_unreviewed`.

    Raises:
        UsageError: They do not fit into what watchdogs take.
        MalformedInput: A watchdog's sealing key is none.
        StoreFailed: They could not be published; nothing was sent.
        TransactionForbidden: The account is not the CA's operator.
        TransactionFailed, CouldNotCheck: As they say.
    """
    watchdogs = fetch_watchdogs(reader, snapshot, batch.ca)
    context = parcel_context(snapshot.domain.id, batch.ca, batch.first_serial, batch.commitment)
    parcels = make_parcels(batch.blobs, context, [bytes(one.sealing_key) for one in watchdogs])
    digests = [publisher.publish(parcel) for parcel in parcels]
    return writer.request_review(batch.ca, batch.first_serial, digests)
