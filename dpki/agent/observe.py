"""Looking: from the chain and the stores to everything that a decision needs.

Reads only. What an endpoint or a gateway withholds ends up as a problem, not as an answer:
removals still take effect, additions wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dpki.agent.finality import drop_orphaned_candidate, fetch_finalized
from dpki.agent.memory import (
    newest_final,
    remember,
    remember_removals,
    verify_floor,
    with_memory,
)
from dpki.agent.observation import Observation
from dpki.agent.opened import OpenedBundles
from dpki.agent.opener import Opener
from dpki.agent.reading import Reading
from dpki.agent.state import AgentState
from dpki.agent.watching import for_additions, still_unconfirmed
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import extend_snapshot, fetch_snapshot
from dpki.config.device import DeviceConfig
from dpki.devices.keys import DeviceKeys
from dpki.store.base import BlockSource


def observe(
    reader: Reader,
    domain: Domain,
    config: DeviceConfig,
    keys: DeviceKeys,
    sources: Sequence[BlockSource],
    state: AgentState,
    opened: OpenedBundles,
    now: datetime,
    *,
    before: Observation | None = None,
    search: bool = True,
) -> Observation:
    """Look at chain and stores, and remember what must never be forgotten.

    Args:
        opened: Where bundles are kept, and the keys that open them.
        before: What was observed last, to save what would only be found again, good or bad: given
            by whoever looks every few seconds, and now and then not.
        search: Whether to search the chain from the domain's first block on where there is no host
            certificate.

    Raises:
        CouldNotCheck: The chain could not be read, or contradicts what is known to be final.
            Nothing was remembered.
    """
    remembered = state.memory()
    memory = drop_orphaned_candidate(reader, remembered)
    finalized = newest_final(
        memory, fetch_finalized(reader, domain, config.chain.authority_finality)
    )
    fresh = fetch_snapshot(
        reader,
        domain,
        devices=[keys.address],
        batches=[(batch.authority, batch.first_serial) for batch in state.watched()],
    )
    verify_floor(memory, fresh)
    memory = remember(memory, fresh, finalized, now)
    snapshot = with_memory(fresh, memory)
    problems: list[str] = []
    is_client = config.outbound is not None
    look = Reading(reader, snapshot, finalized, keys, state, every_host=is_client)
    with state.transaction():
        if memory != remembered:
            state.save_memory(memory)
        is_moved = look.read_counted(problems)
        if memory.floor is not None:
            state.settle(memory.floor.accepted)
        # By the earlier of the two: a clock that jumps ahead must not make us forget.
        state.forget_expired(min(now, snapshot.block.time))
        fresh = extend_snapshot(reader, fresh, devices=state.holders())
        if (after := remember_removals(memory, fresh, now)) != memory:
            # Of devices only what is taken away: their retirement is for ever.
            state.save_memory(memory := after)
    snapshot = with_memory(fresh, memory)
    is_still = not (is_moved or state.watched())
    is_known = before is not None and set(problems) <= set(before.problems)
    if before is not None and is_still and is_known and before.holds_in(snapshot, now):
        return replace(before, snapshot=snapshot, finalized=finalized, is_reused=True)
    with state.transaction():
        look.read_leads(problems)
    settled = for_additions(reader, snapshot, config.chain.confirmations)
    unconfirmed = still_unconfirmed(reader, settled, state.watched())
    opener = Opener(reader, snapshot, settled, keys, sources, opened, now)
    confirmed = snapshot.block.number - config.chain.confirmations + 1
    everything = state.known()
    known = tuple(k for k in everything if k.block <= confirmed)
    host = opener.best_host(known, problems)
    if host is None and search and look.reread_hosts(problems):
        everything = state.known()
        known = tuple(k for k in everything if k.block <= confirmed)
        host = opener.best_host(known, problems)
    client = opener.best_client(known, problems) if is_client else None
    opener.forget_others(everything)
    with state.transaction():
        for lead in opener.failed:
            # It may be the endpoint's invention: an older certificate that serves must not keep us
            # from looking again.
            if look.are_leads(lead.authority):
                state.rewind(lead.authority, lead.block - 1)
    return Observation(
        snapshot,
        finalized,
        known,
        host,
        tuple(dict.fromkeys(problems)),
        unconfirmed,
        tuple(dict.fromkeys(opener.waiting)),
        len(everything) - len(known),
        client,
        min(opener.begins, default=None),
    )
