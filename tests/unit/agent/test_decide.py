"""From an observation to a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.decide import Plan, decide
from dpki.agent.index import Access, IndexedCertificate
from dpki.agent.observation import HostPair, Known, Observation
from dpki.certificates.krl import parse_krl
from dpki.config.device import Access as AccessConfig
from dpki.config.device import DeviceConfig, Grant, Outage
from dpki.model import Address, AuthorityState, DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from tests.world import DOMAIN, NOBODY, NOW, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)
OTHER = Address(b"\xbb" * 20)


class Scene:
    """A device with one user CA and one host CA."""

    def __init__(self) -> None:
        self.users, self.hosts = Ca.users(), Ca.hosts()
        self.device_state = DeviceState.ACTIVE
        self.known: list[Known] = []
        self.host: HostPair | None = None
        self.finalized = block(100)
        self.config = DeviceConfig(
            domain=DOMAIN.id,
            rpc=("http://localhost:1",),
            directories=(Path("/nowhere"),),
            access=AccessConfig(console_access=True),
            accounts={"root": (Grant(self.users.id, "ops"),)},
        )

    def anchored(self, device: Address = NOBODY) -> IndexedCertificate:
        certificate, _ = self.users.issue(device)
        entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        self.known.append(Known(self.users.id, certificate.serial, entry, 50))
        return IndexedCertificate(
            certificate.hash, self.users.id, certificate.serial, certificate.valid_before
        )

    def plan(self, after: timedelta = timedelta(0)) -> Plan:
        seen = snapshot(self.users, self.hosts, devices={DEVICE: self.device_state})
        observation = Observation(seen, self.finalized, tuple(self.known), self.host, ())
        return decide(self.config, DEVICE, observation, NOW + after)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_trusted_user_ca_and_its_certificates(scene: Scene) -> None:
    mine, nobodys = scene.anchored(DEVICE), scene.anchored()
    scene.anchored(OTHER)
    plan = scene.plan()
    assert plan.user_authorities.startswith(b"ecdsa-sha2-nistp256 ")
    assert plan.user_authorities.count(b"\n") == 1
    assert [a.key for a in plan.index.authorities] == [scene.users.blob]
    assert set(plan.index.certificates) == {mine, nobodys}
    assert plan.index.access == (Access("root", scene.users.id, "ops"),)
    assert plan.problems == ()


def test_a_revoked_certificate_leaves_the_index_and_stands_in_the_krl(scene: Scene) -> None:
    revoked, stays = scene.anchored(), scene.anchored()
    scene.users.revoked.add(revoked.serial)
    plan = scene.plan()
    assert plan.index.certificates == (stays,)
    krl = parse_krl(plan.krl)
    assert krl.is_revoked(scene.users.blob, revoked.serial)
    assert not krl.is_revoked(scene.users.blob, stays.serial)


@pytest.mark.parametrize(
    "state",
    [AuthorityState.SUSPENDED, AuthorityState.CLOSED_SUSPENDED, AuthorityState.RETIRED],
)
def test_a_suspended_or_retired_ca_is_nobodys(scene: Scene, state: AuthorityState) -> None:
    scene.anchored()
    scene.users.state = state
    plan = scene.plan()
    assert plan.user_authorities == b""
    assert plan.index.authorities == plan.index.certificates == ()
    assert parse_krl(plan.krl).is_revoked(scene.users.blob, 12345)


def test_a_closed_cas_certificates_live_on(scene: Scene) -> None:
    certificate = scene.anchored()
    scene.users.state = AuthorityState.CLOSED
    assert scene.plan().index.certificates == (certificate,)


def test_a_ca_counts_once_its_block_is_final(scene: Scene) -> None:
    scene.anchored()
    scene.finalized = block(2, scene.users.registered_at - timedelta(seconds=1))
    assert scene.plan().user_authorities == b""
    scene.finalized = block(3, scene.users.registered_at)
    assert scene.plan().user_authorities != b""


def test_a_host_ca_signs_no_users(scene: Scene) -> None:
    scene.users.state = AuthorityState.RETIRED
    scene.hosts.issue(DEVICE)
    assert scene.plan().user_authorities == b""


@pytest.mark.parametrize("state", [DeviceState.RETIRED, DeviceState.UNREGISTERED])
def test_a_device_that_is_none_lets_nobody_in(scene: Scene, state: DeviceState) -> None:
    scene.anchored(DEVICE)
    certificate, _ = scene.hosts.issue(DEVICE)
    scene.host = HostPair(certificate, b"key", Finding(Verdict.VALID, ""))
    assert scene.plan().host is scene.host
    scene.device_state = state
    plan = scene.plan()
    assert (plan.user_authorities, plan.index.certificates, plan.host) == (b"", (), None)
    assert any("nobody is let in" in problem for problem in plan.problems)


def test_the_index_goes_stale_when_the_operator_chose_closed(scene: Scene) -> None:
    assert scene.plan().index.fresh_until == NOW + timedelta(hours=24)
    access = replace(scene.config.access, outage=Outage.OPEN)
    scene.config = replace(scene.config, access=access)
    assert scene.plan().index.fresh_until is None


def test_a_stale_chain_is_said(scene: Scene) -> None:
    assert scene.plan(timedelta(hours=24)).problems == ()
    assert any("older than allowed" in p for p in scene.plan(timedelta(hours=25)).problems)


def test_the_same_observation_gives_the_same_plan(scene: Scene) -> None:
    scene.anchored()
    assert scene.plan() == scene.plan(timedelta(minutes=1))


def test_the_krl_is_never_empty(scene: Scene) -> None:
    assert len(scene.plan().krl) >= 44
