"""From an observation to a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent.decide import Plan, decide
from dpki.agent.index import Access, IndexedCertificate, encode_index
from dpki.agent.observation import HostPair, Known, Observation, Unconfirmed, WatchedBatch
from dpki.certificates.krl import Krl, parse_krl
from dpki.config.device import Access as AccessConfig
from dpki.config.device import DeviceConfig, Grant, Outage
from dpki.config.sshd import Mode, Sshd
from dpki.model import Address, AuthorityState, DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from tests.world import DOMAIN, NOBODY, NOW, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)
OTHER = Address(b"\xbb" * 20)
HERE = f"root@device:0x{'aa' * 20}"


class Scene:
    """A device with one user CA and one host CA."""

    def __init__(self) -> None:
        self.users, self.hosts = Ca.users(), Ca.hosts()
        self.others: list[Ca] = []
        self.device_state = DeviceState.ACTIVE
        self.holders: dict[Address, DeviceState] = {}
        self.known: list[Known] = []
        self.waiting: list[Unconfirmed] = []
        self.host: HostPair | None = None
        self.finalized = block(100)
        self.config = DeviceConfig(
            domain=DOMAIN.id,
            rpc=("http://localhost:1",),
            directories=(Path("/nowhere"),),
            access=AccessConfig(console_access=True),
            accounts={"root": (Grant(self.users.id, "ops"),)},
        )

    def anchored(self, device: Address = NOBODY, by: Ca | None = None) -> IndexedCertificate:
        ca = by or self.users
        certificate, _ = ca.issue(device)
        entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        self.known.append(Known(ca.id, certificate.serial, entry, 50))
        return IndexedCertificate(
            certificate.hash, ca.id, certificate.serial, certificate.valid_before
        )

    def unconfirmed(self, first: int, count: int = 1) -> None:
        batch = WatchedBatch(self.users.id, first, count, 50)
        self.waiting.append(Unconfirmed(batch, "awaiting watchdogs: 20 of 40"))

    def plan(self, after: timedelta = timedelta(0)) -> Plan:
        cas = (self.users, self.hosts, *self.others)
        seen = snapshot(*cas, devices={DEVICE: self.device_state, **self.holders})
        observation = Observation(
            seen, self.finalized, tuple(self.known), self.host, (), tuple(self.waiting)
        )
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
    assert plan.index.access == (
        Access("root", scene.users.id, "ops"),
        Access("root", scene.users.id, HERE),
    )
    assert plan.problems == ()


def test_another_devices_certificate_counts_as_long_as_that_device_does(scene: Scene) -> None:
    """Whose it is does not say where it counts."""
    certificate = scene.anchored(OTHER)
    scene.holders = {OTHER: DeviceState.ACTIVE}
    assert scene.plan().index.certificates == (certificate,)
    for state in (DeviceState.RETIRED, DeviceState.UNREGISTERED):
        scene.holders = {OTHER: state}
        assert scene.plan().index.certificates == ()
    scene.holders = {}
    assert scene.plan().index.certificates == (), "nothing is known of that device"


def test_what_watchdogs_have_yet_to_confirm_is_not_anchored(scene: Scene) -> None:
    first, held, also, last = (scene.anchored() for _ in range(4))
    scene.unconfirmed(held.serial, count=2)
    plan = scene.plan()
    assert set(plan.index.certificates) == {first, last}
    krl = parse_krl(plan.krl)
    refused = [c.serial for c in (first, held, also, last) if _revoked(scene, krl, c)]
    assert refused == [held.serial, also.serial]
    assert plan.waiting == (
        f"certificates 2 to 3 of CA {scene.users.id}: awaiting watchdogs: 20 of 40",
    )
    assert plan.problems == ()


def test_what_was_confirmed_counts_and_leaves_the_krl(scene: Scene) -> None:
    certificate = scene.anchored()
    scene.unconfirmed(certificate.serial)
    assert scene.plan().index.certificates == ()
    scene.waiting.clear()
    plan = scene.plan()
    assert plan.index.certificates == (certificate,)
    assert not _revoked(scene, parse_krl(plan.krl), certificate)
    assert plan.waiting == ()


def test_of_another_ca_nothing_waits(scene: Scene) -> None:
    """The same serials, of a CA that is not watched."""
    certificate = scene.anchored()
    batch = WatchedBatch(scene.hosts.id, certificate.serial, 1, 50)
    scene.waiting.append(Unconfirmed(batch, "awaiting watchdogs: 0 of 40"))
    assert scene.plan().index.certificates == (certificate,)


def _revoked(scene: Scene, krl: Krl, certificate: IndexedCertificate) -> bool:
    return krl.is_revoked(scene.users.blob, certificate.serial)


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


def fresh_until(scene: Scene, ca: Ca) -> datetime | None:
    (found,) = [a.fresh_until for a in scene.plan().index.authorities if a.id == ca.id]
    return found


def test_single_cas_may_have_another_outage_policy(scene: Scene) -> None:
    other = Ca.users()
    scene.others.append(other)
    access = replace(scene.config.access, authorities={other.id: Outage.OPEN})
    scene.config = replace(scene.config, access=access)
    assert fresh_until(scene, other) is None
    assert fresh_until(scene, scene.users) == NOW + timedelta(hours=24)


def test_a_successor_has_the_policy_of_the_latest_ca_before_it_that_has_one(scene: Scene) -> None:
    second, third, fourth = Ca.users(), Ca.users(), Ca.users()
    second.parent, third.parent, fourth.parent = scene.users.id, second.id, third.id
    scene.others += [second, third, fourth]
    named = {scene.users.id: Outage.OPEN, third.id: Outage.CLOSED}
    access = replace(scene.config.access, authorities=named)
    scene.config = replace(scene.config, access=access, successors=True)
    closed = NOW + timedelta(hours=24)
    cas = (scene.users, second, third, fourth)
    assert [fresh_until(scene, ca) for ca in cas] == [None, None, closed, closed]
    scene.config = replace(scene.config, successors=False)
    assert [fresh_until(scene, ca) for ca in cas] == [None, closed, closed, closed]


def test_what_had_expired_by_the_chains_clock_is_forgotten(scene: Scene) -> None:
    """A device whose clock has stopped would else let it in until its index is made anew."""
    old, new = scene.anchored(), scene.anchored()
    scene.known[0] = replace(scene.known[0], entry=replace(scene.known[0].entry, not_after=NOW))
    assert scene.plan().index.certificates == (new,)
    assert old not in scene.plan().index.certificates


class TestFilesMode:
    """Without a login command: what sshd must be told by other means."""

    def refused(self, scene: Scene) -> list[int]:
        krl = parse_krl(scene.plan().krl)
        return [serial for serial in range(1, 10) if krl.is_revoked(scene.users.blob, serial)]

    @pytest.fixture
    def files(self, scene: Scene) -> Scene:
        scene.config = replace(scene.config, sshd=Sshd(mode=Mode.FILES))
        for device in (NOBODY, OTHER, DEVICE, NOBODY):
            scene.anchored(device)
        return scene

    def test_what_an_inactive_device_holds_stands_in_the_krl(self, files: Scene) -> None:
        assert self.refused(files) == [2]
        files.holders = {OTHER: DeviceState.ACTIVE}
        assert self.refused(files) == []
        files.holders = {OTHER: DeviceState.RETIRED}
        assert self.refused(files) == [2]

    def test_in_strict_mode_it_need_not(self, files: Scene) -> None:
        files.config = replace(files.config, sshd=Sshd())
        assert self.refused(files) == []

    def test_the_fence_refuses_every_serial_that_was_not_seen_anchored(self, files: Scene) -> None:
        files.config = replace(files.config, sshd=Sshd(mode=Mode.FILES, fence=True))
        files.users.revoked.add(3)
        assert self.refused(files) == [2, 3, 5, 6, 7, 8, 9]
        assert parse_krl(files.plan().krl).is_revoked(files.users.blob, 2**64 - 1)
        assert not parse_krl(files.plan().krl).is_revoked(files.users.blob, 0), "it can't be"
        files.anchored()
        assert self.refused(files) == [2, 3, 6, 7, 8, 9]

    def test_the_fence_stands_round_no_host_ca(self, files: Scene) -> None:
        files.config = replace(files.config, sshd=Sshd(mode=Mode.FILES, fence=True))
        assert not parse_krl(files.plan().krl).is_revoked(files.hosts.blob, 7)


class TestPresentable:
    """Which of its host certificates a device may go on showing beside the newest."""

    @pytest.fixture
    def lead(self, scene: Scene) -> Known:
        certificate, _ = scene.hosts.issue(DEVICE)
        entry = Entry(certificate.hash, DEVICE, certificate.valid_before, Hash32.zero())
        scene.known.append(Known(scene.hosts.id, certificate.serial, entry, 50))
        return scene.known[-1]

    def test_one_that_counts(self, scene: Scene, lead: Known) -> None:
        scene.anchored(DEVICE)
        assert scene.plan().presentable == {lead.entry.certificate_hash}

    def test_a_revoked_one(self, scene: Scene, lead: Known) -> None:
        scene.hosts.revoked.add(lead.serial)
        assert scene.plan().presentable == frozenset()

    def test_an_expired_one(self, scene: Scene, lead: Known) -> None:
        scene.known[0] = replace(lead, entry=replace(lead.entry, not_after=NOW))
        assert scene.plan().presentable == frozenset()

    def test_one_of_a_suspended_ca(self, scene: Scene, lead: Known) -> None:
        scene.hosts.state = AuthorityState.SUSPENDED
        assert scene.plan().presentable == frozenset()

    def test_another_devices(self, scene: Scene, lead: Known) -> None:
        scene.known[0] = replace(lead, entry=replace(lead.entry, device=OTHER))
        assert scene.plan().presentable == frozenset()

    def test_of_a_retired_device(self, scene: Scene, lead: Known) -> None:
        scene.device_state = DeviceState.RETIRED
        assert scene.plan().presentable == frozenset()


def test_the_index_goes_stale_when_the_operator_chose_closed(scene: Scene) -> None:
    assert fresh_until(scene, scene.users) == NOW + timedelta(hours=24)
    access = replace(scene.config.access, outage=Outage.OPEN)
    scene.config = replace(scene.config, access=access)
    assert fresh_until(scene, scene.users) is None


def test_a_stale_chain_is_said(scene: Scene) -> None:
    assert scene.plan(timedelta(hours=24)).problems == ()
    assert any("older than allowed" in p for p in scene.plan(timedelta(hours=25)).problems)


def test_the_same_observation_gives_the_same_plan(scene: Scene) -> None:
    scene.anchored()
    assert scene.plan() == scene.plan(timedelta(minutes=1))


def test_the_krl_is_never_empty(scene: Scene) -> None:
    assert len(scene.plan().krl) >= 44


class TestSuccession:
    """What a CA's successor inherits, on a device that follows successors."""

    @pytest.fixture
    def heir(self, scene: Scene) -> Ca:
        heir = Ca.users()
        heir.parent = scene.users.id
        scene.others.append(heir)
        scene.config = replace(scene.config, successors=True)
        return heir

    def admits(self, scene: Scene, ca: Ca) -> bool:
        """Whether a certificate of this CA gets into the account."""
        certificate = scene.anchored(by=ca)
        plan = scene.plan()
        return certificate in plan.index.certificates and (
            Access("root", ca.id, "ops") in plan.index.access
        )

    def test_it_inherits_the_grants_beside_the_old_ca(self, scene: Scene, heir: Ca) -> None:
        assert self.admits(scene, heir)
        assert self.admits(scene, scene.users)
        assert scene.plan().index.access == (
            Access("root", scene.users.id, "ops"),
            Access("root", scene.users.id, HERE),
            Access("root", heir.id, "ops"),
            Access("root", heir.id, HERE),
        )

    def test_it_inherits_nothing_where_successors_are_not_followed(
        self, scene: Scene, heir: Ca
    ) -> None:
        scene.config = replace(scene.config, successors=False)
        assert not self.admits(scene, heir)
        assert self.admits(scene, scene.users)

    @pytest.mark.parametrize("state", [s for s in AuthorityState if s.value])
    def test_it_inherits_whatever_became_of_the_old_ca(
        self, scene: Scene, heir: Ca, state: AuthorityState
    ) -> None:
        scene.users.state = state
        assert self.admits(scene, heir)
        assert self.admits(scene, scene.users) is state.is_trusted

    @pytest.mark.parametrize("state", [s for s in AuthorityState if s.value])
    def test_its_own_state_counts(self, scene: Scene, heir: Ca, state: AuthorityState) -> None:
        heir.state = state
        assert self.admits(scene, heir) is state.is_trusted

    def test_it_inherits_once_its_registration_is_final(self, scene: Scene, heir: Ca) -> None:
        heir.registered_at = NOW
        scene.finalized = block(99, NOW - timedelta(seconds=1))
        assert not self.admits(scene, heir)
        assert self.admits(scene, scene.users)
        scene.finalized = block(100, NOW)
        assert self.admits(scene, heir)

    def test_its_successor_inherits_too(self, scene: Scene, heir: Ca) -> None:
        grandchild = Ca.users()
        grandchild.parent = heir.id
        scene.others.append(grandchild)
        heir.state = AuthorityState.RETIRED
        assert self.admits(scene, grandchild)

    def test_a_stranger_inherits_nothing(self, scene: Scene, heir: Ca) -> None:
        stranger = Ca.users()
        scene.others.append(stranger)
        assert not self.admits(scene, stranger)
        assert self.admits(scene, heir)

    def test_what_is_granted_to_the_heir_is_not_the_old_cas(self, scene: Scene, heir: Ca) -> None:
        scene.config = replace(scene.config, accounts={"root": (Grant(heir.id, "ops"),)})
        assert self.admits(scene, heir)
        assert not self.admits(scene, scene.users)

    def test_a_grant_that_is_inherited_and_written_stands_once(
        self, scene: Scene, heir: Ca
    ) -> None:
        both = (Grant(scene.users.id, "ops"), Grant(heir.id, "ops"))
        scene.config = replace(scene.config, accounts={"root": both})
        access = scene.plan().index.access
        assert len(access) == len(set(access)) == 4
        assert encode_index(scene.plan().index)
