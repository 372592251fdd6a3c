"""A device as SSH client: which account logs in elsewhere, and where what it needs lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.config.sshd import plain_path
from dpki.config.toml import Table, Value
from dpki.config.values import verify_account, verify_host_pattern

DIRECTORY = Path("/etc/ssh/dpki-client")


@dataclass(frozen=True)
class Outbound:
    """Who uses the device's own user certificate.

    Attributes:
        account: The local account; nobody else can read the private key.
        directory: Where key, certificate and everything else that ssh reads lie.
        hosts: Host patterns, separated by commas, that the domain's host CAs may speak for.
    """

    account: str
    directory: Path = DIRECTORY
    hosts: str = "*"


def parse_outbound(table: Table) -> Outbound | None:
    """Take `account`, `directory` and `hosts`, and nothing else; None where the table is empty."""
    if not table.names():
        return None
    directory = plain_path(table, "directory", table.text("directory", str(DIRECTORY)))
    if any(c.isspace() or c in "*?[" for c in str(directory)):
        raise table.error("directory", "must be a plain absolute path, without spaces and *?[")
    outbound = Outbound(
        account=table.parsed("account", verify_account),
        directory=directory,
        hosts=table.parsed("hosts", verify_host_pattern, "*"),
    )
    table.close()
    return outbound


def dump_outbound(outbound: Outbound) -> dict[str, Value]:
    """Return what `parse_outbound` takes."""
    return {
        "account": outbound.account,
        "directory": str(outbound.directory),
        "hosts": outbound.hosts,
    }
