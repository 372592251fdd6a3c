"""Issuing on real services: SoftHSM signs, Kubo keeps, Anvil anchors, and processes die."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.bundle.content import bundle_context, open_bundle
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import authority_id, spki_of, ssh_blob
from dpki.certificates.ssh import parse_ssh_certificate
from dpki.chain.snapshot import fetch_snapshot
from dpki.devices.keys import load_device_keys
from dpki.issuance.batch import BatchState
from dpki.issuance.plan import CertificateRequest
from dpki.issuance.run import TAKEN
from dpki.issuance.workflow import issue_batch
from dpki.signer.base import KeyType
from dpki.signer.pin import pin_source
from dpki.signer.pkcs11 import generate_key, list_keys
from dpki.signer.uri import Pkcs11Uri
from dpki.store.gateway import Gateway
from dpki.verification.verdict import Verdict
from tests.admins import MODULE, Result, state_of
from tests.issuing_world import World, bench, ok


def test_an_engineer_s_certificate_is_valid_to_a_stranger(world: World) -> None:
    document = ok(world.dpki(*world.for_key("alice")))
    file = Path(str(document["certificate"]))
    assert file == world.directory / "alice-cert.pub"
    assert world.verdict(file) is Verdict.VALID
    with_proof = ("--proof", str(document["proof"]), "--domain", world.domain)
    shown = world.dpki("verify", file, *with_proof, "--rpc", world.anvil.url)
    assert (shown.status, shown.document["verdict"]) == (0, "valid")


@pytest.mark.parametrize("keygen", ["device", "admin"])
def test_a_device_gets_its_bundle_over_ipfs(world: World, keygen: str) -> None:
    """Put on one node, fetched from the gateway of the other, opened with the device's keys."""
    ok(world.dpki(*world.for_device(keygen)))
    keys = load_device_keys(world.admin.home.directory.parent / "gate-1" / "keys")
    with world.desk() as (desk, _):
        ca = desk.index.find_authority("hosts")
        batch = desk.journal.load_all(ca)[-1]
        snapshot = fetch_snapshot(desk.reader, desk.domain)
    (entry,) = batch.entries
    digest = digest_from_locator(
        keys.sealing,
        snapshot.authorities[ca].issuer_key,
        ca,
        keys.address,
        entry.certificate_hash,
        entry.locator,
    )
    gateway = Gateway(world.admin.config.store.gateways[0])
    sealed = gateway.fetch(digest, timedelta(seconds=10))
    context = bundle_context(snapshot.domain.id, ca, batch.first_serial, keys.address)
    bundle = open_bundle(sealed, keys.sealing, context)
    assert parse_ssh_certificate(bundle.certificate).hash == entry.certificate_hash
    assert (bundle.key is not None) == (keygen == "admin")


def test_a_batch_of_a_thousand(world: World) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    requests = [
        CertificateRequest(
            subject=f"user-{i}",
            principals=("ops",),
            until=until,
            public_key=ssh_blob(Ed25519PrivateKey.generate().public_key()),
            release=world.directory / f"user-{i}-cert.pub" if i % 333 == 0 else None,
        )
        for i in range(1000)
    ]
    with bench(world, "users") as prepared:
        outcome = issue_batch(prepared, requests)
    assert len(outcome.issued) == 1000
    files = [released.file for released in outcome.issued if released.file is not None]
    assert len(files) == 4
    for file in files:
        assert world.verdict(file) is Verdict.VALID


WOULD = {
    **dict.fromkeys((3, 4), "seal, publish and anchor it"),
    **dict.fromkeys((6, 7), "publish and anchor it"),
    # Killed after it was anchored and before that was journaled: the chain knows.
    **dict.fromkeys((8, 9, 10), "hand it out"),
}


@pytest.mark.parametrize("point", [2, 3, 4, 6, 7, 8, 9, 10])
def test_killed_and_resumed(world: World, point: int) -> None:
    before = world.states("hosts")
    world.die(point, world.for_device())
    left = world.states("hosts")[len(before) :]
    assert len(left) == (0 if point == 2 else 1)
    assert (left[:1] or [(0, "")])[0][1] == {
        2: "",
        3: "issued",
        4: "issued",
        6: "sealed",
        7: "published",
        8: "published",
        9: "anchored",
        10: "anchored",
    }[point]
    unchanged = state_of(world.anvil, world.admin.home.directory)
    rehearsed = ok(world.dpki("ssh", "resume", "--dry-run", *world.admin.option))
    assert [(b["ca"], b["first_serial"], b["would"]) for b in rehearsed["batches"]] == [  # type: ignore[attr-defined]
        ("hosts", serial, WOULD[point]) for serial, _ in left
    ]
    assert bool(rehearsed["gas"]) is (point in (6, 7))
    assert state_of(world.anvil, world.admin.home.directory) == unchanged
    document = ok(world.dpki("ssh", "resume", *world.admin.option))
    released = document["released"]
    assert isinstance(released, list)
    assert len(released) == len(left)
    assert world.states("hosts")[len(before) :] == [(serial, "anchored") for serial, _ in left]
    for one in released:
        assert world.verdict(Path(one["certificate"])) is Verdict.VALID
    assert ok(world.dpki("ssh", "resume", *world.admin.option))["released"] == []


def test_killed_with_the_only_copy_of_a_private_key(world: World) -> None:
    before = world.states("hosts")
    world.die(4, world.for_device("admin"))
    rehearsed = ok(world.dpki("ssh", "resume", "--dry-run", *world.admin.option))
    assert [b["would"] for b in rehearsed["batches"]] == ["sign it again, under other serials"]  # type: ignore[attr-defined]
    (one,) = ok(world.dpki("ssh", "resume", *world.admin.option))["released"]  # type: ignore[misc]
    serial = one["serial"]
    assert world.states("hosts")[len(before) :] == [(serial, "void"), (serial, "anchored")]
    assert world.verdict(Path(one["certificate"])) is Verdict.VALID


def test_another_writer_took_the_serial_of_a_killed_run(world: World) -> None:
    before = world.states("users")
    words = world.for_key("bob")
    world.die(6, words)  # a key has no bundle to publish: one point less
    with world.desk() as (desk, _):
        orphan = desk.journal.load_all()[-1]
    world.issue_directly("users")
    result = world.dpki("ssh", "resume", *world.admin.option)
    (one,) = ok(result)["released"]  # type: ignore[misc]
    assert TAKEN in result.err
    first = orphan.first_serial
    assert world.states("users")[len(before) :] == [(first, "void"), (first + 1, "anchored")]
    file = world.directory / "bob-cert.pub"
    assert parse_ssh_certificate(file.read_bytes()).serial == one["serial"] == first + 1
    assert world.verdict(file) is Verdict.VALID
    # The orphan is signed by the real CA, and worth nothing: its serial is somebody else's.
    orphaned = world.directory / "orphan-cert.pub"
    orphaned.write_bytes(orphan.certificates[0].blob)
    assert world.verdict(orphaned) is Verdict.NOT_ANCHORED


def test_a_reorganisation_is_noticed_and_repaired(world: World) -> None:
    point = world.rpc("evm_snapshot")
    document = ok(world.dpki(*world.for_key("carol")))
    file = Path(str(document["certificate"]))
    assert world.rpc("evm_revert", point) is True
    assert world.verdict(file) is Verdict.NOT_ANCHORED
    with world.desk() as (desk, _):
        ca = desk.index.find_authority("users")
        old = desk.journal.load_all(ca)[-1]
    ok(world.dpki("ssh", "resume", *world.admin.option))
    assert world.verdict(file) is Verdict.VALID
    with world.desk() as (desk, _):
        new = desk.journal.load(old.number)
    assert new.state is BatchState.ANCHORED
    assert new.entries == old.entries


def test_a_rotation_keeps_the_host_names_and_revokes_the_old(world: World) -> None:
    ok(world.dpki(*world.for_device()))
    words = ("--device", "gate-1", "--ca", "hosts", "--revoke-old", *world.admin.option)
    document = ok(world.dpki("ssh", "rotate", *words))
    assert document["principals"] == ["gate-1.example"]
    listed = ok(world.dpki("ssh", "list", "--ca", "hosts", *world.admin.option))["certificates"]
    assert isinstance(listed, list)
    states = {one["serial"]: one["state"] for one in listed if one["state"] != "void"}
    assert states.pop(document["serial"]) == "anchored"
    assert set(states.values()) == {"revoked"}


class TestMakingACaGoesOnWhereItStopped:
    def create(self, world: World, name: str, *words: str) -> Result:
        return world.dpki("ca", "create", name, "--kind", "ssh-user", *words, *world.admin.option)

    def keys(self, world: World) -> list[str]:
        with world.desk() as (desk, _):
            pin = pin_source(desk.config.token.pin)
            uri = Pkcs11Uri(desk.config.token.label)
            return [key.uri.object for key in list_keys(uri, pin, MODULE)]

    def forget(self, world: World, name: str) -> None:
        with world.desk() as (desk, _):
            desk.database.change("DELETE FROM authorities WHERE name = ?", name)

    def test_with_a_key_that_is_in_the_token(self, world: World) -> None:
        with world.desk() as (desk, _):
            uri = Pkcs11Uri(desk.config.token.label, "half")
            key = generate_key(uri, KeyType.P256, pin_source(desk.config.token.pin), MODULE)
        document = ok(self.create(world, "half"))
        assert document["ca"] == str(authority_id(spki_of(key)))
        assert self.keys(world).count("half") == 1

    def test_not_with_a_key_of_another_type(self, world: World) -> None:
        ok(self.create(world, "typed"))
        self.forget(world, "typed")
        result = self.create(world, "typed", "--key-type", "ed25519")
        assert result.status == 2
        assert "has a key typed already, of type p256" in result.message

    def test_with_a_ca_that_only_lacks_its_name(self, world: World) -> None:
        made = ok(self.create(world, "nameless"))
        self.forget(world, "nameless")
        again = ok(self.create(world, "nameless"))
        assert (again["ca"], again["transaction"]) == (made["ca"], None)
        listed = ok(world.dpki("ca", "list", *world.admin.option))["authorities"]
        assert isinstance(listed, list)
        assert [ca["name"] for ca in listed].count("nameless") == 1

    def test_not_with_a_ca_whose_issuer_key_is_elsewhere(self, world: World) -> None:
        ok(self.create(world, "elsewhere"))
        self.forget(world, "elsewhere")
        world.admin.home.issuer_key("elsewhere").unlink()
        result = self.create(world, "elsewhere")
        assert result.status == 2
        assert "is registered already" in result.message
        assert not world.admin.home.issuer_key("elsewhere").exists()


def test_revoking_all_of_a_device(world: World) -> None:
    ok(world.dpki(*world.for_device()))
    ok(world.dpki("ssh", "revoke", "--device", "gate-1", *world.admin.option))
    listed = ok(world.dpki("ssh", "list", "--ca", "hosts", *world.admin.option))["certificates"]
    assert isinstance(listed, list)
    assert {one["state"] for one in listed} <= {"revoked", "void"}
    again = world.dpki("ssh", "revoke", "--device", "gate-1", *world.admin.option)
    assert again.status == 1
    assert "revoked already" in again.message


def test_revoking_twice_and_by_another_s_serial(world: World) -> None:
    document = ok(world.dpki(*world.for_key("dave")))
    file = str(document["certificate"])
    ok(world.dpki("ssh", "revoke", "--certificate", file, *world.admin.option))
    assert world.verdict(Path(file)) is Verdict.REVOKED
    again = world.dpki("ssh", "revoke", "--certificate", file, *world.admin.option)
    assert again.status == 1
    assert "revoked already" in again.message


def test_a_certificate_that_was_never_anchored_revokes_nobody(world: World) -> None:
    """One signed with the real key under another's serial, as in the story's second theft."""
    document = ok(world.dpki(*world.for_key("erin")))
    with bench(world, "users") as prepared, prepared.open_signer() as signer:
        from dpki.certificates.profile import Profile, Subject
        from dpki.certificates.ssh import build_ssh_certificate, ssh_line

        now = datetime.now(UTC)
        forged = build_ssh_certificate(
            signer.private_key,
            Profile.user(timedelta(days=1)),
            Subject(ssh_blob(Ed25519PrivateKey.generate().public_key()), ("ops",), "mallory"),
            serial=int(str(document["serial"])),
            key_id="stolen",
            valid_after=now,
            valid_before=now + timedelta(hours=1),
        )
    file = world.directory / "mallory-cert.pub"
    file.write_text(ssh_line(forged))
    result = world.dpki("ssh", "revoke", "--certificate", file, *world.admin.option)
    assert result.status == 3
    assert "is not the one that was anchored" in result.message
    assert world.verdict(Path(str(document["certificate"]))) is Verdict.VALID
