"""Where a batch of the journal is on chain. Pure."""

from __future__ import annotations

import enum

from dpki.chain.snapshot import Snapshot
from dpki.issuance.batch import JournaledBatch
from dpki.issuance.sealing import batch_tree


class Place(enum.Enum):
    """Where a batch is on chain."""

    ABSENT = "absent"
    """Not yet there, and its first serial is the next one."""
    OURS = "ours"
    TAKEN = "taken"
    """Somebody else's certificates have its serials."""
    STRANDED = "stranded"
    """Earlier serials are not there (any more), so it can't be anchored."""


def place_of(batch: JournaledBatch, snapshot: Snapshot) -> Place:
    """Return where a batch is, from a snapshot that holds it. Pure."""
    ours = batch_tree(snapshot.domain, batch.authority, batch.first_serial, batch.entries)
    if snapshot.commitments[batch.authority, batch.first_serial] == ours.commitment:
        return Place.OURS
    following = snapshot.authorities[batch.authority].next_serial
    if following > batch.first_serial:
        return Place.TAKEN
    return Place.ABSENT if following == batch.first_serial else Place.STRANDED
