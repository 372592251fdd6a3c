"""Several trust domains on one device: their plans become one, for there is one sshd. Pure.

A domain can take away from another: whatever one of them revokes is revoked on this device. It can
give nothing in another's name: a CA that two domains trust is trusted through neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dpki.agent.decide import Plan
from dpki.agent.index import LoginIndex
from dpki.agent.outward import keys_of, unite, without
from dpki.certificates.keys import parse_ssh_public_key, ssh_fingerprint
from dpki.certificates.krl import parse_krl, unite_krls
from dpki.model import Hash32


@dataclass(frozen=True)
class Merged:
    """One plan for the device.

    Attributes:
        conflicts: What the domains contradict each other in, a sentence each.
    """

    plan: Plan
    conflicts: tuple[str, ...] = ()


def merge(plans: Mapping[str, Plan]) -> Merged:
    """Return the plan that does what all of these say.

    Args:
        plans: By domain, the device's first before the others: of several host certificates sshd
            presents, for each kind of key, the first.
    """
    names = list(plans)
    if len(names) == 1:
        return Merged(plans[names[0]])
    trusted = {name: _trusted_keys(plan) for name, plan in plans.items()}
    counts = Counter(key for keys in trusted.values() for key in keys)
    twice = frozenset(key for key, count in counts.items() if count > 1)
    kept = [_without(plan, twice) for plan in plans.values()]
    return Merged(
        replace(
            kept[0],
            time=max(plan.time for plan in kept),
            krl=unite_krls(*(parse_krl(plan.krl) for plan in reversed(kept))),
            user_authorities=b"".join(plan.user_authorities for plan in kept),
            index=_merge_indices([plan.index for plan in kept]),
            hosts=tuple(host for plan in kept for host in plan.hosts),
            presentable=frozenset[Hash32]().union(*(plan.presentable for plan in kept)),
            problems=tuple(p for plan in kept for p in plan.problems),
            waiting=tuple(w for plan in kept for w in plan.waiting),
            outward=unite([plan.outward for plan in kept]),
        ),
        tuple(_conflict(key, trusted) for key in sorted(twice)),
    )


def _trusted_keys(plan: Plan) -> frozenset[bytes]:
    """Return the SSH public key blobs of the CAs that count in a plan."""
    hosts = (host.certificate.authority_key for host in plan.hosts)
    users = (authority.key for authority in plan.index.authorities)
    return frozenset((*users, *hosts)) | keys_of(plan.outward)


def _without(plan: Plan, keys: frozenset[bytes]) -> Plan:
    """Return the plan without what these CAs give."""
    index = plan.index
    gone = {authority.id for authority in index.authorities if authority.key in keys}
    lines = plan.user_authorities.splitlines(keepends=True)
    kept = [line for line in lines if parse_ssh_public_key(line.decode()).blob not in keys]
    hosts = [host for host in plan.hosts if host.certificate.authority_key not in keys]
    dropped = {host.certificate.hash for host in plan.hosts if host not in hosts}
    return replace(
        plan,
        user_authorities=b"".join(kept),
        index=replace(
            index,
            authorities=tuple(a for a in index.authorities if a.id not in gone),
            certificates=tuple(c for c in index.certificates if c.authority not in gone),
            access=tuple(a for a in index.access if a.authority not in gone),
        ),
        hosts=tuple(hosts),
        presentable=plan.presentable - dropped,
        outward=without(plan.outward, keys),
    )


def _merge_indices(indices: Sequence[LoginIndex]) -> LoginIndex:
    """Return the index in which all of these stand."""
    return LoginIndex(
        authorities=tuple(a for index in indices for a in index.authorities),
        certificates=tuple(c for index in indices for c in index.certificates),
        access=tuple(dict.fromkeys(a for index in indices for a in index.access)),
    )


def _conflict(key: bytes, trusted: Mapping[str, frozenset[bytes]]) -> str:
    names = " and ".join(name for name, keys in trusted.items() if key in keys)
    return f"the CA with key {ssh_fingerprint(key)} is trusted by {names}: it counts for neither"
