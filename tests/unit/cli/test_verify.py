"""`dpki verify` with a proof bundle: no network, one verdict, one exit status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.ssh import ssh_line
from dpki.cli import verify_work
from dpki.model import Hash32
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.proof_bundle import encode_proof_bundle
from tests.admins import Result, runner
from tests.proving_world import ProvingWorld, with_nodes
from tests.world import NOW

LATER = (NOW + timedelta(days=900)).isoformat()


@dataclass
class Desk:
    """A bundle in a file, and what somebody needs to check it."""

    world: ProvingWorld
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.certificate = self.world.issue()
        self.bundle = self.world.bundle(self.certificate)
        self.block = self.world.head
        self.file = self.folder / "proof.cbor"
        self.write(encode_proof_bundle(self.bundle))
        self.domain = ["--domain", str(self.bundle.domain)]
        self.hash = ["--checkpoint", str(self.block.hash)]

    def write(self, data: bytes) -> None:
        self.file.write_bytes(data)

    def __call__(self, *words: str | Path) -> Result:
        return runner(self.capsys)("verify", self.file, *words)

    def checkpoint(self, *, number: int = 0) -> tuple[Path, str]:
        """Return a checkpoint of the bundle's block, and the key that signed it."""
        key = Ed25519PrivateKey.generate()
        seen = Checkpoint(
            self.bundle.domain, self.block.number, self.block.hash, Hash32(b"\5" * 32)
        )
        path = self.folder / f"checkpoint-{number}"
        path.write_bytes(sign_checkpoint(seen, f"w{number}", key))
        known = VerifierKey(f"w{number}", Hash32(key.public_key().public_bytes_raw()))
        return path, str(known)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ProvingWorld(), tmp_path, capsys)


def test_at_the_block(desk: Desk) -> None:
    found = desk(*desk.domain, *desk.hash, "--at", "block")
    assert found.status == 0
    assert found.document["verdict"] == "valid"
    assert found.document["evidence"]["level"] == "checkpoint"
    assert found.document["block"]["number"] == desk.block.number
    assert f"the verdict at block {desk.block.number} of 2026-11-20" in found.err
    assert "you vouch yourself" in found.err


def test_years_later(desk: Desk) -> None:
    found = desk(*desk.domain, *desk.hash, "--at", LATER)
    assert found.status == 3
    assert found.document["verdict"] == "expired"
    assert found.document["at_block"] == "valid"
    assert "at the time of the block it was valid" in found.err
    assert "a revocation too, is not in the proof" in found.err


def test_now_is_the_time_by_default(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return NOW + timedelta(hours=2)

    monkeypatch.setattr(verify_work, "datetime", Clock)
    found = desk(*desk.domain, *desk.hash)
    assert found.status == 0
    assert found.document["judged_at"] == (NOW + timedelta(hours=2)).isoformat()
    # A clock that is behind the block is no reason not to answer.
    monkeypatch.setattr(Clock, "now", classmethod(lambda *_: NOW - timedelta(days=1)))
    behind = desk(*desk.domain, *desk.hash)
    assert behind.document["judged_at"] == desk.block.time.isoformat()


def test_a_checkpoint_of_witnesses(desk: Desk) -> None:
    path, key = desk.checkpoint()
    _, other = desk.checkpoint(number=1)
    at = ["--checkpoint", path, "--at", "block"]
    assert desk(*at, "--witness", key).status == 0
    found = desk(*at, "--witness", key, "--witness", other, "--witnesses", "1")
    assert found.status == 0
    assert found.document["evidence"]["witnesses"] == ["w0"]
    # All that are named, unless it is said otherwise.
    refused = desk(*at, "--witness", key, "--witness", other)
    assert (refused.status, refused.document["error"]["type"]) == (3, "SignatureInvalid")


def test_could_not_be_checked(desk: Desk) -> None:
    desk.write(encode_proof_bundle(with_nodes(desk.bundle, desk.bundle.nodes[1:])))
    found = desk(*desk.domain, *desk.hash)
    assert found.status == 5
    assert found.document["verdict"] == "could not check"
    assert "lacks a part" in found.err
    assert "next:" in found.err


@pytest.mark.parametrize("what", ["block", "domain", "bytes"])
def test_refused(desk: Desk, what: str) -> None:
    words = [*desk.domain, *desk.hash]
    match what:
        case "block":
            words[3] = f"0x{'66' * 32}"
        case "domain":
            words[1] = words[1].replace("31337", "1")
        case _:
            desk.write(encode_proof_bundle(desk.bundle)[:-1])
    found = desk(*words)
    assert found.status == 3
    assert "verdict" not in found.document


def words(desk: Desk, **more: str) -> list[str]:
    return [*desk.domain, *desk.hash, *(w for k, v in more.items() for w in (f"--{k}", v))]


def test_what_makes_no_sense(desk: Desk) -> None:
    path, key = desk.checkpoint()
    cases = {
        "not that the block is the chain's": desk.domain,
        "does not say which trust domain is meant": desk.hash,
        "takes no --rpc": words(desk, rpc="http://127.0.0.1:1"),
        "takes no --quorum": words(desk, quorum="1"),
        "takes no --proof": words(desk, proof="x"),
        "takes no --export": words(desk, export="x"),
        "a block's hash takes no --witness": words(desk, witness=key),
        "a block's hash takes no --witnesses": words(desk, witnesses="1"),
        "without --checkpoint takes no --witness": [*desk.domain, "--witness", key],
        "none was named": [*desk.domain, "--checkpoint", str(path)],
        "is not the public key of a witness": words(desk, witness="w"),
        "can't have signed": ["--checkpoint", str(path), "--witness", key, "--witnesses", "2"],
        "neither `block` nor a time": words(desk, at="yesterday"),
        "nor a time with its zone": words(desk, at="2027-01-31T12:00:00"),
        "a time with its zone": words(desk, at="0001-01-01T00:00:00+14:00"),
        "says nothing about": words(desk, at="2026-01-01T00:00:00Z"),
        "is not a domain id": ["--domain", "x", *desk.hash],
    }
    for message, given in cases.items():
        found = desk(*given)
        assert found.status == 2, (message, found)
        assert message in found.message


def test_what_makes_no_sense_with_a_certificate(desk: Desk) -> None:
    desk.write(ssh_line(desk.certificate, "alice").encode())
    rpc = ["--rpc", "http://127.0.0.1:1"]
    cases = {
        "which trust domain": rpc,
        "no RPC endpoint": desk.domain,
        "not exported takes no --checkpoint": [*desk.domain, *rpc, *desk.hash],
        "not exported takes no --at": [*desk.domain, *rpc, "--at", "block"],
        "only 1": [*desk.domain, *rpc, "--quorum", "2", "--export", "proof"],
    }
    for message, given in cases.items():
        found = desk(*given)
        assert found.status == 2, (message, found)
        assert message in found.message
    desk.write(b"x" * 70_000)
    assert "too large for a certificate" in desk(*desk.domain, *rpc).message


def test_years_later_means_years(desk: Desk) -> None:
    """What was proven once is proven for ever; the clock of the day changes nothing in it."""
    found = desk(*desk.domain, *desk.hash, "--at", "9000-01-01T00:00:00Z")
    assert found.document["at_block"] == "valid"
