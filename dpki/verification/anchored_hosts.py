"""Which host certificates count: what an SSH client needs to hold one against the chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dpki.chain.events import fetch_batches, verify_batch
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Authority, Snapshot, extend_snapshot
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState, Hash32


@dataclass(frozen=True, order=True)
class AnchoredHost:
    """A host certificate that counts at a block."""

    hash: Hash32
    authority: AuthorityId
    serial: int
    not_after: datetime


def find_anchored_hosts(reader: Reader, snapshot: Snapshot) -> tuple[AnchoredHost, ...]:
    """Return all that trusted host CAs issued, and that has not ended.

    Without what is revoked or expired, waits for watchdogs, or belongs to a device that is not
    enrolled any more. Every batch is recomputed against the chain's commitment, without a gap.

    Raises:
        CouldNotCheck: The endpoint withholds or forges events.
        CheckedFalse: A batch that the events show is not there.
    """
    return tuple(
        host
        for authority in snapshot.authorities.values()
        if authority.kind is AuthorityKind.SSH_HOST and authority.state.is_trusted
        for host in _of_authority(reader, snapshot, authority)
    )


def _of_authority(
    reader: Reader, snapshot: Snapshot, authority: Authority
) -> tuple[AnchoredHost, ...]:
    domain, head = snapshot.domain, snapshot.block.number
    batches = fetch_batches(reader, domain, domain.block.number, head, ca=authority.id)
    extended = extend_snapshot(
        reader,
        snapshot,
        devices={entry.device for batch in batches for entry in batch.entries} - {Address.zero()},
        batches=[(batch.ca, batch.first_serial) for batch in batches],
    )
    found, following = [], 1
    for batch in batches:
        if batch.first_serial != following:
            break
        following = verify_batch(batch, extended).last_serial + 1
        if extended.awaited(batch.ca, batch.first_serial) is not None:
            continue
        for serial, entry in enumerate(batch.entries, start=batch.first_serial):
            is_ours = (
                entry.device == Address.zero()
                or extended.devices[entry.device].state is DeviceState.ACTIVE
            )
            is_over = entry.not_after <= snapshot.block.time or authority.is_revoked(serial)
            if is_ours and not is_over:
                found.append(
                    AnchoredHost(entry.certificate_hash, authority.id, serial, entry.not_after)
                )
    if following != authority.next_serial:
        raise CouldNotCheck(
            f"host certificates from serial {following} on were issued, but the endpoint does not"
            " show them",
            hint="ask another RPC endpoint",
        )
    return tuple(found)
