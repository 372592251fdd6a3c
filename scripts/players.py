"""Who acts in the story, what they hold, and what was seen: the state that its steps hand on."""

from __future__ import annotations

import contextlib
import enum
import json
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.gate import Gate
from scripts.stage import Client, Sshd, Stage, StepFailed, open_stage

REPOSITORY = Path(__file__).resolve().parent.parent
THEFT = REPOSITORY / "scripts" / "theft.py"


class Direction(enum.Enum):
    """Which half of a claim was seen."""

    HOLDS = "holds"
    REFUSED = "refused"


@dataclass(frozen=True)
class Proof:
    """One half of a claim, seen to be true.

    Attributes:
        claim: What is claimed; both halves carry the same words.
        direction: Whether the allowed thing worked or the forbidden one was refused.
        evidence: What was seen.
    """

    claim: str
    direction: Direction
    evidence: str


@dataclass
class Story:
    """The state that the steps hand on.

    Attributes:
        optimism: Play on a chain with OP-stack rules.
        ipfs: Whether IPFS is required; otherwise a directory store takes its place.
        uses_ipfs: Whether they really go over IPFS.
        gate: The device of the story.
    """

    stage: Stage
    optimism: bool = False
    ipfs: bool = True
    uses_ipfs: bool = False
    gate: Gate = field(init=False)
    proofs: list[Proof] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    domain: str = ""
    rpc: str = ""
    user_ca: str = ""
    host_ca: str = ""

    def __post_init__(self) -> None:
        self.gate = Gate(self.stage, "gate-1")

    # --- where things are -----------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """The administrator's $DPKI_HOME."""
        return self.stage.directory / "admin"

    @property
    def laptop(self) -> Path:
        """The engineer's folder."""
        return self.stage.directory / "laptop"

    @property
    def thief(self) -> Path:
        """The thief's folder."""
        return self.stage.directory / "thief"

    @property
    def passphrase(self) -> Path:
        """The file with the wallet's passphrase."""
        return self.stage.directory / "passphrase"

    def configuration(self) -> dict[str, Any]:
        """Return what `dpki init` wrote."""
        return tomllib.loads((self.home / "config.toml").read_text())

    def storage_options(self) -> list[str]:
        """Return where the device fetches bundles from, as options of `dpki device init`."""
        store = self.configuration()["store"]
        options = [("--gateway", url) for url in store.get("gateways", ())]
        options += [("--directory", path) for path in store.get("directories", ())]
        return [word for option in options for word in option]

    # --- who acts -------------------------------------------------------------------------------

    def at(self, home: Path, *arguments: str | Path, expect: int | None = 0) -> dict[str, Any]:
        """Run `dpki` as the one whose $DPKI_HOME this is."""
        env = self.stage.environment(DPKI_HOME=str(home))
        return self.stage.dpki(*arguments, expect=expect, env=env)

    def admin(self, *arguments: str | Path, expect: int | None = 0) -> dict[str, Any]:
        """Run `dpki` as the administrator, in whose home everything secret but the CA keys lies."""
        return self.at(self.home, *arguments, expect=expect)

    def stranger(self, *arguments: str | Path, expect: int | None = 0) -> dict[str, Any]:
        """Run `dpki` as somebody with nothing: an empty HOME, next to no environment."""
        empty = self.stage.directory / "stranger"
        empty.mkdir(exist_ok=True)
        env = {"PATH": "/usr/bin:/bin", "HOME": str(empty), "DPKI_STAGE": str(self.stage.directory)}
        return self.stage.dpki(*arguments, expect=expect, env=env, cwd=empty)

    def verify(self, certificate: Path, expect: int, *, proof: Path | None = None) -> str:
        """Return a stranger's verdict on a certificate, from domain id and endpoint alone."""
        extra: list[str | Path] = ["--proof", proof] if proof else []
        document = self.stranger(
            "verify", certificate, *extra, "--domain", self.domain, "--rpc", self.rpc, expect=expect
        )
        return str(document["verdict"])

    def make_key(self, path: Path, kind: str = "ed25519") -> Path:
        """Make an ordinary SSH key pair; see `Stage.make_key`."""
        return self.stage.make_key(path, kind)

    def known_hosts(self, name: str) -> tuple[Path, Path]:
        """Fetch, as a stranger, the @cert-authority lines and the KRL as they are now."""
        folder = self.stage.directory / "clients" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines, krl = folder / "known_hosts", folder / "krl"
        self.stranger(
            "ssh",
            "known-hosts",
            "--domain",
            self.domain,
            "--rpc",
            self.rpc,
            "--out",
            lines,
            "--krl",
            krl,
        )
        return lines, krl

    def client(
        self, key: Path | None, certificate: Path | None = None, *, trust: str = "now"
    ) -> Client:
        """Return a client that trusts the domain's host CAs as fetched under the name `trust`."""
        folder = self.stage.directory / "clients" / trust
        if not folder.exists():
            self.known_hosts(trust)
        return Client(key, certificate, folder / "known_hosts", folder / "krl", self.gate.host)

    def engineer(self, key: Path, *, trust: str = "now") -> Client:
        """Return a client with the certificate that lies beside its key."""
        return self.client(key, Path(f"{key}-cert.pub"), trust=trust)

    def issue_host(self, *, expect: int = 0) -> dict[str, Any]:
        """Have the administrator certify the device's host key, into a sealed bundle."""
        return self.admin(
            *(
                "ssh",
                "issue",
                "--ca",
                "host-ca",
                "--device",
                self.gate.name,
                "--hostname",
                self.gate.host,
            ),
            *("--for", "8h"),
            expect=expect,
        )

    def issue_user(
        self, key: Path, identity: str, *, principal: str = "ops", expect: int = 0
    ) -> dict[str, Any]:
        """Have the administrator certify an engineer's existing public key."""
        return self.admin(
            *("ssh", "issue", "--ca", "user-ca", "--key", f"{key}.pub", "--identity", identity),
            *("--principal", principal, "--for", "8h"),
            expect=expect,
        )

    def self_sign(self, key: Path, authority: Path, *, host: bool) -> None:
        """Certify a key with ssh-keygen and a CA key of one's own."""
        kind = (
            ["-h", "-n", self.gate.host]
            if host
            else ["-n", "ops", "-O", "clear", "-O", "permit-pty"]
        )
        signing: list[str | Path] = [
            "ssh-keygen",
            "-q",
            "-s",
            authority,
            "-I",
            key.name,
            "-z",
            "1",
            "-V",
            "-1m:+8h",
        ]
        self.stage.run([*signing, *kind, f"{key}.pub"])

    def theft(self, action: str, *arguments: str | Path) -> dict[str, Any]:
        """Run `scripts/theft.py`, a process of its own that uses dpki as a library."""
        outcome = self.stage.run([sys.executable, THEFT, action, self.home, *arguments])
        document: dict[str, Any] = json.loads(outcome.stdout)
        return document

    def expect_unchanged(self, before: dict[str, bytes], by: str) -> None:
        """Fail unless sshd still uses what it did before."""
        now = self.gate.installed()
        for name, content in before.items():
            require(now[name] == content, f"{by} changed {name}\n{content!r}\n{now[name]!r}")

    def keep_host_key(self, name: str) -> Path:
        """Copy the current host key and certificate, as a thief of the device might."""
        kept = self.thief / f"{name}-host-key"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(self.gate.drop_in_option("HostKey"), kept)
        kept.chmod(0o600)
        shutil.copy(self.gate.drop_in_option("HostCertificate"), f"{kept}-cert.pub")
        Path(f"{kept}.pub").write_text(self.gate.host_public_key() + "\n")
        return kept

    # --- what was seen --------------------------------------------------------------------------

    def holds(self, claim: str, evidence: str) -> None:
        """Note that what the claim allows was seen to work."""
        self.proofs.append(Proof(claim, Direction.HOLDS, evidence))

    def refused(self, claim: str, evidence: str) -> None:
        """Note that what the claim forbids was seen to be refused."""
        self.proofs.append(Proof(claim, Direction.REFUSED, evidence))

    def expect_login(self, client: Client, *, server: Sshd | None = None) -> None:
        """Fail unless this client gets in."""
        outcome = self.stage.ssh(server or self.gate.server, client)
        if outcome.status != 0 or outcome.stdout.strip() != "logged-in":
            raise StepFailed(
                f"the login should have worked\n{outcome.describe()}\n{self.sshd_log(server)}"
            )

    def expect_no_login(self, client: Client, because: str, *, server: Sshd | None = None) -> None:
        """Fail unless this client is kept out, for the reason told.

        Args:
            because: What ssh must have said, so that no other trouble passes for a refusal.
        """
        outcome = self.stage.ssh(server or self.gate.server, client)
        if outcome.status == 0 or "logged-in" in outcome.stdout:
            raise StepFailed(f"the login should have been refused\n{outcome.describe()}")
        if because.lower() not in outcome.stderr.lower():
            told = f"refused, but not because of {because!r}"
            raise StepFailed(f"{told}\n{outcome.describe()}\n{self.sshd_log(server)}")

    def expect_trusted_host(self, client: Client, server: Sshd) -> None:
        """Fail unless this client trusts the server, which then refuses it: it knows nobody."""
        self.expect_no_login(client, SSHD_REFUSES, server=server)

    def sshd_log(self, server: Sshd | None = None) -> str:
        """Return the end of sshd's log, for the one who has to find out."""
        log = (server or self.gate.server).log
        return (
            "\n".join(["sshd's log:", *log.read_text().splitlines()[-25:]]) if log.exists() else ""
        )


SSHD_REFUSES = "Permission denied (publickey"
"""What a client hears when sshd lets none of its keys in."""
CLIENT_REFUSES = "Host key verification failed"
"""What a client says when it does not trust the host."""


def require(condition: bool, message: str) -> None:
    """Fail the step unless the condition holds."""
    if not condition:
        raise StepFailed(message)


@contextlib.contextmanager
def open_story(*, optimism: bool = False, ipfs: bool = True, keep: bool = False) -> Iterator[Story]:
    """Open a stage for one playing of the story, and end everything afterwards."""
    with open_stage(keep=keep) as stage:
        yield Story(stage, optimism=optimism, ipfs=ipfs)
