"""A broker of Debian's (Mosquitto) on loopback, with TLS, users and passwords."""

from __future__ import annotations

import contextlib
import getpass
import ipaddress
import os
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dpki.devnet.process import ManagedProcess
from dpki.transport.address import Broker, BrokerAddress
from scripts.stage import free_port

PROGRAM = "/usr/sbin/mosquitto"
PASSWORDS = "/usr/bin/mosquitto_passwd"
HUNG = 15.0
"""Seconds after which somebody hangs."""

CONNACK = b"\x20\x02\x00\x00"


@dataclass(frozen=True)
class Authority:
    """An authority for TLS, and a key pair that it vouches for on 127.0.0.1."""

    certificate: Path
    server: Path
    key: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Make both."""
        folder.mkdir(exist_ok=True)
        root, leaf = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker's authority")])
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)

        def certificate(
            subject: x509.Name, key: ec.EllipticCurvePublicKey
        ) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(name)
                .public_key(key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(hours=1))
                .not_valid_after(now + timedelta(days=1))
            )

        made = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        is_authority = x509.BasicConstraints(ca=True, path_length=None)
        made.certificate.write_bytes(
            certificate(name, root.public_key())
            .add_extension(is_authority, critical=True)
            .sign(root, SHA256())
            .public_bytes(Encoding.PEM)
        )
        where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made.server.write_bytes(
            certificate(own, leaf.public_key())
            .add_extension(where, critical=False)
            .sign(root, SHA256())
            .public_bytes(Encoding.PEM)
        )
        made.key.write_bytes(leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


class Mosquitto:
    """A running broker; a context.

    Attributes:
        broker: How to reach it; its prefix is `test`.
        password: What its user `dpki` logs in with.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        # Where it runs as root it becomes another user, who must be able to read all this.
        self.authority = Authority.create(folder)
        self.password = secrets.token_hex(16)
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        users, configuration = folder / "users", folder / "mosquitto.conf"
        users.write_text(f"dpki:{self.password}\n")
        subprocess.run([PASSWORDS, "-U", str(users)], check=True)
        # No `log_type all`: what it is sent must not be in its log.
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {self.authority.certificate}\n"
            f"certfile {self.authority.server}\n"
            f"keyfile {self.authority.key}\n"
            "tls_version tlsv1.2\n"
            "allow_anonymous false\n"
            f"password_file {users}\n"
            f"user {getpass.getuser()}\n"
            "persistence false\n"
            "max_queued_messages 0\n"
        )
        self._configuration = configuration
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self.broker = Broker(
            BrokerAddress("127.0.0.1", self.port, "test"),
            "dpki",
            f"file:{secret}",
            self.authority.certificate,
        )
        self._process: ManagedProcess | None = None

    def under(self, prefix: str) -> Broker:
        """Return how to reach it under a prefix of one's own, where nothing lies yet."""
        return replace(self.broker, address=replace(self.broker.address, prefix=prefix))

    def __enter__(self) -> Self:
        """Start it."""
        process = ManagedProcess(
            "mosquitto",
            [PROGRAM, "-c", str(self._configuration)],
            log=self.log,
            environment={"PATH": os.environ["PATH"]},
        )
        process.wait_ready(lambda: _answers(self.port), timedelta(seconds=20))
        self._process = process
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.stop()
            self._process = None


class HostileBroker:
    """A broker that has the right certificate, and does what it likes with each connection."""

    def __init__(self, authority: Authority, behave: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._behave = behave
        self.port = self._listener.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(authority.server, authority.key)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(HUNG)
                with connection, contextlib.suppress(OSError):
                    self._behave(connection)

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def over_tls(
    authority: Authority, talk: Callable[[ssl.SSLSocket], None]
) -> Callable[[socket.socket], None]:
    """Shake hands as one should, read CONNECT, and go on with `talk`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server, authority.key)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            talk(secured)

    return behave


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
