"""OpenSSH as a second opinion: `ssh-keygen`, and a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.certificates.keys import public_key_line, ssh_blob

USER = getpass.getuser()


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


def write_private_key(path: Path, key: Ed25519PrivateKey) -> Path:
    """Write a private key as OpenSSH does, with its public half beside it."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    path.with_name(path.name + ".pub").write_text(public_key_line(ssh_blob(key.public_key())))
    return path


@dataclass(frozen=True)
class Sshd:
    """A running sshd that trusts certificates only, and whose log can be read."""

    port: int
    log: Path

    def login(
        self, key: Path, certificate: Path, *options: str, known_hosts: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Log in as the user who runs the tests, and print `logged in` there."""
        checking = (
            [f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes"]
            if known_hosts
            else ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no"]
        )
        every = [
            *checking,
            "GlobalKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"CertificateFile={certificate}",
            "LogLevel=ERROR",
            *options,
        ]
        return subprocess.run(
            ["ssh", "-F", "none", "-p", str(self.port), "-i", str(key)]
            + [part for option in every for part in ("-o", option)]
            + [f"{USER}@127.0.0.1", "echo", "logged", "in"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )

    def admits(self, key: Path, certificate: Path) -> bool:
        """Return whether the login works; any failure but a refusal is a failure of the test."""
        done = self.login(key, certificate)
        if done.returncode == 0:
            assert done.stdout == "logged in\n", done.stdout
            return True
        assert "Permission denied (publickey)" in done.stderr, done.stderr + self.log.read_text()
        return False


@contextmanager
def running_sshd(directory: Path, settings: Sequence[str], host_key: Path) -> Iterator[Sshd]:
    """Run an sshd on a free port of loopback for as long as the context lasts.

    Args:
        directory: Holds its configuration and log.
        settings: Lines of configuration, besides those that make it run here.
        host_key: File of its private host key.
    """
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if os.geteuid() == 0:
        # Its privilege separation folder; otherwise made when the service starts.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration, log = directory / "sshd_config", directory / "sshd.log"
    configuration.write_text(
        "\n".join(
            [
                *settings,
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {host_key}",
                "PidFile none",
                "UsePAM no",
                "StrictModes no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "AuthorizedKeysFile none",
                "PermitRootLogin prohibit-password",
                "MaxStartups 100",
                "LogLevel VERBOSE",
                "",
            ]
        )
    )
    process = subprocess.Popen(
        [program, "-D", "-f", str(configuration), "-E", str(log)], start_new_session=True
    )
    try:
        _wait_until_listening(process, port, log)
        yield Sshd(port, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(500):
        if process.poll() is not None:
            raise AssertionError(f"sshd ended: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"sshd does not listen: {log.read_text()}")
