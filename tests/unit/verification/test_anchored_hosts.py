"""Which host certificates count, from the chain's batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.certificates.ssh import SshCertificate
from dpki.chain.events import Batch
from dpki.chain.snapshot import Snapshot
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityState, DeviceState, Entry, Hash32
from dpki.verification import anchored_hosts
from dpki.verification.anchored_hosts import AnchoredHost, find_anchored_hosts
from tests.fakes.chain import FakeChain
from tests.world import NOBODY, NOW, Ca, block, snapshot

OURS, RETIRED = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
STATES = {OURS: DeviceState.ACTIVE, RETIRED: DeviceState.RETIRED}


class Scene:
    """Host CAs, and what an endpoint shows of their batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts, self.users = Ca.hosts(), Ca.users()
        self.batches: list[Batch] = []
        monkeypatch.setattr(anchored_hosts, "fetch_batches", self.fetch)
        monkeypatch.setattr(anchored_hosts, "extend_snapshot", self.extend)

    def anchor(self, device: Address = OURS, ends: timedelta = timedelta(days=1)) -> SshCertificate:
        certificate = self.hosts.sign(valid_before=NOW + ends)
        entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        number = self.hosts.next_serial
        self.hosts.anchor([certificate], device)
        at = block(50)
        self.batches.append(
            Batch(self.hosts.id, number, 1, Hash32.zero(), (entry,), at.number, at.hash)
        )
        return certificate

    def snapshot(self) -> Snapshot:
        return snapshot(self.hosts, self.users, devices=STATES)

    def fetch(self, *_: object, ca: object) -> tuple[Batch, ...]:
        assert ca == self.hosts.id
        return tuple(self.batches)

    def extend(self, _: object, found: Snapshot, **asked: object) -> Snapshot:
        assert NOBODY not in asked["devices"]  # type: ignore[operator]
        return found

    def found(self) -> tuple[AnchoredHost, ...]:
        return find_anchored_hosts(FakeChain(), self.snapshot())


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_what_counts_and_what_does_not(scene: Scene) -> None:
    good, nobodys = scene.anchor(), scene.anchor(NOBODY)
    revoked = scene.anchor()
    scene.anchor(RETIRED)
    scene.anchor(ends=timedelta(0))
    scene.hosts.revoked.add(revoked.serial)
    assert scene.found() == tuple(
        AnchoredHost(c.hash, scene.hosts.id, c.serial, c.valid_before) for c in (good, nobodys)
    )


@pytest.mark.parametrize("state", [AuthorityState.SUSPENDED, AuthorityState.RETIRED])
def test_nothing_of_a_ca_that_counts_no_more(scene: Scene, state: AuthorityState) -> None:
    scene.anchor()
    scene.hosts.state = state
    assert scene.found() == ()


def test_what_watchdogs_have_yet_to_confirm(scene: Scene) -> None:
    scene.hosts.watched(threshold=40)
    held, confirmed = scene.anchor(), scene.anchor()
    scene.hosts.confirm(confirmed.serial, 40)
    assert [host.hash for host in scene.found()] == [confirmed.hash]
    assert held.hash != confirmed.hash


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_endpoint_that_withholds_a_batch_is_noticed(scene: Scene, missing: int) -> None:
    for _ in range(3):
        scene.anchor()
    del scene.batches[missing]
    with pytest.raises(CouldNotCheck, match=f"from serial {missing + 1} on"):
        scene.found()


def test_an_endpoint_that_makes_one_up_is_noticed(scene: Scene) -> None:
    scene.anchor()
    (batch,) = scene.batches
    entry = replace(batch.entries[0], certificate_hash=Hash32(b"\x66" * 32))
    scene.batches[0] = replace(batch, entries=(entry,))
    with pytest.raises(CouldNotCheck):
        scene.found()
