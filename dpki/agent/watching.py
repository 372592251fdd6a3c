"""Batches that watchdogs have to confirm: looked at again at each run, until that is final.

Removals act at the newest block, additions some blocks below: so does a confirmation. Nothing of it
is remembered but which batches to ask about; that one was confirmed at a final block ends the
asking (`Mark.accepted`), for the contract never takes it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dpki.agent.observation import Unconfirmed, WatchedBatch
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.snapshot import Snapshot, extend_snapshot
from dpki.errors import CouldNotCheck


def for_additions(reader: Reader, snapshot: Snapshot, confirmations: int) -> Snapshot:
    """Return the snapshot with batches as they are where additions count: so many blocks deep.

    Without watchdogs nothing of a batch ever changes, and there is no need to look there.

    Raises:
        CouldNotCheck: The block could not be had.
    """
    number = max(snapshot.block.number - confirmations + 1, snapshot.domain.block.number)
    is_watched = any(authority.watch for authority in snapshot.authorities.values())
    if number == snapshot.block.number or not is_watched:
        return snapshot
    block = fetch_block(reader, number)
    if block is None:
        raise CouldNotCheck(f"{reader.name} lacks block {number}", hint="use another one")
    return replace(snapshot, block=block, commitments={}, progress={})


def still_unconfirmed(
    reader: Reader, settled: Snapshot, watched: Sequence[WatchedBatch]
) -> tuple[Unconfirmed, ...]:
    """Return the batches that their watchdogs have yet to confirm, and what each waits for."""
    places = [(batch.authority, batch.first_serial) for batch in watched]
    extended = extend_snapshot(reader, settled, batches=places)
    return tuple(
        Unconfirmed(batch, reason)
        for batch, place in zip(watched, places, strict=True)
        if (reason := extended.awaited(*place)) is not None
    )
