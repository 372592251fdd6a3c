"""`dpki audit key`, `publish` and `confirm` on a real chain: from a key to others' agreement."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dpki.agent.follow import KEYS, Follower, Seen
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.cli.app import run
from dpki.config.device import FIRST, Access, DeviceConfig
from dpki.config.finality import Finality
from dpki.config.witnesses import Mode, Witness, Witnesses
from dpki.devices.keys import save_device_keys
from dpki.errors import CouldNotCheck
from dpki.note import VerifierKey
from dpki.verification.checkpoint import verify_checkpoint
from dpki.witness.source import LATEST, folder_of
from tests.chain_world import ChainWorld, open_world
from tests.witnesses import Witnessing, checkpoint

NAME = "audit.example.org/acme"


@dataclass
class Auditor:
    """Somebody with a home, a key, and a folder that others read."""

    folder: Path
    world: ChainWorld
    url: str
    capsys: pytest.CaptureFixture[str]
    anchored: SshCertificate

    def call(self, *words: str) -> tuple[int, dict[str, Any], str]:
        self.capsys.readouterr()
        status = run(["audit", *words, "--json"])
        told = self.capsys.readouterr()
        return status, json.loads(told.out or "{}"), told.err

    @property
    def key(self) -> list[str]:
        path = self.folder / "secret"
        path.write_text("correct horse battery\n")
        path.chmod(0o600)
        uri = f"file:{self.folder / 'witness.pem'}"
        return ["--key", uri, "--name", NAME, "--passphrase", f"file:{path}"]

    @property
    def domain(self) -> list[str]:
        return ["--domain", str(self.world.domain.id), "--rpc", self.url]

    @property
    def published(self) -> Path:
        return self.folder / "www"

    def publish(self, *words: str) -> tuple[int, dict[str, Any], str]:
        return self.call(
            "publish", *self.domain, *self.key, "--to", str(self.published), "--every", "16", *words
        )

    def confirm(self, *words: str) -> tuple[int, dict[str, Any], str]:
        archive = str(self.folder / "archive")
        return self.call("confirm", *self.domain, "--archive", archive, *words)

    def make_key(self) -> VerifierKey:
        status, told, _ = self.call("key", *self.key)
        assert status == 0
        return VerifierKey.parse(told["key"])


@pytest.fixture(scope="module")
def anchored(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ChainWorld, SshCertificate]]:
    """A domain with a user's certificate, some final blocks ago."""
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        certificate = opened.sign_user()
        opened.anchor_users(certificate)
        # Anvil calls final what is 64 blocks deep.
        opened.reader.call("anvil_mine", ["0x50"])
        yield opened, certificate


@pytest.fixture
def auditor(
    anchored: tuple[ChainWorld, SshCertificate],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Auditor:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    world, certificate = anchored
    return Auditor(tmp_path, world, world.reader.name, capsys, certificate)


def test_a_key_is_made_once_and_kept_private(auditor: Auditor) -> None:
    first = auditor.make_key()
    assert first.name == NAME
    path = auditor.folder / "witness.pem"
    assert path.stat().st_mode & 0o077 == 0
    assert b"ENCRYPTED" in path.read_bytes()
    assert auditor.make_key() == first


def test_what_was_audited_is_published_and_confirmed(auditor: Auditor) -> None:
    key = auditor.make_key()
    status, told, _ = auditor.publish("--dry-run")
    assert (status, told["newest"]) == (0, None)
    assert told["would_sign"]
    status, told, _ = auditor.publish()
    assert status == 0
    assert told["newest"] == told["signed"][-1]
    place = auditor.published / folder_of(auditor.world.domain.id)
    seen = verify_checkpoint((place / LATEST).read_bytes(), [key])
    assert seen.number == told["newest"]
    # the digest is the one that an audit comes to
    status, audit, _ = auditor.call("run", *auditor.domain, "--to", str(seen.number))
    assert (status, audit["digest"]) == (0, str(seen.state_digest))
    # again, nothing is signed again
    status, again, _ = auditor.publish()
    assert status == 0
    assert told["newest"] not in again["signed"]
    assert again["newest"] >= told["newest"]
    # and others agree: on the block, and on the state that they came to themselves
    witness = ["--witness", f"{key}={auditor.published}"]
    status, told, words = auditor.confirm(*witness)
    assert (status, told["outcome"], told["agrees"]) == (0, "all agree", 1)
    assert told["witnesses"][0]["reason"] == "on block and state"
    assert f"{NAME} agrees" in words


def test_others_that_disagree_are_named_with_the_evidence(auditor: Auditor) -> None:
    key = auditor.make_key()
    auditor.publish()
    newest = verify_checkpoint(
        (auditor.published / folder_of(auditor.world.domain.id) / LATEST).read_bytes(), [key]
    )
    liar = Witnessing("liar")
    wrong = checkpoint(newest.number, domain=auditor.world.domain.id)
    liars = liar.publishes(auditor.folder / "liar", wrong)
    both = ["--witness", f"{key}={auditor.published}", "--witness", str(liars)]
    status, told, words = auditor.confirm(*both)
    assert (status, told["outcome"]) == (3, "mixed")
    assert (told["agrees"], told["disagrees"], told["asked"]) == (1, 1, 2)
    assert liar.note(wrong).decode() in words
    # who then says the opposite has convicted itself
    right = checkpoint(newest.number, domain=newest.domain, block=newest.block_hash)
    liar.publishes(auditor.folder / "liar", right)
    status, told, words = auditor.confirm(*both)
    assert (status, told["misbehaved"], len(told["equivocations"])) == (3, 1, 1)
    assert "two different checkpoints" in words
    assert liar.note(wrong).decode() in words
    assert liar.note(right).decode() in words
    status, told, _ = auditor.confirm("--witness", str(liars))
    assert (status, told["outcome"]) == (3, "all disagree")


def test_silence_is_no_agreement(auditor: Auditor) -> None:
    key = auditor.make_key()
    silent = Witnessing("silent").publishes(auditor.folder / "nowhere")
    status, told, _ = auditor.confirm("--witness", str(silent))
    assert (status, told["outcome"], told["silent"]) == (5, "silent", 1)
    auditor.publish()
    listed = auditor.folder / "witnesses"
    listed.write_text(f"# ours\n{key}={auditor.published}\n\n{silent}\n")
    status, told, _ = auditor.confirm("--from", str(listed))
    assert (status, told["agrees"], told["silent"], told["needed"]) == (5, 1, 1, 2)
    status, told, _ = auditor.confirm("--from", str(listed), "--witnesses", "1")
    assert (status, told["outcome"]) == (0, "all agree")


@pytest.mark.parametrize(
    "words",
    [
        ["confirm"],
        ["confirm", "--witness", "nonsense"],
        ["confirm", "--witness", "w+00000000+AAAA=/x"],
    ],
)
def test_nonsense_is_a_mistake_in_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    domain = f"eip155:1:0x{'00' * 20}@0x{'00' * 32}"
    assert run(["audit", *words, "--domain", domain, "--rpc", "http://127.0.0.1:1"]) == 2


def _look(auditor: Auditor, key: VerifierKey, mode: Mode) -> Seen:
    """Look as a new process of the agent does."""
    folder = auditor.folder / "device"
    if not (folder / KEYS).exists():
        save_device_keys(folder / KEYS, auditor.world.keys)
    config = DeviceConfig(
        domain=auditor.world.domain.id,
        rpc=(auditor.url,),
        quorum=1,
        access=Access(console_access=True),
        chain=Finality(authority_finality="latest"),
        witnesses=Witnesses((Witness(key, str(auditor.published)),), 1, mode),
    )
    follower = Follower(FIRST, config, folder)
    try:
        return follower.look(auditor.world.now)
    finally:
        follower.close()


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)
def test_an_agent_lets_in_what_was_published(auditor: Auditor, mode: Mode) -> None:
    key = auditor.make_key()
    with pytest.raises(CouldNotCheck, match="no block that 1 of 1 witnesses signed"):
        _look(auditor, key, mode)
    newest = auditor.publish()[1]["newest"]
    seen = _look(auditor, key, mode)
    assert [known.block <= newest for known in seen.observation.known] == [True]
    assert f"1 of 1 witnesses signed block {newest}" in str(seen.evidence)
    assert seen.observation.problems == ()


def test_verify_asks_witnesses(auditor: Auditor) -> None:
    key = auditor.make_key()
    newest = auditor.publish()[1]["newest"]
    path = auditor.folder / "alice-cert.pub"
    path.write_text(f"{ssh_line(auditor.anchored)}\n")
    witness = ["--witness", f"{key}={auditor.published}"]
    auditor.capsys.readouterr()
    status = run(["verify", str(path), *auditor.domain, *witness, "--json"])
    told = json.loads(auditor.capsys.readouterr().out)
    assert (status, told["verdict"]) == (0, "valid")
    assert told["evidence"]["level"] == "proven"
    assert told["evidence"]["witnesses"] == f"1 of 1 witnesses signed block {newest}"
    silent = Witnessing("silent").publishes(auditor.folder / "nowhere")
    status = run(["verify", str(path), *auditor.domain, *witness, "--witness", str(silent)])
    assert status == 5
    assert "no block that 2 of 2 witnesses signed" in auditor.capsys.readouterr().err


def test_where_witnesses_fall_silent_only_what_is_revoked_goes(auditor: Auditor) -> None:
    # the last test here: it revokes
    key = auditor.make_key()
    auditor.publish()
    assert len(_look(auditor, key, Mode.BESIDE).observation.known) == 1
    shutil.rmtree(auditor.published)
    later = _look(auditor, key, Mode.BESIDE).observation
    assert len(later.known) == 1
    assert any("no block that 1 of 1 witnesses signed" in problem for problem in later.problems)
    ca = auditor.world.users.id
    assert not later.snapshot.authorities[ca].is_revoked(1)
    auditor.world.writer.revoke(ca, [1])
    assert _look(auditor, key, Mode.BESIDE).observation.snapshot.authorities[ca].is_revoked(1)
