"""T1, as a client sees it: a host certificate that was signed and not anchored is no host's.

The attack: whoever stole a host CA's key, and not its operator's wallet, plays the man in the
middle. With `@cert-authority` lines alone ssh believes him.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.host_index import (
    command_line,
    encode_host_index,
    make_host_index,
    write_lookup,
)
from dpki.agent.observation import HostPair
from dpki.verification.anchored_hosts import AnchoredHost
from dpki.verification.verdict import Finding, Verdict
from scripts.stage import Outcome
from tests.device import HOST, Device, open_device, private_key_file


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def visit(device: Device, key: Path, *, asks: bool) -> Outcome:
    """Log in; by the CA's line alone, or asking whether the host's certificate is anchored."""
    server, client = device.meet(key)
    ssh, *words = device.stage.ssh_command(server, client, "echo logged-in")
    options: list[str] = []
    if asks:
        name, _, command = command_line(folder(device)).partition(" ")
        options = ["-o", f"{name}={command}"]
        client.known_hosts.write_text("")
    return device.stage.run([ssh, *options, *words], expect=None)


def folder(device: Device) -> Path:
    return device.stage.directory / "ssh"


def write(device: Device, *pairs: HostPair | None) -> None:
    anchored = [
        AnchoredHost(
            p.certificate.hash, device.hosts.id, p.certificate.serial, p.certificate.valid_before
        )
        for p in pairs
        if p is not None
    ]
    seen = device.observation().snapshot
    index = make_host_index(seen, anchored, HOST, device.now + timedelta(hours=1))
    write_lookup(folder(device), encode_host_index(index))


def test_signed_and_not_anchored(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    honest = device.host
    device.update()
    write(device, honest)
    outcome = visit(device, key, asks=True)
    assert outcome.stdout == "logged-in\n", outcome.describe()

    stolen = Ed25519PrivateKey.generate()
    forged = device.hosts.sign(
        principals=[HOST],
        subject=stolen,
        valid_after=device.now - timedelta(minutes=5),
        valid_before=device.now + timedelta(days=1),
    )
    device.host = HostPair(forged, private_key_file(stolen), Finding(Verdict.VALID, ""))
    device.update()
    assert device.server is not None
    device.stage.stop_sshd(device.server)
    device.server = device.stage.start_sshd("middle", [], include=device.drop_in)
    assert visit(device, key, asks=False).stdout == "logged-in\n"
    outcome = visit(device, key, asks=True)
    assert (outcome.status, outcome.stdout) == (255, "")
    assert "not anchored, or revoked" in outcome.stderr

    write(device, honest, device.host)
    assert visit(device, key, asks=True).stdout == "logged-in\n"


def test_without_an_index_no_host_is_believed(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    write(device, device.host)
    (folder(device) / "hosts.db").unlink()
    outcome = visit(device, key, asks=True)
    assert outcome.status == 255
    assert "could not be checked" in outcome.stderr
