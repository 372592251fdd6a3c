"""Which anchored certificates count. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dpki.agent.observation import Known, Observation
from dpki.chain.snapshot import Snapshot
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState, Hash32

Held = Mapping[AuthorityId, Sequence[range]]
"""Serials, by CA, that watchdogs have yet to confirm."""

_NOBODY = Address.zero()


def holder_is_active(known: Known, snapshot: Snapshot) -> bool:
    """Whether a certificate is nobody's, or of a device that is enrolled and not retired.

    Whose a certificate is does not say where it counts: a device's client certificate is accepted
    wherever its principals are.
    """
    holder = known.entry.device
    if holder == _NOBODY:
        return True
    record = snapshot.devices.get(holder)
    return record is not None and record.state is DeviceState.ACTIVE


def counts(known: Known, snapshot: Snapshot, held: Held) -> bool:
    """Whether nothing on chain speaks against a certificate of a trusted CA."""
    return (
        holder_is_active(known, snapshot)
        and known.entry.not_after > snapshot.block.time
        and not snapshot.authorities[known.authority].is_revoked(known.serial)
        and not any(known.serial in serials for serials in held.get(known.authority, ()))
    )


def own_that_count(
    device: Address, observation: Observation, kind: AuthorityKind
) -> Iterator[Hash32]:
    """Yield the hashes of this device's certificates that nothing speaks against."""
    snapshot = observation.snapshot
    for known in observation.known:
        authority = snapshot.authorities.get(known.authority)
        if (
            authority is not None
            and authority.kind is kind
            and authority.state.is_trusted
            and known.entry.device == device
            and known.entry.not_after > snapshot.block.time
            and not authority.is_revoked(known.serial)
        ):
            yield known.entry.certificate_hash
