"""`dpki verify --export` at a real node, of Ethereum's and of OP-stack's rules.

What it wrote is checked with no way to open a socket.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.chain.rpc import Endpoint, fetch_block
from dpki.errors import UsageError
from dpki.model import Block, Hash32
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.export import export_proof
from dpki.verification.verdict import Verdict
from tests.admins import Result, runner
from tests.chain_world import ChainWorld, open_world


@pytest.fixture(scope="module", params=[False, True], ids=["ethereum", "optimism"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world"), optimism=request.param) as opened:
        yield opened


def url_of(world: ChainWorld) -> str:
    assert isinstance(world.reader, Endpoint)
    return world.reader._url


def head(world: ChainWorld) -> Block:
    block = fetch_block(world.reader, "latest")
    assert block is not None
    return block


@dataclass
class Auditor:
    """Somebody who keeps proofs, and checks them where there is no network."""

    world: ChainWorld
    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.file = self.folder / "proof.cbor"
        self.domain = ["--domain", str(self.world.domain.id)]

    def export(self, certificate: SshCertificate, *words: str | Path, rpcs: int = 1) -> Result:
        path = self.folder / "alice-cert.pub"
        path.write_text(ssh_line(certificate, "alice"))
        rpc = [w for n in range(rpcs) for w in ("--rpc", f"{url_of(self.world)}/?name={n}")]
        return runner(self.capsys)(
            "verify", path, *self.domain, *rpc, "--export", self.file, *words
        )

    def check(self, *words: str | Path) -> Result:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("the check wanted a network")

        with self.monkeypatch.context() as offline:
            offline.setattr(socket, "socket", refuse)
            offline.setattr(socket, "create_connection", refuse)
            return runner(self.capsys)("verify", self.file, *words)


@pytest.fixture
def auditor(
    world: ChainWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Auditor:
    return Auditor(world, tmp_path, capsys, monkeypatch)


def issue(world: ChainWorld) -> SshCertificate:
    """Anchor a certificate between two others."""
    first = world.users.next_serial
    certificates = [world.sign_user(first + number) for number in range(3)]
    world.anchor_users(*certificates)
    return certificates[1]


def test_what_was_exported_is_what_is_proven(auditor: Auditor) -> None:
    world = auditor.world
    certificate = issue(world)
    exported = auditor.export(certificate, rpcs=3)
    assert exported.status == 0, exported
    assert exported.document["evidence"]["level"] == "proven"
    block = exported.document["block"]
    assert block["hash"] == str(head(world).hash)
    assert block["hash"] in exported.err
    size = exported.document["exported"]["bytes"]
    assert size == auditor.file.stat().st_size
    world.writer.revoke(world.users.id, [certificate.serial])
    found = auditor.check(*auditor.domain, "--checkpoint", block["hash"], "--at", "block")
    assert (found.status, found.document["verdict"]) == (0, "valid")
    assert found.document["block"] == block
    assert found.document["evidence"]["level"] == "checkpoint"
    revoked = auditor.export(certificate)
    assert (revoked.status, revoked.document["verdict"]) == (3, "revoked")
    assert revoked.document["evidence"]["level"] == "trusted"
    newer = revoked.document["block"]["hash"]
    assert auditor.check(*auditor.domain, "--checkpoint", newer).document["verdict"] == "revoked"
    refused = auditor.check(*auditor.domain, "--checkpoint", block["hash"])
    assert (refused.status, refused.document["error"]["type"]) == (3, "ProofInvalid")


def test_at_the_block_that_witnesses_signed(auditor: Auditor) -> None:
    world = auditor.world
    certificate = issue(world)
    block = head(world)
    world.writer.revoke(world.users.id, [certificate.serial])
    key = Ed25519PrivateKey.generate()
    seen = Checkpoint(world.domain.id, block.number, block.hash, Hash32(b"\5" * 32))
    note = auditor.folder / "checkpoint"
    note.write_bytes(sign_checkpoint(seen, "witness", key))
    witness = [
        "--witness",
        str(VerifierKey("witness", Hash32(key.public_key().public_bytes_raw()))),
    ]
    at = ["--checkpoint", note, *witness, "--at", "block"]
    exported = auditor.export(certificate, *at, rpcs=3)
    assert (exported.status, exported.document["verdict"]) == (0, "valid")
    assert exported.document["block"]["number"] == block.number
    found = auditor.check(*at)
    assert (found.status, found.document["verdict"]) == (0, "valid")
    assert "1 of 1 witnesses vouch (witness)" in found.err


def test_a_checkpoint_of_another_chain_is_none_of_the_endpoints(auditor: Auditor) -> None:
    exported = auditor.export(issue(auditor.world), "--checkpoint", f"0x{'66' * 32}")
    assert (exported.status, exported.document["error"]["type"]) == (5, "CouldNotCheck")
    assert not auditor.file.exists()


def test_a_device_s_certificate(auditor: Auditor) -> None:
    world = auditor.world
    certificate = world.issue_host()
    exported = auditor.export(certificate)
    assert (exported.status, exported.document["verdict"]) == (0, "valid")
    block = exported.document["block"]["hash"]
    assert auditor.check(*auditor.domain, "--checkpoint", block).status == 0


def test_endpoints_that_are_none(auditor: Auditor) -> None:
    line = ssh_line(issue(auditor.world)).encode()
    domain = auditor.world.domain.id
    with pytest.raises(UsageError, match="only 1"):
        export_proof(line, domain_id=domain, rpc=[url_of(auditor.world)], quorum=2)
    # One that is down is stood in for.
    made = export_proof(line, domain_id=domain, rpc=["http://127.0.0.1:1", url_of(auditor.world)])
    assert made.found.finding.verdict is Verdict.VALID
