"""Logins with FIDO keys at a real sshd, under certificates that want touch and PIN."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line
from dpki.certificates.profile import ANYBODY, Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, ssh_line
from dpki.model import AuthorityKind
from scripts.stage import Client, Outcome
from tests.device import HOST, Device, open_device
from tests.security_key import TOUCHED, VERIFIED, SecurityKey, agent_of

VERIFY = ("verify-required", "")
KEYS = {
    "ed25519": Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with open_device() as made:
        made.update()
        yield made


@pytest.fixture(params=KEYS)
def key(request: pytest.FixtureRequest) -> SecurityKey:
    return SecurityKey(KEYS[request.param]())


def certify(
    device: Device, key: SecurityKey, *options: tuple[str, str], extensions: frozenset[str]
) -> Path:
    """Issue and anchor a certificate, have the device learn of it, and return the public key."""
    certificate = build_ssh_certificate(
        device.users.key,
        Profile(AuthorityKind.SSH_USER, timedelta(hours=2), extensions, options, ANYBODY),
        Subject(key.blob, ("ops",), "alice"),
        serial=device.users.next_serial,
        key_id="alice",
        valid_after=device.now - timedelta(minutes=5),
        valid_before=device.now + timedelta(hours=1),
    )
    device.anchor(certificate)
    device.update()
    path = device.stage.directory / f"security-key-{certificate.serial}"
    path.with_name(f"{path.name}-cert.pub").write_text(ssh_line(certificate) + "\n")
    path.write_text(public_key_line(key.blob) + "\n")
    return path


def log_in(device: Device, key: SecurityKey, public: Path) -> Outcome:
    if device.server is None:
        device.server = device.stage.start_sshd("device", [], include=device.drop_in)
    known_hosts = device.stage.directory / "known_hosts"
    known_hosts.write_text(f"@cert-authority {HOST} {public_key_line(device.hosts.blob)}\n")
    certificate = public.with_name(f"{public.name}-cert.pub")
    with agent_of(key, public.with_name(f"{public.name}.agent")) as agent:
        client = Client(public, certificate, known_hosts, None, HOST, agent)
        outcome = device.stage.ssh(device.server, client)
    public.with_name(f"{public.name}.agent").unlink()
    return outcome


def enters(device: Device, key: SecurityKey, public: Path) -> None:
    outcome = log_in(device, key, public)
    assert (outcome.status, outcome.stdout) == (0, "logged-in\n"), outcome.describe()


def refused(device: Device, key: SecurityKey, public: Path, because: str) -> None:
    """After the key has signed, sshd says no, and why."""
    assert device.server is not None
    counter, start = key.counter, len(device.server.log.read_text())
    outcome = log_in(device, key, public)
    assert outcome.status == 255, outcome.describe()
    assert "Permission denied (publickey)" in outcome.stderr
    assert key.counter > counter
    assert because in device.server.log.read_text()[start:]


def test_touch_and_pin_where_both_are_wanted(device: Device, key: SecurityKey) -> None:
    public = certify(device, key, VERIFY, extensions=frozenset())
    enters(device, key, public)
    key.flags = TOUCHED
    refused(device, key, public, "user verification requirement not met")
    key.flags = VERIFIED
    refused(device, key, public, "user presence (authenticator touch) requirement not met")
    key.flags = TOUCHED | VERIFIED
    enters(device, key, public)


def test_a_touch_is_wanted_unless_the_certificate_says_otherwise(
    device: Device, key: SecurityKey
) -> None:
    public = certify(device, key, extensions=frozenset())
    key.flags = TOUCHED
    enters(device, key, public)
    key.flags = 0
    refused(device, key, public, "user presence (authenticator touch) requirement not met")
    enters(device, key, certify(device, key, extensions=frozenset({"no-touch-required"})))


def test_a_signature_for_another_purpose(device: Device, key: SecurityKey) -> None:
    """A website that has the key sign something for itself gets no login of it."""
    public = certify(device, key, VERIFY, extensions=frozenset())
    enters(device, key, public)
    key.relying_party = b"https://phishing.example"
    refused(device, key, public, "Failed publickey")


def test_a_certificate_that_is_not_anchored(device: Device, key: SecurityKey) -> None:
    public = certify(device, key, VERIFY, extensions=frozenset())
    enters(device, key, public)
    device.known.pop()
    device.update()
    outcome = log_in(device, key, public)
    assert outcome.status == 255
    assert "Permission denied (publickey)" in outcome.stderr
