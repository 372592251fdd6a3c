"""A CA's life: what a change of its state does, told before it is done. Pure.

Who may change what, and from which state, is the contract's business; it is asked by a rehearsal.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dpki.chain.snapshot import Authority, Snapshot
from dpki.errors import CheckedFalse, UsageError
from dpki.issuance.batch import BatchState, JournaledBatch
from dpki.model import AuthorityState, Block
from dpki.verification.succession import find_successors


class Change(enum.Enum):
    """A change of a CA's state; the value is the command."""

    CLOSE = "close"
    SUSPEND = "suspend"
    LIFT = "lift"
    RETIRE = "retire"

    @property
    def is_for_ever(self) -> bool:
        """Whether nothing undoes it."""
        return self in (Change.CLOSE, Change.RETIRE)


@dataclass(frozen=True)
class LiveCertificate:
    """A certificate that still counts, or would if its CA did."""

    serial: int
    subject: str
    valid_before: datetime


@dataclass(frozen=True)
class Census:
    """What a CA has out there, as far as this journal knows.

    Attributes:
        live: Anchored, not revoked, not expired; the first to expire first.
        elsewhere: Serials that are on chain and not in this journal: another operator's, or from
            before a loss. How many of them live is not known here.
    """

    live: tuple[LiveCertificate, ...]
    elsewhere: int

    def __str__(self) -> str:
        """Return the number of live certificates, and what is not known, for people."""
        count = len(self.live)
        text = f"{count} live certificate{'' if count == 1 else 's'}"
        if self.elsewhere:
            text += f" (and whatever lives of {self.elsewhere} that this journal does not hold)"
        return text


def take_census(authority: Authority, batches: Iterable[JournaledBatch], now: datetime) -> Census:
    """Return what the CA has out there.

    Args:
        batches: The journal's, of this CA.
        now: The admin's clock.
    """
    anchored = [batch for batch in batches if batch.state is BatchState.ANCHORED]
    live = [
        LiveCertificate(journaled.serial, journaled.subject, journaled.certificate.valid_before)
        for batch in anchored
        for journaled in batch.certificates
        if not authority.is_revoked(journaled.serial) and journaled.certificate.valid_before > now
    ]
    known = sum(batch.count for batch in anchored)
    return Census(
        tuple(sorted(live, key=lambda one: (one.valid_before, one.serial))),
        max(0, authority.next_serial - 1 - known),
    )


def find_heirs(snapshot: Snapshot, authority: Authority) -> tuple[Authority, ...]:
    """Return the CA's successors that can issue."""
    return tuple(
        heir
        for heir in find_successors(snapshot.authorities, authority.id)
        if heir.state is AuthorityState.ACTIVE
    )


def verify_unsucceeded(authority: Authority, names: Iterable[str]) -> None:
    """Refuse a second successor beside one that can issue.

    Args:
        names: What the successors that can issue are called here.

    Raises:
        UsageError: There is one. One that has no name here may be left from an interrupted run,
            which is to be gone on with, and is let pass.
    """
    named = ", ".join(names)
    if named:
        raise UsageError(
            f"CA {authority.id} has a successor already: {named}",
            hint="rotate that one; or retire it first, if it must not be used",
        )


def verify_can_close(snapshot: Snapshot, authority: Authority, final: Block) -> None:
    """Refuse to close a CA whose successor is not trusted yet: nobody may be locked out.

    Args:
        final: The newest block of those that make devices trust a new CA.

    Raises:
        CheckedFalse: It has successors that can issue, and the registration of none is final.
    """
    heirs = find_heirs(snapshot, authority)
    if heirs and all(heir.registered_at > final.time for heir in heirs):
        raise CheckedFalse(
            f"devices do not trust the successor {heirs[0].id} yet: its registration is not final",
            hint="wait for that, some minutes on most chains; then close the old CA",
        )


def describe_change(
    change: Change, snapshot: Snapshot, authority: Authority, census: Census
) -> tuple[str, ...]:
    """Return what the change does, a sentence each, for the one who is about to do it."""
    heirs = _succession(find_heirs(snapshot, authority))
    match change:
        case Change.CLOSE:
            last = [f"{one.valid_before:%Y-%m-%d %H:%M} UTC" for one in census.live[-1:]]
            keep = f"{census} keep counting" + "".join(f", the last until {end}" for end in last)
            return "it can issue no more, for ever", keep, heirs
        case Change.SUSPEND:
            return f"{census} stop counting until the suspension is lifted", heirs
        case Change.LIFT:
            closed = authority.state is AuthorityState.CLOSED_SUSPENDED
            issues = "it stays closed and issues no more" if closed else "it can issue again"
            return f"{census} count again", issues
        case Change.RETIRE:
            never = "its key can never be registered again"
            return f"{census} stop counting, for ever", never, heirs


def count_below(authority: Authority, serial: int) -> int:
    """Return how many issued serials the watermark would revoke that are not revoked yet."""
    issued = range(1, min(serial, authority.next_serial))
    return sum(not authority.is_revoked(one) for one in issued)


def _succession(heirs: Sequence[Authority]) -> str:
    if not heirs:
        return "no active CA succeeds it: nobody gets a new certificate in its place"
    return f"it is succeeded by CA {', '.join(str(heir.id) for heir in heirs)}"
