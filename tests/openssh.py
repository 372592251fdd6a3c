"""OpenSSH as a second opinion: `ssh-keygen`, and logins at a real sshd on loopback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.certificates.keys import public_key_line, ssh_blob
from scripts.stage import Client, Sshd, Stage

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


def keygen(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `ssh-keygen` in UTC, so that the times that it prints are the certificate's."""
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TZ": "UTC", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
    )


def describe(certificate: Path) -> list[str]:
    """Return what `ssh-keygen -L` says of a certificate, line by line, without indentation."""
    done = keygen("-L", "-f", certificate)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()[1:]]


def write_private_key(path: Path, key: PrivateKey) -> Path:
    """Write a private key as OpenSSH does, with its public half beside it."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    path.with_name(path.name + ".pub").write_text(public_key_line(ssh_blob(key.public_key())))
    return path


def admits(stage: Stage, server: Sshd, client: Client) -> bool:
    """Return whether the login works; anything but a refusal of the key fails the test."""
    outcome = stage.ssh(server, client)
    if outcome.status == 0:
        assert outcome.stdout == "logged-in\n", outcome.describe()
        return True
    assert "Permission denied (publickey)" in outcome.stderr, (
        outcome.describe() + server.log.read_text()
    )
    return False
