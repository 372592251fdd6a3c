"""A host with an outbox: a real sshd on loopback, and a configuration of ssh that knows its key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.transport.address import SshAddress
from scripts.stage import Stage, open_stage
from tests.openssh import write_private_key


@dataclass(frozen=True)
class Host:
    """A host that can be reached.

    Attributes:
        config: For `ssh -F`: the only known key is the host's.
        stranger: The same, with another key for that host.
    """

    port: int
    user: str
    config: Path
    stranger: Path

    def folder(self, path: Path) -> SshAddress:
        """Return the address of a folder there."""
        return SshAddress("127.0.0.1", str(path), self.user, self.port)


@contextmanager
def reachable_host() -> Iterator[Host]:
    """Yield a host, and end it after the block."""
    with open_stage() as stage:
        yield _serve(stage)


def _serve(stage: Stage) -> Host:
    folder = stage.directory
    host_key, user_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    host = write_private_key(folder / "host", host_key)
    user = write_private_key(folder / "user", user_key)
    allowed = folder / "authorized"
    allowed.write_text(public_key_line(ssh_blob(user_key.public_key())) + "\n")
    server = stage.start_sshd("outbox", [f"HostKey {host}", f"AuthorizedKeysFile {allowed}"])

    def config(name: str, key: Ed25519PrivateKey) -> Path:
        known, path = folder / f"known-{name}", folder / f"ssh-{name}"
        line = public_key_line(ssh_blob(key.public_key()))
        known.write_text(f"[127.0.0.1]:{server.port} {line}\n")
        path.write_text(
            f"IdentityFile {user}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n"
            # What an admin's own configuration must not be able to bring about.
            "StrictHostKeyChecking no\nBatchMode no\nNoHostAuthenticationForLocalhost yes\n"
        )
        return path

    other = Ed25519PrivateKey.generate()
    return Host(server.port, stage.account, config("known", host_key), config("other", other))
