"""Deciding: from an observation to what should be installed. Pure: no clock, disk or network."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from dpki.agent.counting import counts, holder_is_active, own_that_count
from dpki.agent.index import Access, IndexedAuthority, IndexedCertificate, LoginIndex
from dpki.agent.observation import HostPair, Observation, Unconfirmed
from dpki.agent.outward import OutwardPlan, plan_outward
from dpki.certificates.krl import LARGEST_SERIAL
from dpki.certificates.principals import account_principal
from dpki.chain.snapshot import Authority, Snapshot
from dpki.config.device import DeviceConfig, Outage
from dpki.config.sshd import Mode
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState, Hash32
from dpki.verification.revocations import authority_key, authority_line, revocation_list
from dpki.verification.succession import find_predecessors, find_successors


@dataclass(frozen=True)
class Plan:
    """What the device should look like; installing it twice changes nothing.

    Attributes:
        time: Of the block that it was decided from: the clock of everything that is installed.
        krl: Content of RevokedKeys.
        user_authorities: Content of TrustedUserCAKeys; empty means nobody.
        index: What the login command decides from.
        hosts: The host pairs to present, the best first; none where there is no valid one.
        presentable: Hashes of this device's host certificates that still count, so that those
            among them that are installed may stay for a while.
        problems: What is not as it should be, a sentence each.
        waiting: What counts only once watchdogs confirmed it, a sentence each.
        outward: What its SSH client should go by; None where nobody uses it.
    """

    time: datetime
    krl: bytes
    user_authorities: bytes
    index: LoginIndex
    hosts: tuple[HostPair, ...]
    presentable: frozenset[Hash32]
    problems: tuple[str, ...]
    waiting: tuple[str, ...]
    outward: OutwardPlan | None = None

    @property
    def host(self) -> HostPair | None:
        """The host pair that clients are shown."""
        return self.hosts[0] if self.hosts else None


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
        authorities=tuple(
            IndexedAuthority(
                a.id,
                keys[a.id],
                a.maximum_lifetime,
                snapshot.block.time,
                stale_at if _outage_of(config, snapshot, a.id) is Outage.CLOSED else None,
            )
            for a in trusted
            if a.id in keys
        ),
        certificates=tuple(
            IndexedCertificate(
                known.entry.certificate_hash, known.authority, known.serial, known.entry.not_after
            )
            for known in observation.known
            if known.authority in keys and counts(known, snapshot, held)
        ),
        access=_access(config, device, snapshot, keys.keys()),
    )
    outward = plan_outward(config, device, observation, held, is_ours=is_ours)
    lines = [f"{line}\n" for a in trusted if (line := authority_line(a)) is not None]
    if config.sshd.mode is Mode.FILES:
        for id in keys:
            held.setdefault(id, []).extend(_of_inactive_devices(id, observation))
    if config.sshd.fence:
        for id in keys:
            held.setdefault(id, []).extend(_fence(id, index.certificates))
    own = own_that_count(device, observation, AuthorityKind.SSH_HOST)
    return Plan(
        time=snapshot.block.time,
        krl=revocation_list(snapshot, held),
        user_authorities="".join(lines).encode(),
        index=index,
        hosts=(observation.host,) if is_ours and observation.host is not None else (),
        presentable=frozenset(own if is_ours else ()),
        problems=tuple(problems),
        waiting=(*observation.waiting, *map(_waiting, observation.unconfirmed)),
        outward=outward,
    )


def _waiting(unconfirmed: Unconfirmed) -> str:
    batch = unconfirmed.batch
    first, last = batch.serials[0], batch.serials[-1]
    which = f"certificate {first}" if first == last else f"certificates {first} to {last}"
    return f"{which} of CA {batch.authority}: {unconfirmed.reason}"


def _of_inactive_devices(authority: AuthorityId, observation: Observation) -> Iterable[range]:
    """Yield the serials that count for no device any more: in files mode sshd must be told."""
    for known in observation.known:
        if known.authority == authority and not holder_is_active(known, observation.snapshot):
            yield range(known.serial, known.serial + 1)


def _fence(authority: AuthorityId, certificates: Iterable[IndexedCertificate]) -> Iterable[range]:
    """Yield every serial that is not one of these certificates': also those still to come."""
    following = 1
    for serial in sorted(c.serial for c in certificates if c.authority == authority):
        yield range(following, serial)
        following = serial + 1
    yield range(following, LARGEST_SERIAL + 1)


def _outage_of(config: DeviceConfig, snapshot: Snapshot, authority: AuthorityId) -> Outage:
    """Return a CA's outage policy: its own, else that of the latest CA that it succeeds."""
    named = config.access.authorities
    line = [authority]
    if named and config.successors:
        line += [before.id for before in find_predecessors(snapshot.authorities, authority)]
    return next((named[id] for id in line if id in named), config.access.outage)


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
