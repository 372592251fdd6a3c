"""What a device has seen, and what nobody can make it unsee (claims T3, T4).

Revocations, watermarks and retirements only accumulate: a reorg or an endpoint that goes back in
time revives nothing. The floor is the newest block that the chain itself calls final; whatever
contradicts it is not the chain that we know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dpki.chain.snapshot import Authority, Snapshot
from dpki.errors import EndpointUnavailable
from dpki.model import Address, AuthorityId, AuthorityState, Block, DeviceState, Hash32

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A block from further ahead is not remembered: it could make us refuse the truth later."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one CA; no field ever shrinks.

    Attributes:
        revoked: Serials, each one ever seen revoked.
        revoked_below: The highest watermark.
        is_retired: Whether it was ever seen retired.
    """

    revoked: frozenset[int] = frozenset()
    revoked_below: int = 0
    is_retired: bool = False


@dataclass(frozen=True)
class Mark:
    """A block, and how far everything that only grows had come by then.

    Attributes:
        serials: Next serial by CA.
        nonces: Nonce by device.
        watches: Version and first serial of the watch, by CA that is watched.
        accepted: The batches that were there by then and waited for no watchdog any more.
    """

    block: Block
    serials: Mapping[AuthorityId, int]
    nonces: Mapping[Address, int]
    watches: Mapping[AuthorityId, tuple[int, int]] = field(default_factory=dict)
    accepted: frozenset[tuple[AuthorityId, int]] = frozenset()


@dataclass(frozen=True)
class Memory:
    """Everything remembered between two runs.

    Attributes:
        floor: A final block; nothing older, and nothing less than its serials, is believed.
        candidate: The next floor, once the chain calls it final.
        retired: The devices that were ever seen retired.
    """

    seen: Mapping[AuthorityId, Seen] = field(default_factory=dict)
    floor: Mark | None = None
    candidate: Mark | None = None
    retired: frozenset[Address] = frozenset()


def verify_floor(memory: Memory, snapshot: Snapshot) -> Snapshot:
    """Return the snapshot if it does not contradict the floor.

    Raises:
        EndpointUnavailable: It is older, or holds less: the endpoint is stale, forked or lying.
    """
    floor = memory.floor
    if floor is None:
        return snapshot
    hint = "the endpoint is stale, on a fork, or lying; use another one"
    if snapshot.block.number < floor.block.number or snapshot.block.time < floor.block.time:
        raise EndpointUnavailable(
            f"the newest block offered is {snapshot.block.number}, but block {floor.block.number}"
            " was already final",
            hint=hint,
        )
    for id, serial in floor.serials.items():
        known = snapshot.authorities.get(id)
        if known is None or known.next_serial < serial:
            raise EndpointUnavailable(
                f"certificates of CA {id} that were final are gone", hint=hint
            )
    for id, (version, first_serial) in floor.watches.items():
        watch = snapshot.authorities[id].watch
        if watch is None or watch.version < version or watch.first_serial != first_serial:
            raise EndpointUnavailable(
                f"that CA {id} is watched was final, and is gone or another", hint=hint
            )
    for device, nonce in floor.nonces.items():
        record = snapshot.devices.get(device)
        if record is not None and record.nonce < nonce:
            raise EndpointUnavailable(
                f"an update of device {device} that was final is gone", hint=hint
            )
    return snapshot


def newest_final(memory: Memory, finalized: Block) -> Block:
    """Return the newest block known to be final: what was final, is."""
    floor = memory.floor
    return finalized if floor is None else max(finalized, floor.block, key=lambda b: b.number)


def remember(memory: Memory, snapshot: Snapshot, finalized: Block, now: datetime) -> Memory:
    """Return the memory with what the snapshot adds.

    Args:
        finalized: The newest block that the chain calls final. The candidate becomes the floor
            when it is at or below; the caller has checked that the candidate's block is still on
            the chain, or dropped it.

    A block from the future is remembered in nothing: it acts while it is offered, and no longer.
    """
    if snapshot.block.time > now + CLOCK_TOLERANCE:
        return memory
    removed = remember_removals(memory, snapshot, now)
    floor, candidate = memory.floor, memory.candidate
    if candidate is not None and candidate.block.number <= finalized.number:
        floor, candidate = candidate, None
    if candidate is None:
        serials = {a.id: a.next_serial for a in snapshot.authorities.values()}
        nonces = {d.address: d.nonce for d in snapshot.devices.values()}
        watches = {
            a.id: (a.watch.version, a.watch.first_serial)
            for a in snapshot.authorities.values()
            if a.watch is not None
        }
        accepted = frozenset(
            batch
            for batch, commitment in snapshot.commitments.items()
            if commitment != Hash32.zero() and snapshot.awaited(*batch) is None
        )
        candidate = Mark(snapshot.block, serials, nonces, watches, accepted)
    return replace(removed, floor=floor, candidate=candidate)


def remember_removals(memory: Memory, snapshot: Snapshot, now: datetime) -> Memory:
    """Return the memory with what the snapshot takes away, and nothing else of it.

    A block from the future is remembered in nothing.
    """
    if snapshot.block.time > now + CLOCK_TOLERANCE:
        return memory
    seen = dict(memory.seen)
    for authority in snapshot.authorities.values():
        before = seen.get(authority.id, Seen())
        seen[authority.id] = Seen(
            before.revoked | authority.revoked,
            max(before.revoked_below, authority.revoked_below),
            before.is_retired or authority.state is AuthorityState.RETIRED,
        )
    retired = {d.address for d in snapshot.devices.values() if d.state is DeviceState.RETIRED}
    return replace(memory, seen=seen, retired=memory.retired | retired)


def with_memory(snapshot: Snapshot, memory: Memory) -> Snapshot:
    """Return the snapshot in which everything ever seen revoked or retired still is."""
    return replace(
        snapshot,
        authorities={
            id: _with_seen(authority, memory.seen.get(id, Seen()))
            for id, authority in snapshot.authorities.items()
        },
        devices={
            address: replace(device, state=DeviceState.RETIRED)
            if address in memory.retired
            else device
            for address, device in snapshot.devices.items()
        },
    )


def _with_seen(authority: Authority, seen: Seen) -> Authority:
    return replace(
        authority,
        revoked=authority.revoked | seen.revoked,
        revoked_below=max(authority.revoked_below, seen.revoked_below),
        state=AuthorityState.RETIRED if seen.is_retired else authority.state,
    )
