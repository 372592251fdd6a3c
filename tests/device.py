"""A device on a stage: a plan of one's own, the real install step, a real sshd, real ssh clients.

The chain is played by tests.world; everything from the plan on is the product's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.agent.decide import Plan, decide
from dpki.agent.install import Installed, install
from dpki.agent.observation import HostPair, Known, Observation, WatchedBatch
from dpki.agent.watching import still_unconfirmed
from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.config.device import Access, DeviceConfig, Ending, Grant, Outage
from dpki.config.sshd import CommandHook, Mode, ReloadHook, Sshd
from dpki.model import Address, DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from scripts.stage import Client, Outcome, Stage, open_stage
from scripts.stage import Sshd as Server
from tests.fakes.chain import FakeChain
from tests.world import DOMAIN, NOBODY, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)
HOST = "pump-17.example"


def private_key_file(key: Ed25519PrivateKey) -> bytes:
    """Return the key as OpenSSH writes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


@dataclass
class Device:
    """One device, and what a chain would say."""

    stage: Stage
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    users: Ca = field(default_factory=Ca.users)
    hosts: Ca = field(default_factory=Ca.hosts)
    others: list[Ca] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    watched: list[WatchedBatch] = field(default_factory=list)
    host: HostPair | None = None
    break_glass: str | None = None
    mode: Mode = Mode.STRICT
    fence: bool = False
    outage: Outage = Outage.CLOSED
    ending: Ending = Ending.GRANTED
    reload: ReloadHook = field(default_factory=lambda: CommandHook(()))
    server: Server | None = None
    keys: int = 0

    def __post_init__(self) -> None:
        for ca in (self.users, self.hosts):
            ca.registered_at = self.now - timedelta(days=1)
        self.directory.mkdir(mode=0o755)
        self.main_config.write_text(self.main_lines())
        self.new_host_pair()

    @property
    def directory(self) -> Path:
        return self.stage.directory / "etc"

    @property
    def main_config(self) -> Path:
        return self.directory / "sshd_config"

    @property
    def drop_in(self) -> Path:
        return self.directory / "10-dpki.conf"

    @property
    def files(self) -> Path:
        return self.directory / "dpki"

    def main_lines(self) -> str:
        return f"Include {self.drop_in}\nUsePAM no\nStrictModes no\nPasswordAuthentication yes\n"

    @property
    def config(self) -> DeviceConfig:
        return DeviceConfig(
            domain=DOMAIN.id,
            rpc=("http://127.0.0.1:1",),
            directories=(self.directory,),
            sshd=Sshd(
                directory=self.files,
                config=self.main_config,
                drop_in=self.drop_in,
                login_user="nobody" if os.geteuid() == 0 else self.stage.account,
                reload=self.reload,
                mode=self.mode,
                fence=self.fence,
            ),
            access=Access(
                break_glass=self.break_glass,
                console_access=self.break_glass is None,
                outage=self.outage,
                end_sessions=self.ending,
            ),
            accounts={self.stage.account: (Grant(self.users.id, "ops"),)},
        )

    def new_host_pair(self) -> HostPair:
        """Give the device a new host key and certificate."""
        key = Ed25519PrivateKey.generate()
        certificate, _ = self.hosts.issue(
            DEVICE,
            principals=[HOST],
            subject=key,
            valid_after=self.now - timedelta(minutes=5),
            valid_before=self.now + timedelta(days=1),
        )
        self.host = HostPair(certificate, private_key_file(key), Finding(Verdict.VALID, ""))
        return self.host

    def lead(self, pair: HostPair) -> Known:
        """Have the agent know of a host pair's certificate, as it does of all that are anchored."""
        certificate = pair.certificate
        entry = Entry(certificate.hash, DEVICE, certificate.valid_before, Hash32.zero())
        self.known.append(Known(self.hosts.id, certificate.serial, entry, 50))
        return self.known[-1]

    def sign(
        self,
        by: Ca | None = None,
        *,
        principal: str = "ops",
        serial: int | None = None,
        extensions: Iterable[str] = (),
    ) -> tuple[SshCertificate, Path]:
        """Return a user certificate, anchored nowhere, and its private key's file."""
        key = Ed25519PrivateKey.generate()
        certificate = (by or self.users).sign(
            serial,
            principals=[principal],
            subject=key,
            valid_after=self.now - timedelta(minutes=5),
            valid_before=self.now + timedelta(hours=1),
            extensions=extensions,
        )
        self.keys += 1
        path = self.stage.directory / f"key-{self.keys}"
        path.write_bytes(private_key_file(key))
        path.chmod(0o600)
        path.with_name(f"{path.name}.pub").write_text(
            public_key_line(ssh_blob(key.public_key())) + "\n"
        )
        path.with_name(f"{path.name}-cert.pub").write_text(ssh_line(certificate) + "\n")
        return certificate, path

    def anchor(self, certificate: SshCertificate, device: Address = NOBODY) -> None:
        """Put a certificate on the imagined chain, as an operator of the user CA would."""
        entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        serial, watch = self.users.next_serial, self.users.watch
        self.known.append(Known(self.users.id, serial, entry, 50))
        if watch is not None and watch.covers(serial):
            self.watched.append(WatchedBatch(self.users.id, serial, 1, 50))
        self.users.anchor([certificate], device)

    def plan(self) -> Plan:
        """Decide what should be installed."""
        return decide(self.config, DEVICE, self.observation(), self.now)

    def observation(self) -> Observation:
        """Return what an agent would see."""
        at = block(100, self.now)
        cas = (self.users, self.hosts, *self.others)
        seen = snapshot(*cas, at=at, devices={DEVICE: DeviceState.ACTIVE})
        # Everything is in the snapshot: the reader has nothing to answer.
        unconfirmed = still_unconfirmed(FakeChain(), seen, self.watched)
        return Observation(seen, at, tuple(self.known), self.host, (), unconfirmed)

    def update(self) -> Installed:
        """Decide and install, as a run of the agent does."""
        return install(self.plan(), self.config)

    def login(self, key: Path, *, with_certificate: bool = True) -> Outcome:
        """Log in at the real sshd."""
        server, client = self.meet(key, with_certificate=with_certificate)
        return self.stage.ssh(server, client)

    def open_session(self, key: Path, command: str = "cat") -> subprocess.Popen[str]:
        """Log in and stay; what the command reads and writes are pipes."""
        server, client = self.meet(key)
        return subprocess.Popen(
            self.stage.ssh_command(server, client, command),
            env=self.stage.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def meet(self, key: Path, *, with_certificate: bool = True) -> tuple[Server, Client]:
        """Return the real sshd, started if need be, and a client with this key."""
        if self.server is None:
            self.server = self.stage.start_sshd("device", [], include=self.drop_in)
        known_hosts = self.stage.directory / "known_hosts"
        known_hosts.write_text(f"@cert-authority {HOST} {public_key_line(self.hosts.blob)}\n")
        certificate = key.with_name(f"{key.name}-cert.pub") if with_certificate else None
        return self.server, Client(key, certificate, known_hosts, None, HOST)


@contextmanager
def open_device() -> Iterator[Device]:
    """Make a device on a stage of its own, and end both."""
    with open_stage() as stage:
        yield Device(stage)
