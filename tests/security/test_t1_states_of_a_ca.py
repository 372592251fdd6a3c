"""T1: a CA suspended, lifted, closed and retired, with living certificates, at a real sshd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dpki.config.sshd import Mode
from dpki.model import AuthorityState
from tests.device import Device, open_device

STATES = [
    (AuthorityState.ACTIVE, True),
    (AuthorityState.SUSPENDED, False),
    (AuthorityState.ACTIVE, True),
    (AuthorityState.CLOSED, True),
    (AuthorityState.CLOSED_SUSPENDED, False),
    (AuthorityState.CLOSED, True),
    (AuthorityState.RETIRED, False),
]


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


@pytest.mark.parametrize("mode", Mode)
def test_its_users(device: Device, mode: Mode) -> None:
    """Each change takes effect with the run that sees it; lifting a suspension gives all back."""
    device.mode = mode
    certificate, key = device.sign()
    device.anchor(certificate)
    for state, enters in STATES:
        device.users.state = state
        device.update()
        device.update()
        assert (device.login(key).status == 0) is enters, state


def test_its_hosts(device: Device) -> None:
    """sshd no longer shows the certificate, and its private key is gone: not for a client alone."""
    assert device.host is not None
    pair = device.host
    device.lead(pair)
    device.update()
    device.update()
    assert "HostCertificate" in device.drop_in.read_text()
    device.hosts.state, device.host = AuthorityState.SUSPENDED, None
    device.update()
    device.update()
    assert "HostCertificate" not in device.drop_in.read_text()
    assert list(device.files.glob("host-*")) == []
    device.hosts.state, device.host = AuthorityState.CLOSED, pair
    device.update()
    assert "HostCertificate" in device.drop_in.read_text()
