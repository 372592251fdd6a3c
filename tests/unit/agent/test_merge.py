"""Several trust domains on one device: one plan, and none speaks in another's name."""

from __future__ import annotations

from datetime import timedelta

from dpki.agent.decide import Plan, decide
from dpki.agent.merge import merge
from dpki.agent.observation import HostPair, Known, Observation
from dpki.certificates.keys import ssh_fingerprint
from dpki.certificates.krl import parse_krl
from dpki.config.device import Access, DeviceConfig, Grant
from dpki.model import Address, AuthorityState, DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from tests.world import DOMAIN, NOW, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)


def planned(*cas: Ca, account: str = "root", host: HostPair | None = None) -> Plan:
    """Return what a domain with these CAs decides; each has anchored one certificate."""
    known = []
    for ca in cas:
        certificate, _ = ca.issue()
        entry = Entry(certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())
        known.append(Known(ca.id, certificate.serial, entry, 50))
    config = DeviceConfig(
        domain=DOMAIN.id,
        rpc=("http://localhost:1",),
        access=Access(console_access=True),
        accounts={account: tuple(Grant(ca.id, "ops") for ca in cas)},
    )
    seen = snapshot(*cas, devices={DEVICE: DeviceState.ACTIVE})
    return decide(config, DEVICE, Observation(seen, block(100), tuple(known), host, ()), NOW)


def pair(hosts: Ca) -> HostPair:
    certificate, _ = hosts.issue(
        DEVICE, valid_after=NOW, valid_before=NOW + timedelta(days=1), principals=["pump"]
    )
    return HostPair(certificate, b"key", Finding(Verdict.VALID, ""))


def test_one_domain_is_left_as_it_is() -> None:
    plan = planned(Ca.users())
    merged = merge({"first": plan})
    assert merged.plan is plan
    assert merged.conflicts == ()


def test_everybody_whom_one_of_them_lets_in() -> None:
    ours, theirs = Ca.users(), Ca.users()
    first, other = planned(ours), planned(theirs, account="guest")
    plan = merge({"first": first, "other": other}).plan
    assert plan.user_authorities == first.user_authorities + other.user_authorities
    assert {a.key for a in plan.index.authorities} == {ours.blob, theirs.blob}
    assert set(plan.index.certificates) == {*first.index.certificates, *other.index.certificates}
    assert set(plan.index.access) == {*first.index.access, *other.index.access}


def test_whatever_one_of_them_revoked_is_revoked() -> None:
    ours, theirs = Ca.users(), Ca.users()
    ours.issue()
    theirs.issue()
    ours.revoked.add(1)
    theirs.state = AuthorityState.RETIRED
    krl = parse_krl(merge({"first": planned(ours), "other": planned(theirs)}).plan.krl)
    assert krl.is_revoked(ours.blob, 1)
    assert not krl.is_revoked(ours.blob, 2)
    assert krl.is_revoked(theirs.blob, 7)


def test_a_key_that_two_trust_counts_for_neither() -> None:
    shared, ours = Ca.users(), Ca.users()
    merged = merge({"first": planned(shared, ours), "other": planned(shared)})
    assert [a.key for a in merged.plan.index.authorities] == [ours.blob]
    assert {c.authority for c in merged.plan.index.certificates} == {ours.id}
    assert {a.authority for a in merged.plan.index.access} == {ours.id}
    assert merged.plan.user_authorities.count(b"\n") == 1
    (conflict,) = merged.conflicts
    assert ssh_fingerprint(shared.blob) in conflict
    assert "first and other" in conflict


def test_nor_as_one_domains_host_ca_and_the_others_user_ca() -> None:
    users = Ca.users()
    hosts = Ca(Ca.hosts().kind, users.key)
    merged = merge({"first": planned(users), "other": planned(Ca.users(), host=pair(hosts))})
    assert merged.plan.host is None
    assert users.blob not in [a.key for a in merged.plan.index.authorities]
    assert len(merged.conflicts) == 1


def test_of_two_host_certificates_the_first_domains_is_presented() -> None:
    first, other = pair(Ca.hosts()), pair(Ca.hosts())
    plans = {
        "first": planned(Ca.users(), host=first),
        "other": planned(Ca.users(), host=other),
    }
    assert merge(plans).plan.hosts == (first, other)
    plans["first"] = planned(Ca.users())
    assert merge(plans).plan.host == other
