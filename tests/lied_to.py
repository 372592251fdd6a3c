"""Who is lied to: a device with the real agent and the real command line, before endpoints.

The chain is one of a real node, and stands still: what changes is who tells about it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.index import load_index
from dpki.agent.once import run_once
from dpki.agent.sshd import InstalledFiles
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate, ssh_line
from dpki.chain import connect, logs
from dpki.chain.panel import Panel
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Endpoint
from dpki.config.device import Access, DeviceConfig, Grant, save_device_config
from dpki.config.sshd import CommandHook, Sshd
from dpki.devices.keys import save_device_keys
from dpki.errors import DpkiError
from dpki.model import AuthorityKind
from dpki.verification.check import verify_certificate
from tests.chain_world import ChainWorld, world_on
from tests.lying import BUSY, ENDLESS, STALLING, LyingEndpoint, Scene
from tests.world import Ca

ACCOUNT = "root"


@dataclass(frozen=True)
class State:
    """What sshd goes by.

    Attributes:
        login: Serials of the users' certificates that let somebody in.
        revoked: Serials of the users' certificates that stand in the KRL.
        host: Serial of the host certificate that is presented; None for none.
        authorities: Number of trusted CAs.
    """

    login: frozenset[int]
    revoked: frozenset[int]
    host: int | None
    authorities: int


@dataclass
class Victim:
    """A device that knows the chain as it was at `earlier`, and certificates to ask about.

    Attributes:
        node: The URL of who tells the truth.
        users: The certificates of the user CA, by serial: the first is good, the second was revoked
            after `earlier`, the third anchored after it.
        before: What the device's sshd goes by.
        after: What it should go by.
    """

    node: str
    world: ChainWorld
    scene: Scene
    users: tuple[SshCertificate, ...]
    device: Path
    before: State
    after: State
    runs: int = 0

    def fresh_device(self, rpc: Sequence[str], quorum: int | None) -> Path:
        """Return a copy of the device, with endpoints of its own."""
        self.runs += 1
        directory = self.device.with_name(f"device-{self.runs}")
        shutil.copytree(self.device, directory)
        self.configure(directory, rpc, quorum)
        return directory

    def configure(self, directory: Path, rpc: Sequence[str], quorum: int | None = None) -> None:
        config = replace(self._config(directory), rpc=tuple(rpc), quorum=quorum)
        save_device_config(directory, config)

    def _config(self, directory: Path) -> DeviceConfig:
        main = directory / "sshd_config"
        drop_in = directory / "10-dpki.conf"
        main.write_text(f"Include {drop_in}\nUsePAM no\nStrictModes no\n")
        return DeviceConfig(
            domain=self.world.domain.id,
            rpc=(self.node,),
            directories=(self.world.directory / "store",),
            sshd=Sshd(
                directory=directory / "dpki",
                config=main,
                drop_in=drop_in,
                login_user="nobody",
                reload=CommandHook(()),
            ),
            access=Access(console_access=True),
            accounts={ACCOUNT: (Grant(self.world.users.id, "ops"),)},
        )

    def state(self, directory: Path) -> State:
        """Return what is installed, as OpenSSH and the login command read it."""
        files = InstalledFiles(directory / "dpki")
        index = load_index(files.login_index)
        assert index is not None
        serials = {certificate.serial for certificate in index.certificates}
        drop_in = (directory / "10-dpki.conf").read_text()
        hosts = [
            parse_ssh_certificate(path.read_bytes())
            for path in files.directory.glob("*-cert.pub")
            if path.name in drop_in
        ]
        return State(
            frozenset(serials),
            self._revoked(files.krl),
            hosts[0].serial if hosts else None,
            len(files.user_authorities.read_text().splitlines()),
        )

    def _revoked(self, krl: Path) -> frozenset[int]:
        paths = [self.path(certificate) for certificate in self.users]
        said = subprocess.run(
            ["ssh-keygen", "-Q", "-f", krl, *paths], capture_output=True, text=True, check=False
        )
        lines = said.stdout.splitlines()
        assert len(lines) == len(paths), said.stderr
        revoked = [line.endswith("REVOKED") for line in lines]
        return frozenset(
            c.serial for c, is_revoked in zip(self.users, revoked, strict=True) if is_revoked
        )

    def path(self, certificate: SshCertificate) -> Path:
        path = self.world.directory / f"user-{certificate.serial}-cert.pub"
        if not path.exists():
            path.write_text(ssh_line(certificate) + "\n")
        return path

    def verify(self, serial: int, rpc: Sequence[str], quorum: int | None) -> str:
        """Ask as `dpki verify` does about a certificate; return verdict, or name of the error."""
        try:
            found = verify_certificate(
                self.users[serial - 1].blob, domain_id=self.world.domain.id, rpc=rpc, quorum=quorum
            )
        except DpkiError as error:
            return type(error).__name__
        return found.verdict.value

    def run_agent(self, directory: Path) -> tuple[int, Evidence | None]:
        """Run as `dpki agent once` does; return its exit status, and what it went by."""
        try:
            report = run_once(directory)
        except DpkiError as error:
            return error.exit_status, None
        return report.exit_status, report.domains[0].evidence


def known_authorities() -> tuple[Ca, Ca]:
    """Return a user CA and a host CA that are always the same.

    Their ids are the paths of the words in the contract's trie, and so decide what is asked for:
    with keys of chance, in one world of fifty the proof of an absent word shows the word that the
    liar lies about, and nobody asks the liar.
    """
    return (
        Ca(AuthorityKind.SSH_USER, ec.derive_private_key(3, ec.SECP256R1())),
        Ca(AuthorityKind.SSH_HOST, Ed25519PrivateKey.from_private_bytes(bytes(32))),
    )


@contextmanager
def open_victim(node: str, directory: Path, finalize: Callable[[], object]) -> Iterator[Victim]:
    """Make a chain and a device on a node.

    Args:
        finalize: Makes all blocks that there are final.
    """
    with world_on(node, directory, *known_authorities()) as world:
        first, second = world.sign_user(1), world.sign_user(2)
        world.anchor_users(first, second)
        world.issue_host()
        device = directory / "device"
        device.mkdir()
        save_device_keys(device / "keys", world.keys)
        nothing = State(frozenset(), frozenset(), None, 0)
        scene = Scene(world.reader, world.domain, world.users.id, 2, 0, world.now)
        victim = Victim(node, world, scene, (first, second), device, nothing, nothing)
        victim.configure(device, [node])
        finalize()
        assert run_once(device).all_problems == ()
        finalize()
        # The second time the first block is final: the floor under everything believed later.
        assert run_once(device).all_problems == ()
        victim.before = victim.state(device)
        earlier = int(str(world.reader.call("eth_blockNumber")), 16)
        third = world.sign_user(3)
        world.writer.revoke(world.users.id, [2])
        world.anchor_users(third)
        world.issue_host()
        victim.users = (first, second, third)
        victim.scene = replace(scene, earlier=earlier)
        told = victim.fresh_device([node], None)
        assert run_once(told).all_problems == ()
        victim.after = victim.state(told)
        yield victim


@contextmanager
def patience_with(lie: str, liars: Sequence[str], honest: int) -> Iterator[None]:
    """Wait for who answers however long this machine takes, and briefly for who never does.

    Args:
        liars: Their URLs.
        honest: How many endpoints tell the truth.
    """
    # Among honest ones who never answers is to be late, not cut off, however late those are.
    is_cut_off = lie in BUSY or (lie in STALLING and not honest)

    def endpoint(url: str) -> Endpoint:
        if is_cut_off and url in liars:
            return Endpoint(url, deadline=timedelta(seconds=0.5))
        return Endpoint(url)

    patience = timedelta(seconds=0.2 if lie in STALLING else 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect, "Endpoint", endpoint)
        patch.setattr(connect, "Panel", partial(Panel, patience=patience))
        if lie in ENDLESS and not honest:
            patch.setattr(logs, "SEARCH", timedelta(seconds=0.2))
        yield


@contextmanager
def nobody_known(directory: Path) -> Iterator[None]:
    """Forget how endpoints behaved: a liar may get the port that an earlier one had."""
    with TemporaryDirectory(dir=directory) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        yield


@contextmanager
def lying_endpoints(victim: Victim, name: str, count: int) -> Iterator[list[LyingEndpoint]]:
    """Run endpoints that tell one lie."""
    with ExitStack() as stack:
        liars = []
        for _ in range(count):
            liar = LyingEndpoint(victim.node)
            stack.callback(liar.close)
            liar.lie(name, victim.scene)
            liars.append(liar)
        yield liars
