"""Several trust domains on one device: their plans become one, for there is one sshd. Pure.

A domain can take away from another: whatever one of them revokes is revoked on this device. It can
give nothing in another's name: a CA that two domains trust is trusted through neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dpki.agent.decide import Plan
from dpki.agent.index import LoginIndex
from dpki.certificates.keys import parse_ssh_public_key, ssh_fingerprint
from dpki.certificates.krl import Revocations, build_krl, parse_krl


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
        plans: By domain, the device's first before the others: of several host certificates the
            first domain's is presented, since sshd presents one for each kind of key.
    """
    names = list(plans)
    if len(names) == 1:
        return Merged(plans[names[0]])
    trusted = {name: _trusted_keys(plan) for name, plan in plans.items()}
    counts = Counter(key for keys in trusted.values() for key in keys)
    twice = frozenset(key for key, count in counts.items() if count > 1)
    kept = [_without(plan, twice) for plan in plans.values()]
    hosts = [plan.host for plan in kept if plan.host is not None]
    return Merged(
        replace(
            kept[0],
            krl=_merge_krls([plan.krl for plan in kept]),
            user_authorities=b"".join(plan.user_authorities for plan in kept),
            index=_merge_indices([plan.index for plan in kept]),
            host=hosts[0] if hosts else None,
            problems=tuple(p for plan in kept for p in plan.problems),
            waiting=tuple(w for plan in kept for w in plan.waiting),
        ),
        tuple(_conflict(key, trusted) for key in sorted(twice)),
    )


def _trusted_keys(plan: Plan) -> frozenset[bytes]:
    """Return the SSH public key blobs of the CAs that count in a plan."""
    hosts = () if plan.host is None else (plan.host.certificate.authority_key,)
    return frozenset((*(authority.key for authority in plan.index.authorities), *hosts))


def _without(plan: Plan, keys: frozenset[bytes]) -> Plan:
    """Return the plan without what these CAs give."""
    index = plan.index
    gone = {authority.id for authority in index.authorities if authority.key in keys}
    lines = plan.user_authorities.splitlines(keepends=True)
    kept = [line for line in lines if parse_ssh_public_key(line.decode()).blob not in keys]
    is_presentable = plan.host is not None and plan.host.certificate.authority_key not in keys
    return replace(
        plan,
        user_authorities=b"".join(kept),
        index=replace(
            index,
            authorities=tuple(a for a in index.authorities if a.id not in gone),
            certificates=tuple(c for c in index.certificates if c.authority not in gone),
            access=tuple(a for a in index.access if a.authority not in gone),
        ),
        host=plan.host if is_presentable else None,
    )


def _merge_krls(krls: Sequence[bytes]) -> bytes:
    """Return the KRL that refuses whatever one of these does."""
    parsed = [parse_krl(krl) for krl in krls]
    return build_krl(
        [
            Revocations(key, [range(first, last + 1) for first, last in runs])
            for krl in parsed
            for key, runs in krl.revoked
        ],
        frozenset[bytes]().union(*(krl.keys for krl in parsed)),
        version=parsed[0].version,
        generated=parsed[0].generated,
        comment=" ".join(krl.comment for krl in parsed),
    )


def _merge_indices(indices: Iterable[LoginIndex]) -> LoginIndex:
    """Return the index in which all of these stand."""
    indices = list(indices)
    ends = [index.fresh_until for index in indices if index.fresh_until is not None]
    return LoginIndex(
        chain_time=max(index.chain_time for index in indices),
        fresh_until=min(ends, default=None),
        authorities=tuple(a for index in indices for a in index.authorities),
        certificates=tuple(c for index in indices for c in index.certificates),
        access=tuple(dict.fromkeys(a for index in indices for a in index.access)),
    )


def _conflict(key: bytes, trusted: Mapping[str, frozenset[bytes]]) -> str:
    names = " and ".join(name for name, keys in trusted.items() if key in keys)
    return f"the CA with key {ssh_fingerprint(key)} is trusted by {names}: it counts for neither"
