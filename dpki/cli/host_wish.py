"""What somebody typed about the hosts that are to be set up, before any of them is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dpki
from dpki.cli.wish import NAME
from dpki.config.device import parse_allowances
from dpki.config.values import verify_name
from dpki.errors import UsageError
from dpki.issuance.selection import parse_labels
from dpki.remote.ssh import Connection, verify_destination
from dpki.remote.survey import Needs

HOST = "{host}"
"""Stands for the host's name, without account and domain, in a device's name."""

_PATHS = {"drop-in": "/etc/ssh/sshd_config.d/10-dpki.conf", "sshd-config": "/etc/ssh/sshd_config"}
_INIT_OPTIONS = {"reload", "sshd-dir", "quorum", "prekeys", "directory", *_PATHS}


@dataclass(frozen=True)
class HostWishes:
    """What was typed."""

    hosts: tuple[str, ...]
    name: str
    fleet: str | None
    labels: tuple[str, ...]
    connection: Connection
    jobs: int
    allow: tuple[str, ...]
    break_glass: Path | None
    console_access: bool
    rpc: tuple[str, ...]
    gateways: tuple[str, ...]
    init_options: tuple[str, ...]
    directory: Path
    install_directory: Path
    install_from: str | None
    service: bool
    ca: str | None
    hostnames: tuple[str, ...]
    lifetime: str | None

    def verify(self) -> None:
        """Refuse what makes no sense, before any host is asked.

        Raises:
            UsageError: It doesn't.
        """
        self.connection.verify()
        for host in self.hosts:
            verify_destination(host)
        names = [self.name_of(host) for host in self.hosts]
        if len(set(names)) != len(names):
            raise UsageError(
                "two of the hosts would have the same name",
                hint="let the hosts' names tell them apart: --name '{host}'",
            )
        if (self.break_glass is None) == (not self.console_access):
            raise UsageError(
                "how does one get in when certificates can't decide?",
                hint="give either --break-glass FILE.pub (a key under no CA) or --console-access",
            )
        parse_allowances(self.allow)
        parse_labels(self.labels, self.fleet)
        if (self.ca is None) != (not self.hostnames):
            raise UsageError("--ca and --hostname go together", hint="--hostname '{name}.example'")
        if len(self.hosts) > 1 and any(NAME not in name for name in self.hostnames):
            raise UsageError(
                "several hosts can't answer to one name", hint="write {name} for each one's own"
            )
        if self.install_from is not None and self.install_from.startswith("-"):
            raise UsageError("that is nothing that pip could install", hint="--install-from SPEC")
        if unknown := set(self.options) - _INIT_OPTIONS:
            raise UsageError(
                f"{unknown.pop()[:40]!r} is no such option of dpki device init",
                hint=f"there are: {', '.join(sorted(_INIT_OPTIONS))}",
            )

    @property
    def options(self) -> dict[str, str]:
        """Further options of `dpki device init`, by name."""
        pairs = [text.partition("=") for text in self.init_options]
        return {key: value for key, _, value in pairs}

    @property
    def needs(self) -> Needs:
        """What each host is to have."""
        drop_in, config = (Path(self.options.get(key, default)) for key, default in _PATHS.items())
        return Needs(dpki.__version__, drop_in, config, self.service)

    def name_of(self, host: str) -> str:
        """Return what a host's device is to be called."""
        plain = host.rpartition("@")[2]
        if not plain.replace(".", "").isdigit():
            plain = plain.partition(".")[0]
        return verify_name(self.name.replace(HOST, plain.lower()))
