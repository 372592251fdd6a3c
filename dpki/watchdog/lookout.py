"""Which batches there are to look at, from the chain."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dpki.chain.domain import Domain
from dpki.chain.events import Batch, fetch_batches, fetch_reviews, verify_batch
from dpki.chain.layout import Progress, Watch, Watchdog
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Authority, Snapshot, extend_snapshot, fetch_snapshot
from dpki.errors import CheckedFalse
from dpki.model import Address, AuthorityId, Hash32
from dpki.verification.reviews import fetch_watchdogs

OVERLAP = 600
"""Blocks that are looked at again: a reorganisation may have changed them."""

Place = tuple[AuthorityId, int]


class Said(enum.Enum):
    """What one watchdog said to a batch; the value is what people read."""

    NOTHING = "nothing yet"
    CONFIRMED = "confirmed"
    OBJECTED = "objected"


@dataclass(frozen=True)
class Review:
    """A batch that watchdogs have to confirm, and how far it is.

    Attributes:
        batch: The batch, verified against the chain.
        commitment: Its word on chain.
        watchdogs: Who watches its CA, in their order.
        parcels: Where its operator laid out the certificates; none as long as they did not.
        awaited: What it waits for, in words; None once it is accepted.
    """

    batch: Batch
    authority: Authority
    watch: Watch
    watchdogs: tuple[Watchdog, ...]
    commitment: Hash32
    progress: Progress
    parcels: tuple[Hash32, ...]
    awaited: str | None

    @property
    def place(self) -> Place:
        """CA and first serial."""
        return self.batch.ca, self.batch.first_serial

    def said_by(self, index: int) -> Said:
        """Return what the watchdog at this place of the list said."""
        if self.progress.version != self.watch.version:
            return Said.NOTHING
        if self.progress.objections >> index & 1:
            return Said.OBJECTED
        return Said.CONFIRMED if self.progress.confirmations >> index & 1 else Said.NOTHING

    def index_of(self, account: Address) -> int | None:
        """Return the place of an account among the watchdogs; None where it is none."""
        found = [i for i, one in enumerate(self.watchdogs) if one.account == account]
        return found[0] if found else None

    def is_owed_by(self, account: Address) -> bool:
        """Whether this watchdog has yet to say something that matters."""
        index = self.index_of(account)
        return (
            index is not None and self.awaited is not None and (self.said_by(index) is Said.NOTHING)
        )


@dataclass
class Lookout:
    """Follows the chain: what was found once is not searched for again.

    Args:
        account: Only the CAs that this account watches; None for all that are watched.
        watched: Those CAs, as of the last look.
    """

    domain: Domain
    account: Address | None = None
    watched: frozenset[AuthorityId] = frozenset()
    _seen: int = 0
    _batches: dict[Place, Batch] = field(default_factory=dict)
    _parcels: dict[Place, tuple[Hash32, ...]] = field(default_factory=dict)
    _versions: dict[AuthorityId, int] = field(default_factory=dict)

    def look(self, reader: Reader) -> tuple[Snapshot, tuple[Review, ...]]:
        """Return the newest state and every batch in it that is or was to be confirmed.

        Raises:
            EndpointUnavailable: No answer, or nonsense.
            CouldNotCheck: The events are not what the chain committed to.
        """
        snapshot = fetch_snapshot(reader, self.domain)
        watched = self._watched(reader, snapshot)
        self.watched = frozenset(watched)
        start = max(self.domain.block.number, self._seen - OVERLAP)
        for ca, (watch, _) in watched.items():
            self._follow(reader, ca, watch, start, snapshot.block.number)
        self._seen = snapshot.block.number
        places = [place for place in sorted(self._batches) if place[0] in watched]
        extended = extend_snapshot(reader, snapshot, batches=places)
        reviews = []
        for place in places:
            try:
                verify_batch(self._batches[place], extended)
            except CheckedFalse:
                # A reorganisation took it off; what is there now was found as well, or will be.
                del self._batches[place]
                continue
            reviews.append(self._review(extended, place, *watched[place[0]]))
        return extended, tuple(reviews)

    def _watched(
        self, reader: Reader, snapshot: Snapshot
    ) -> Mapping[AuthorityId, tuple[Watch, Sequence[Watchdog]]]:
        found = {}
        for authority in snapshot.authorities.values():
            if authority.watch is None:
                continue
            watchdogs = fetch_watchdogs(reader, snapshot, authority.id)
            if self.account is None or any(one.account == self.account for one in watchdogs):
                found[authority.id] = authority.watch, watchdogs
        return found

    def _follow(self, reader: Reader, ca: AuthorityId, watch: Watch, start: int, end: int) -> None:
        if self._versions.get(ca) != watch.version:
            # Named anew, or for the first time: the parcels of before are for others.
            self._versions[ca] = watch.version
            start = self.domain.block.number
            self._parcels = {p: found for p, found in self._parcels.items() if p[0] != ca}
        for batch in fetch_batches(reader, self.domain, start, end, ca=ca):
            if watch.covers(batch.first_serial):
                self._batches[ca, batch.first_serial] = batch
        reviews = fetch_reviews(reader, self.domain, start, end, ca=ca)
        self._parcels |= {(ca, first): parcels for first, parcels in reviews.items()}

    def _review(
        self, snapshot: Snapshot, place: Place, watch: Watch, watchdogs: Sequence[Watchdog]
    ) -> Review:
        return Review(
            batch=self._batches[place],
            authority=snapshot.authorities[place[0]],
            watch=watch,
            watchdogs=tuple(watchdogs),
            commitment=snapshot.commitments[place],
            progress=snapshot.progress[place],
            parcels=self._parcels.get(place, ()),
            awaited=snapshot.awaited(*place),
        )
