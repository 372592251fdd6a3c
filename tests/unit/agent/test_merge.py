"""Several trust domains on one device: one plan, and none speaks in another's name."""

from __future__ import annotations

from datetime import timedelta

from dpki.agent.decide import Plan, decide
from dpki.agent.host_index import encode_host_index
from dpki.agent.merge import merge
from dpki.agent.observation import ClientPair, HostPair, Known, Observation
from dpki.certificates.keys import ssh_fingerprint
from dpki.certificates.krl import parse_krl
from dpki.config.device import Access, DeviceConfig, Grant
from dpki.config.outbound import Outbound
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


class TestTheSshClient:
    """What each domain says for it, side by side."""

    def planned(self, *cas: Ca, client: Ca | None = None) -> Plan:
        known = []
        for ca in cas:
            certificate, _ = ca.issue()
            entry = Entry(certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())
            known.append(Known(ca.id, certificate.serial, entry, 50))
        config = DeviceConfig(
            domain=DOMAIN.id,
            rpc=("http://localhost:1",),
            access=Access(console_access=True),
            outbound=Outbound("telemetry"),
        )
        own = None
        if client is not None:
            certificate, _ = client.issue(DEVICE)
            own = ClientPair(certificate, b"key", Finding(Verdict.VALID, ""))
            entry = Entry(certificate.hash, DEVICE, certificate.valid_before, Hash32.zero())
            known.append(Known(client.id, certificate.serial, entry, 50))
        everybody = [*cas, *([] if client is None else [client])]
        seen = snapshot(*everybody, devices={DEVICE: DeviceState.ACTIVE})
        observation = Observation(seen, block(100), tuple(known), None, (), client=own)
        return decide(config, DEVICE, observation, NOW)

    def test_each_ones_hosts_and_certificates(self) -> None:
        ours, theirs = self.planned(Ca.hosts(), client=Ca.users()), self.planned(Ca.hosts())
        both = merge({"first": ours, "other": theirs}).plan.outward
        first, other = ours.outward, theirs.outward
        assert both is not None
        assert first is not None
        assert other is not None
        assert both.clients == first.clients != ()
        assert both.known_hosts == first.known_hosts + other.known_hosts
        assert len(both.hosts.certificates) == 2
        assert encode_host_index(both.hosts)

    def test_a_host_ca_that_two_trust_vouches_for_no_host(self) -> None:
        shared, own, users = Ca.hosts(), Ca.hosts(), Ca.users()
        plans = {
            "first": self.planned(shared, own, client=users),
            "other": self.planned(shared, client=users),
        }
        merged = merge(plans)
        both = merged.plan.outward
        assert both is not None
        assert [ca.id for ca in both.hosts.authorities] == [own.id]
        assert {host.authority for host in both.hosts.certificates} == {own.id}
        assert both.known_hosts.count(b"\n") == 1
        assert both.clients == ()
        assert both.usable == frozenset()
        assert len(merged.conflicts) == 2

    def test_where_nobody_uses_it(self) -> None:
        assert merge({"first": planned(Ca.users()), "b": planned(Ca.users())}).plan.outward is None
