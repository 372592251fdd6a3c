"""KRLs before a real sshd: whom they admit and refuse (claim T8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.certificates.krl import Revocations, build_krl
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, ssh_line
from scripts.stage import Client, Sshd, Stage, open_stage
from tests.krl_shapes import SHAPES, Shape
from tests.openssh import admits, write_private_key

NOW = datetime.now(UTC)
CA, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CA_BLOB, OTHER_BLOB = ssh_blob(CA.public_key()), ssh_blob(OTHER.public_key())


@dataclass(frozen=True)
class Door:
    """An sshd that trusts two CAs and asks a KRL."""

    stage: Stage
    server: Sshd
    key: Path
    krl: Path
    known_hosts: Path

    def admits(self, serial: int, ca: Ed25519PrivateKey = CA) -> bool:
        """Try to log in with a certificate of this serial."""
        certificate = build_ssh_certificate(
            ca,
            Profile.user(timedelta(hours=2)),
            Subject(self.subject, (self.stage.account,), "tester"),
            serial=serial,
            key_id=f"test/{serial}",
            valid_after=NOW - timedelta(minutes=5),
            valid_before=NOW + timedelta(hours=1),
        )
        path = self.stage.directory / "user-cert.pub"
        path.write_text(ssh_line(certificate) + "\n")
        return admits(
            self.stage, self.server, Client(self.key, path, self.known_hosts, None, "door")
        )

    @property
    def subject(self) -> bytes:
        """The key that every certificate here is for."""
        return ssh_blob(USER.public_key())

    def revoke(self, *revocations: Revocations, keys: tuple[bytes, ...] = ()) -> None:
        """Install a KRL; sshd reads it at every login."""
        self.krl.write_bytes(build_krl(revocations, keys, version=1, generated=NOW))


USER = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_stage() as stage:
        host = Ed25519PrivateKey.generate()
        host_key = write_private_key(stage.directory / "host", host)
        trusted, krl = stage.directory / "trusted", stage.directory / "krl"
        trusted.write_text(f"{public_key_line(CA_BLOB)}\n{public_key_line(OTHER_BLOB)}\n")
        known_hosts = stage.directory / "known_hosts"
        known_hosts.write_text(f"door {public_key_line(ssh_blob(host.public_key()))}\n")
        server = stage.start_sshd(
            "krl",
            [
                f"HostKey {host_key}",
                f"TrustedUserCAKeys {trusted}",
                f"RevokedKeys {krl}",
                "AuthorizedKeysFile none",
            ],
        )
        yield Door(
            stage, server, write_private_key(stage.directory / "user", USER), krl, known_hosts
        )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape(door: Door, shape: Shape) -> None:
    """The same shapes and probes go to ssh-keygen in tests/property/test_krl.py."""
    door.revoke(shape.revocations(CA_BLOB), keys=(CA_BLOB,) if shape.whole else ())
    for serial, revoked in shape.probes.items():
        assert door.admits(serial) is not revoked, serial
    assert door.admits(next(iter(shape.probes)), OTHER), "another CA's certificates are refused"


def test_a_subject_as_a_key_is_refused_whatever_the_ca(door: Door) -> None:
    door.revoke(keys=(door.subject,))
    assert not door.admits(1)
    assert not door.admits(1, OTHER)


def test_a_missing_krl_refuses_everyone(door: Door) -> None:
    door.krl.unlink(missing_ok=True)
    assert not door.admits(1)


def test_a_damaged_krl_refuses_everyone(door: Door) -> None:
    door.revoke(Revocations(CA_BLOB, [5]))
    door.krl.write_bytes(door.krl.read_bytes()[:-1])
    assert not door.admits(1)


def test_an_empty_krl_admits_even_the_revoked_which_is_why_none_is_ever_written(door: Door) -> None:
    door.krl.write_bytes(b"")
    assert door.admits(5)
    assert build_krl((), (), version=1, generated=NOW) != b""
