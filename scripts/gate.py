"""A device of the play: its folder, its sshd, its agent, and what is installed on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stage import SSHD, Sshd, Stage, StepFailed


@dataclass
class Gate:
    """One device.

    Attributes:
        name: Names its files, and is what the administrator calls it.
        address: Its address, once it has keys.
    """

    stage: Stage
    name: str
    address: str = ""
    sshd: Sshd | None = None

    # --- where things are -----------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Its host name, in its certificate."""
        return f"{self.name}.example"

    @property
    def directory(self) -> Path:
        """What would be /var/lib/dpki on it."""
        return self.stage.directory / self.name

    @property
    def request(self) -> Path:
        """Its request to be enrolled."""
        return self.directory / "enroll.request"

    @property
    def sshd_directory(self) -> Path:
        """What would be /etc/ssh/dpki on it."""
        return self.stage.directory / f"{self.name}-ssh"

    @property
    def drop_in(self) -> Path:
        """What would be /etc/ssh/sshd_config.d/10-dpki.conf on it."""
        return self.stage.directory / f"{self.name}-10-dpki.conf"

    @property
    def sshd_config(self) -> Path:
        """What would be /etc/ssh/sshd_config on it."""
        return self.stage.directory / f"sshd-{self.name}" / "sshd_config"

    @property
    def plain_host_key(self) -> Path:
        """The host key that its sshd had before dpki."""
        return self.stage.directory / f"{self.name}-plain-host-key"

    @property
    def server(self) -> Sshd:
        """Its sshd, once started."""
        if self.sshd is None:
            raise StepFailed(f"sshd of {self.name} is not running yet")
        return self.sshd

    # --- what it does ---------------------------------------------------------------------------

    def start_sshd(self) -> None:
        """Start its sshd as it is before dpki: a plain host key, no drop-in yet."""
        self.stage.make_key(self.plain_host_key, "ecdsa")
        lines = [f"HostKey {self.plain_host_key}"]
        self.sshd = self.stage.start_sshd(self.name, lines, include=self.drop_in)

    def initialise(self, *options: str | Path) -> None:
        """Make its keys and its request, with sshd's files where this play has them."""
        document = self.stage.dpki(
            *("device", "init", "--dir", self.directory, *options),
            *("--sshd-dir", self.sshd_directory, "--sshd-config", self.sshd_config),
            *("--drop-in", self.drop_in),
            *("--reload", f"/bin/kill -HUP {self.server.process.pid}"),
        )
        self.address = document["device"]

    def agent_once(self, *, expect: int | None = 0) -> dict[str, Any]:
        """Run its agent once; sshd, which it may have reloaded, listens again."""
        starts = self.server.starts
        document = self.stage.dpki("agent", "once", "--dir", self.directory, expect=expect)
        self.stage.wait_listening(self.server, starts + bool(document.get("reloaded")))
        return document

    # --- what is installed on it ----------------------------------------------------------------

    def drop_in_option(self, name: str) -> Path:
        """Return the file that an option of the agent's drop-in names."""
        for line in self.drop_in.read_text().splitlines():
            words = line.split(maxsplit=1)
            if len(words) == 2 and words[0].lower() == name.lower():
                return Path(words[1].strip().strip('"'))
        raise StepFailed(f"the drop-in sets no {name}\n{self.drop_in.read_text()}")

    def installed(self) -> dict[str, bytes]:
        """Return what sshd uses: the host key and certificate, the CA keys, the drop-in."""
        names = ("HostKey", "HostCertificate", "TrustedUserCAKeys")
        found = {name: self.drop_in_option(name).read_bytes() for name in names}
        return found | {"Include": self.drop_in.read_bytes()}

    def host_public_key(self) -> str:
        """Return the public half of the host key that sshd uses now."""
        argv: Sequence[str | Path] = ["ssh-keygen", "-y", "-f", self.drop_in_option("HostKey")]
        return " ".join(self.stage.run(argv).stdout.split()[:2])

    def effective_configuration(self) -> dict[str, str]:
        """Return what sshd itself says is in force for the account that logs in."""
        match = f"user={self.stage.account},host=localhost,addr=127.0.0.1"
        shown = self.stage.run([SSHD, "-T", "-C", match, "-f", self.sshd_config]).stdout
        pairs = (line.split(maxsplit=1) for line in shown.splitlines() if line.strip())
        return {pair[0].lower(): pair[1] if len(pair) == 2 else "" for pair in pairs}
