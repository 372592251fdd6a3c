"""What `resume` would do with a CA's batches; nothing is done."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dpki.issuance.batch import BatchState, JournaledBatch
from dpki.issuance.bench import Bench
from dpki.issuance.place import Place, place_of
from dpki.issuance.plan import find_ssh_authority


class Step(enum.Enum):
    """What is left to be done with a batch; the value is what people read."""

    SEAL = "seal, publish and anchor it"
    ANCHOR = "publish and anchor it"
    SIGN = "sign it again, under other serials"
    RELEASE = "hand it out"


@dataclass(frozen=True)
class Remaining:
    """A batch that is not at its end, and the next thing to be done with it."""

    batch: JournaledBatch
    step: Step


def find_remaining(bench: Bench) -> tuple[Remaining, ...]:
    """Return what is left of a CA, in the order of signing.

    Raises:
        CouldNotCheck: The chain could not be read.
    """
    journal, ca = bench.journal, bench.ca
    waiting = {b.number: b for b in journal.load_unfinished(ca)}
    waiting |= {b.number: b for b in journal.load_unreleased(ca)}
    for number in journal.load_anchored_latest_first(ca):
        # As `resume` does: the first that is still there ends the search for reorganised ones.
        batch = journal.load(number)
        if _place(bench, batch) is Place.OURS:
            break
        waiting[number] = batch
    found = [Remaining(batch, _step(bench, batch)) for _, batch in sorted(waiting.items())]
    owed = [Remaining(batch, Step.SIGN) for batch in journal.load_owed(ca)]
    return tuple(sorted((*found, *owed), key=lambda one: one.batch.number))


def _step(bench: Bench, batch: JournaledBatch) -> Step:
    if batch.state is BatchState.ISSUED:
        # A private key that was made here, and not yet sealed, ended with its process.
        is_lost = any(c.pair_made_here for c in batch.certificates)
        return Step.SIGN if is_lost else Step.SEAL
    place = _place(bench, batch)
    if place in (Place.TAKEN, Place.STRANDED):
        return Step.SIGN
    return Step.RELEASE if place is Place.OURS else Step.ANCHOR


def _place(bench: Bench, batch: JournaledBatch) -> Place:
    snapshot = bench.chain.snapshot(batches=[(batch.authority, batch.first_serial)])
    find_ssh_authority(snapshot, batch.authority)
    return place_of(batch, snapshot)
