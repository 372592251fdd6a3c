"""Issuing on real services: SoftHSM signs, Kubo keeps, Anvil anchors, and processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.bundle.content import bundle_context, open_bundle
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import authority_id, public_key_line, spki_of, ssh_blob
from dpki.certificates.ssh import parse_ssh_certificate
from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.issuing import make_bench
from dpki.cli.output import Output
from dpki.cli.session import Desk, open_desk
from dpki.devices.keys import load_device_keys
from dpki.devnet.anvil import Anvil
from dpki.devnet.kubo import Kubo
from dpki.issuance.bench import Bench
from dpki.issuance.journal import BatchState
from dpki.issuance.plan import CertificateRequest
from dpki.issuance.progress import silent
from dpki.issuance.run import TAKEN
from dpki.issuance.workflow import issue_batch
from dpki.model import Address, Entry, Hash32
from dpki.signer.base import KeyType
from dpki.signer.pin import pin_source
from dpki.signer.pkcs11 import generate_key, list_keys
from dpki.signer.uri import Pkcs11Uri
from dpki.store.gateway import Gateway
from dpki.transactions.wallet import load_wallet
from dpki.transactions.writer import DomainWriter
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Verdict
from tests.admins import MODULE, PASSPHRASE, Admin, Result, Run, make_admin, runner
from tests.soft_tokens import SoftHsmFolder

DYING = """
import os, signal, sys
from contextlib import contextmanager
from dpki.cli.app import main
from dpki.cli.output import Output

calls = 0

@contextmanager
def steps(self):
    def progress(step, done, total):
        global calls
        calls += 1
        if calls == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
    yield progress

Output.steps = steps
main(sys.argv[2:])
"""
"""The real command line, that kills itself at the n-th point between two steps."""


@dataclass
class World:
    """A domain with a user CA, a host CA and a device."""

    directory: Path
    anvil: Anvil
    admin: Admin
    softhsm: SoftHsmFolder
    dpki: Run
    domain: str = ""

    def rpc(self, method: str, *params: object) -> object:
        from dpki.chain.rpc import Endpoint

        with Endpoint(self.anvil.url) as endpoint:
            return endpoint.call(method, list(params))

    def public_key(self, name: str) -> Path:
        path = self.directory / f"{name}.pub"
        blob = ssh_blob(Ed25519PrivateKey.generate().public_key())
        path.write_text(public_key_line(blob, name) + "\n")
        return path

    def for_key(self, name: str) -> list[str]:
        words = ["ssh", "issue", "--ca", "users", "--key", str(self.public_key(name))]
        return [*words, "--identity", name, "--principal", "ops", *self.admin.option]

    def for_device(self, keygen: str = "device") -> list[str]:
        words = ["ssh", "issue", "--ca", "hosts", "--device", "gate-1", "--keygen", keygen]
        return [*words, "--hostname", "gate-1.example", *self.admin.option]

    def verdict(self, certificate: Path) -> Verdict:
        """Return what a stranger finds, who has the certificate only."""
        config = self.admin.config
        return verify_certificate(
            certificate.read_bytes(), domain_id=config.require_domain(), rpc=config.chain.rpc
        ).verdict

    @contextmanager
    def desk(self) -> Iterator[tuple[Desk, DomainWriter]]:
        with open_desk(self.admin.home.directory) as desk:
            wallet = load_wallet(desk.home.keystore, lambda _: PASSPHRASE)
            yield desk, DomainWriter(desk.reader, desk.domain, wallet)

    def states(self, ca: str) -> list[tuple[int, str]]:
        with self.desk() as (desk, _):
            batches = desk.journal.load_all(desk.index.find_authority(ca))
            return [(batch.first_serial, batch.state.value) for batch in batches]

    def issue_directly(self, ca: str) -> None:
        """Do what another machine with the same wallet might: anchor something else."""
        with self.desk() as (desk, writer):
            identifier = desk.index.find_authority(ca)
            snapshot = fetch_snapshot(desk.reader, desk.domain)
            end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
            entry = Entry(Hash32(os.urandom(32)), Address.zero(), end, Hash32.zero())
            writer.issue(identifier, snapshot.authorities[identifier].next_serial, [entry])

    def die(self, point: int, words: list[str]) -> None:
        """Run a command in a process that is killed at a point."""
        environment = os.environ | {"SOFTHSM2_CONF": str(self.softhsm.configuration)}
        done = subprocess.run(
            [sys.executable, "-c", DYING, str(point), *words],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def ok(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory,
    softhsm: SoftHsmFolder,
    kubo_nodes: tuple[Kubo, Kubo],
) -> Iterator[tuple[Anvil, Admin]]:
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        directory = tmp_path_factory.mktemp("admin")
        yield anvil, make_admin(directory, anvil, kubo_nodes, softhsm.token())


@pytest.fixture
def world(
    services: tuple[Anvil, Admin],
    softhsm: SoftHsmFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> World:
    anvil, admin = services
    world = World(tmp_path, anvil, admin, softhsm, runner(capsys))
    device = admin.home.directory.parent / "gate-1"
    if admin.config.domain is None:
        domain = str(ok(world.dpki("deploy", *admin.option))["domain"])
        users = ("users", "--kind", "ssh-user", "--max-validity", "1d")
        hosts = ("hosts", "--kind", "ssh-host", "--key-type", "ed25519")
        for ca in (users, hosts):
            ok(world.dpki("ca", "create", *ca, *admin.option))
        public = ("--domain", domain, "--rpc", anvil.url, "--console-access")
        ok(world.dpki("device", "init", "--dir", device, *public))
        request = device / "enroll.request"
        ok(world.dpki("device", "enroll", request, "--name", "gate-1", *admin.option))
    world.domain = str(admin.config.domain)
    return world


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


# The points, for one certificate: 1-2 signing, 3-4 sealing, 5-6 publishing, 7-8 anchoring,
# 9-10 releasing; the even ones after the deed and before it is journaled.
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


def test_several_at_once_take_turns(world: World) -> None:
    """Processes that issue with one home wait for each other between serial and anchor."""
    before = world.states("users")
    environment = os.environ | {"SOFTHSM2_CONF": str(world.softhsm.configuration)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "from dpki.cli.app import main; main()", *world.for_key(name)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("fay", "gil", "hal")
    ]
    for process in processes:
        _, words = process.communicate(timeout=60)
        assert process.returncode == 0, words.decode()
    new = world.states("users")[len(before) :]
    assert [state for _, state in new] == ["anchored"] * 3
    first = new[0][0]
    assert [serial for serial, _ in new] == [first, first + 1, first + 2]
    for name in ("fay", "gil", "hal"):
        assert world.verdict(world.directory / f"{name}-cert.pub") is Verdict.VALID


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


@contextmanager
def bench(world: World, name: str) -> Iterator[Bench]:
    """Yield the bench that the command line would use."""
    with ExitStack() as stack:
        desk, writer = stack.enter_context(world.desk())
        ca = desk.index.find_authority(name)
        yield make_bench(desk, writer, name, ca, None, Output(json=False), silent)
