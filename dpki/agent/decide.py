"""Deciding: from an observation to what should be installed. Pure: no clock, disk or network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from dpki.agent.index import Access, IndexedAuthority, IndexedCertificate, LoginIndex
from dpki.agent.observation import HostPair, Observation, Unconfirmed
from dpki.certificates.principals import account_principal
from dpki.chain.snapshot import Authority, Snapshot
from dpki.config.device import DeviceConfig, Outage
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState
from dpki.verification.revocations import authority_key, authority_line, revocation_list
from dpki.verification.succession import find_successors


@dataclass(frozen=True)
class Plan:
    """What the device should look like; installing it twice changes nothing.

    Attributes:
        krl: Content of RevokedKeys.
        user_authorities: Content of TrustedUserCAKeys; empty means nobody.
        index: What the login command decides from.
        host: The host pair to present; None where there is no valid one.
        problems: What is not as it should be, a sentence each.
        waiting: What counts only once watchdogs confirmed it, a sentence each.
    """

    krl: bytes
    user_authorities: bytes
    index: LoginIndex
    host: HostPair | None
    problems: tuple[str, ...]
    waiting: tuple[str, ...]


def decide(config: DeviceConfig, device: Address, observation: Observation, now: datetime) -> Plan:
    """Return what should be installed.

    Args:
        device: This device.
        now: The device's clock; it only adds problems, every rule about time is checked where the
            certificate is used, by the later of clock and chain.
    """
    snapshot = observation.snapshot
    problems = list(observation.problems)
    is_ours = snapshot.devices[device].state is DeviceState.ACTIVE
    if not is_ours:
        problems.append(f"device {device} is not enrolled, or retired: nobody is let in")
    trusted = [
        authority
        for authority in snapshot.authorities.values()
        if is_ours and _is_trusted_for_users(authority, observation)
    ]
    keys = {a.id: key for a in trusted if (key := authority_key(a)) is not None}
    held: dict[AuthorityId, list[range]] = {}
    for unconfirmed in observation.unconfirmed:
        batch = unconfirmed.batch
        held.setdefault(batch.authority, []).append(batch.serials)
    stale_at = snapshot.block.time + config.access.maximum_age
    if now > stale_at:
        problems.append(f"the newest block is of {snapshot.block.time}, older than allowed")
    index = LoginIndex(
        chain_time=snapshot.block.time,
        fresh_until=stale_at if config.access.outage is Outage.CLOSED else None,
        authorities=tuple(
            IndexedAuthority(a.id, keys[a.id], a.maximum_lifetime) for a in trusted if a.id in keys
        ),
        certificates=tuple(
            IndexedCertificate(
                known.entry.certificate_hash, known.authority, known.serial, known.entry.not_after
            )
            for known in observation.known
            if known.authority in keys
            and known.entry.device in (Address.zero(), device)
            and not snapshot.authorities[known.authority].is_revoked(known.serial)
            and not any(known.serial in serials for serials in held.get(known.authority, ()))
        ),
        access=_access(config, device, snapshot, keys.keys()),
    )
    lines = [f"{line}\n" for a in trusted if (line := authority_line(a)) is not None]
    return Plan(
        krl=revocation_list(snapshot, held),
        user_authorities="".join(lines).encode(),
        index=index,
        host=observation.host if is_ours else None,
        problems=tuple(problems),
        waiting=(*observation.waiting, *map(_waiting, observation.unconfirmed)),
    )


def _waiting(unconfirmed: Unconfirmed) -> str:
    batch = unconfirmed.batch
    first, last = batch.serials[0], batch.serials[-1]
    which = f"certificate {first}" if first == last else f"certificates {first} to {last}"
    return f"{which} of CA {batch.authority}: {unconfirmed.reason}"


def _access(
    config: DeviceConfig,
    device: Address,
    snapshot: Snapshot,
    trusted: Collection[AuthorityId],
) -> tuple[Access, ...]:
    """Return who may use which account: what is granted, and what successors inherit of it.

    A CA that may open an account by some principal may also open it on this device alone: that is
    less, and so a technician is let in for five minutes without a change here.

    A successor inherits whatever became of the CA that was named: retired because its key was
    stolen, it still says whom the governor put in its place.
    """
    access: dict[Access, None] = {}
    for account, grants in config.accounts.items():
        here = account_principal(account, device)
        for grant in grants:
            heirs = []
            if config.successors:
                found = find_successors(snapshot.authorities, grant.authority)
                heirs = [heir.id for heir in found if heir.id in trusted]
            for authority in (grant.authority, *heirs):
                access[Access(account, authority, grant.principal)] = None
                access[Access(account, authority, here)] = None
    return tuple(access)


def _is_trusted_for_users(authority: Authority, observation: Observation) -> bool:
    """Whether the block that registered the user CA is final, and its state allows it."""
    return (
        authority.kind is AuthorityKind.SSH_USER
        and authority.state.is_trusted
        and authority.registered_at <= observation.finalized.time
    )
