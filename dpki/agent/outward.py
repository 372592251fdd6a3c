"""What the device needs to log in elsewhere, decided from an observation. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dpki.agent.counting import Held, counts, own_that_count
from dpki.agent.host_index import HostIndex, make_host_index
from dpki.agent.observation import ClientPair, Observation
from dpki.config.device import DeviceConfig, Outage
from dpki.model import Address, AuthorityKind, Hash32
from dpki.verification.anchored_hosts import AnchoredHost
from dpki.verification.known_hosts import known_hosts_lines

_NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class OutwardPlan:
    """What the device's SSH client should go by.

    Attributes:
        clients: The key pairs to log in with, the best first; none where there is no valid one.
        usable: Hashes of this device's user certificates that still count, so that those among
            them that are installed may stay.
        known_hosts: The `@cert-authority` lines of the trusted host CAs.
        hosts: Which host certificates count.
    """

    clients: tuple[ClientPair, ...]
    usable: frozenset[Hash32]
    known_hosts: bytes
    hosts: HostIndex


def plan_outward(
    config: DeviceConfig, device: Address, observation: Observation, held: Held, *, is_ours: bool
) -> OutwardPlan | None:
    """Return what its SSH client should go by; None where nobody uses it.

    Args:
        is_ours: Whether the device is enrolled, and not retired.
    """
    if config.outbound is None:
        return None
    snapshot = observation.snapshot
    anchored = [
        AnchoredHost(
            known.entry.certificate_hash, known.authority, known.serial, known.entry.not_after
        )
        for known in observation.known
        if (ca := snapshot.authorities.get(known.authority)) is not None
        and ca.kind is AuthorityKind.SSH_HOST
        and ca.state.is_trusted
        and counts(known, snapshot, held)
    ]
    closes = config.access.outage is Outage.CLOSED
    until = snapshot.block.time + config.access.maximum_age if closes else _NEVER
    client = observation.client if is_ours else None
    usable = own_that_count(device, observation, AuthorityKind.SSH_USER) if is_ours else ()
    return OutwardPlan(
        () if client is None else (client,),
        frozenset(usable),
        known_hosts_lines(snapshot, config.outbound.hosts).encode(),
        make_host_index(snapshot, anchored, config.outbound.hosts, until),
    )


def keys_of(plan: OutwardPlan | None) -> frozenset[bytes]:
    """Return the SSH public key blobs of the CAs that count in a plan."""
    if plan is None:
        return frozenset()
    clients = (client.certificate.authority_key for client in plan.clients)
    return frozenset((*(authority.key for authority in plan.hosts.authorities), *clients))


def without(plan: OutwardPlan | None, keys: Collection[bytes]) -> OutwardPlan | None:
    """Return the plan without what these CAs give."""
    if plan is None:
        return None
    gone = [ca for ca in plan.hosts.authorities if ca.key in keys]
    lines = {ca.line.encode() for ca in gone}
    clients = [c for c in plan.clients if c.certificate.authority_key not in keys]
    dropped = {c.certificate.hash for c in plan.clients if c not in clients}
    return OutwardPlan(
        tuple(clients),
        plan.usable - dropped,
        b"".join(line for line in plan.known_hosts.splitlines(True) if line not in lines),
        replace(
            plan.hosts,
            authorities=tuple(ca for ca in plan.hosts.authorities if ca not in gone),
            certificates=tuple(
                host
                for host in plan.hosts.certificates
                if host.authority not in {ca.id for ca in gone}
            ),
        ),
    )


def unite(plans: Sequence[OutwardPlan | None]) -> OutwardPlan | None:
    """Return the plan in which what several domains say stands."""
    found = [plan for plan in plans if plan is not None]
    if not found:
        return None
    return OutwardPlan(
        tuple(client for plan in found for client in plan.clients),
        frozenset[Hash32]().union(*(plan.usable for plan in found)),
        b"".join(plan.known_hosts for plan in found),
        HostIndex(
            tuple(ca for plan in found for ca in plan.hosts.authorities),
            tuple(host for plan in found for host in plan.hosts.certificates),
            max(plan.hosts.chain_time for plan in found),
            min(plan.hosts.fresh_until for plan in found),
        ),
    )
