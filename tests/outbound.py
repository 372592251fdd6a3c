"""Another device on the stage, whose SSH client logs in to the first one.

What its agent decides and installs is the product's, and so are ssh and sshd.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass, field, replace

from dpki.agent.client import ClientInstalled, ClientInstaller
from dpki.agent.client_files import ClientFiles
from dpki.agent.decide import Plan, decide
from dpki.agent.install import install
from dpki.agent.observation import ClientPair, HostPair, Known, Observation
from dpki.config.outbound import Outbound
from dpki.model import Address, DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from scripts.stage import Outcome
from tests.device import DEVICE, HOST, Device

CLIENT = Address(b"\xcc" * 20)


@dataclass
class Client:
    """Another device, which logs in to the first one by what its agent installed."""

    server: Device
    account: str = field(default_factory=getpass.getuser)
    state: DeviceState = DeviceState.ACTIVE
    pair: ClientPair | None = None
    hosts: list[Known] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbound = Outbound(self.account, self.server.stage.directory / "client", HOST)
        self.files = ClientFiles(self.outbound.directory)
        self.installer = ClientInstaller(self.outbound)
        assert self.server.host is not None
        self.anchor_host(self.server.host)
        self.certify()

    def anchor_host(self, pair: HostPair) -> None:
        certificate = pair.certificate
        entry = Entry(certificate.hash, DEVICE, certificate.valid_before, Hash32.zero())
        self.hosts.append(Known(self.server.hosts.id, certificate.serial, entry, 50))

    def certify(self) -> ClientPair:
        """Anchor the next certificate for this device's client."""
        certificate, path = self.server.sign()
        self.server.anchor(certificate, CLIENT)
        finding = Finding(Verdict.VALID, "")
        self.pair = ClientPair(certificate, path.read_bytes(), finding)
        return self.pair

    def observation(self) -> Observation:
        seen = self.server.observation()
        record = replace(seen.snapshot.devices[DEVICE], address=CLIENT, state=self.state)
        devices = {**seen.snapshot.devices, CLIENT: record}
        known = (*seen.known, *self.hosts)
        snapshot = replace(seen.snapshot, devices=devices)
        return replace(seen, snapshot=snapshot, known=known, client=self.pair)

    def plan(self) -> Plan:
        config = replace(self.server.config, outbound=self.outbound)
        return decide(config, CLIENT, self.observation(), self.server.now)

    def update(self) -> ClientInstalled:
        """Have both agents look."""
        server = decide(self.server.config, DEVICE, self.observation(), self.server.now)
        install(server, self.server.config)
        plan = self.plan()
        assert plan.outward is not None
        return self.installer.install(plan.outward, plan.krl)

    def login(self) -> Outcome:
        """Log in with nothing but what ssh_config includes."""
        if self.server.server is None:
            self.server.server = self.server.stage.start_sshd(
                "device", [], include=self.server.drop_in
            )
        config = self.server.stage.directory / "ssh_config"
        config.write_text(f"Include {self.files.config}\n")
        words = ["/usr/bin/ssh", "-F", config, "-o", "BatchMode=yes", "-o", f"HostKeyAlias={HOST}"]
        words += ["-p", str(self.server.server.port), f"{self.server.stage.account}@127.0.0.1"]
        return self.server.stage.run([*words, "echo logged-in"], expect=None)

    @property
    def enters(self) -> bool:
        outcome = self.login()
        if outcome.status == 0:
            assert outcome.stdout == "logged-in\n", outcome.describe()
            return True
        assert "Permission denied" in outcome.stderr, outcome.describe()
        return False
