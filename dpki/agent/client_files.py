"""What the device's SSH client goes by: where it lies, what it says, and in which order it changes.

Pure but for `ClientFiles.installed`, which looks. ssh reads it all anew at each connection: nobody
has to be told of changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpki.agent.host_index import COMMAND, INDEX, command_line
from dpki.agent.sshd import HEADER
from dpki.agent.steps import Remove, Step, Write, refusing_both
from dpki.certificates.ssh import SshCertificate
from dpki.files import PRIVATE

MOST_PAIRS = 2
"""The newest key pair, and the one before: not every host knows a new certificate at once."""


@dataclass(frozen=True)
class ClientFiles:
    """Where everything that ssh reads stands, below one folder."""

    directory: Path

    @property
    def krl(self) -> Path:
        """RevokedHostKeys; never empty."""
        return self.directory / "revoked.krl"

    @property
    def known_hosts(self) -> Path:
        """The `@cert-authority` lines of the trusted host CAs."""
        return self.directory / "known_hosts"

    @property
    def config(self) -> Path:
        """What ssh_config includes."""
        return self.directory / "ssh_config"

    @property
    def lookup(self) -> Path:
        """The script behind KnownHostsCommand."""
        return self.directory / COMMAND

    @property
    def index(self) -> Path:
        """What that script decides from."""
        return self.directory / INDEX

    def key(self, name: str) -> Path:
        """Private key; named after its certificate, so that a pair is never mixed up."""
        return self.directory / f"client-{name}"

    def certificate(self, name: str) -> Path:
        """The certificate beside it, where ssh looks for it."""
        return self.directory / f"client-{name}-cert.pub"

    def installed(self) -> list[Path]:
        """Return which of these are there, and nothing that somebody else put beside them."""
        fixed = (self.krl, self.known_hosts, self.config, self.lookup, self.index)
        pairs = sorted(self.directory.glob("client-*"))
        return [path for path in (*fixed, *pairs) if path.is_file() or path.is_symlink()]


def client_options(files: ClientFiles, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the ssh options (ssh_config(5)).

    Args:
        names: Of the key pairs to use, the best first. ssh finds each certificate beside its key.
    """
    name, _, command = command_line(files.directory).partition(" ")
    return [
        *(("IdentityFile", str(files.key(one))) for one in names or ()),
        *([] if names else [("IdentityFile", "none")]),
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("UserKnownHostsFile", str(files.known_hosts)),
        ("GlobalKnownHostsFile", "none"),
        ("RevokedHostKeys", str(files.krl)),
        (name, command),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
    ]


def render_client_config(account: str, options: Sequence[tuple[str, str]]) -> bytes:
    """Return the file that ssh_config includes; it says something to one account alone."""
    lines = [
        f"{HEADER}; changes here are overwritten.",
        f"Match localuser {account}",
        *(f"    {name} {value}" for name, value in options),
    ]
    return ("\n".join(lines) + "\n").encode()


def choose_pairs(
    wanted: Sequence[str], installed: Mapping[str, SshCertificate], usable: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the key pairs to keep, the best first.

    Args:
        wanted: Those to use.
        installed: Those that are there and whole.
        usable: Those whose certificates still count.
    """
    earlier = [name for name in installed if name in usable and name not in wanted]
    newest_first = sorted(earlier, key=lambda name: installed[name].valid_after, reverse=True)
    return (*wanted, *newest_first)[: max(MOST_PAIRS, len(wanted))]


@dataclass(frozen=True)
class WantedClient:
    """What ssh should read.

    Attributes:
        pairs: Private key and certificate line of the new key pairs, by name.
        names: All pairs that stay, the best first.
        owner: Number of the user that may read the private keys.
    """

    krl: bytes
    known_hosts: bytes
    lookup: bytes
    index: bytes
    config: bytes
    pairs: Mapping[str, tuple[bytes, bytes]]
    names: Sequence[str]
    owner: int


def client_steps(
    files: ClientFiles, found: Mapping[Path, bytes], wanted: WantedClient
) -> list[Step]:
    """Return the steps from what is there to what is wanted: what refuses hosts first.

    Args:
        found: Content of the files that are there.
    """
    steps: list[Step] = [Write(files.krl, refusing_both(found.get(files.krl), wanted.krl))]
    if (listed := found.get(files.known_hosts)) is not None:
        before = set(listed.splitlines(keepends=True))
        kept = [line for line in wanted.known_hosts.splitlines(keepends=True) if line in before]
        steps.append(Write(files.known_hosts, b"".join(kept)))
    # Each version of the command reads its own index alone, and knows no host by another.
    steps.append(Write(files.lookup, wanted.lookup, joins_next=True))
    steps.append(Write(files.index, wanted.index))
    for name, (key, line) in wanted.pairs.items():
        steps.append(Write(files.key(name), key, PRIVATE, wanted.owner))
        steps.append(Write(files.certificate(name), line))
    steps.append(Write(files.config, wanted.config))
    keep = {p for name in wanted.names for p in (files.key(name), files.certificate(name))}
    for path in sorted(found):
        if path.name.startswith("client-") and path not in keep:
            steps.append(Remove(path))
    return [*steps, Write(files.known_hosts, wanted.known_hosts), Write(files.krl, wanted.krl)]
