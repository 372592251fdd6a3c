"""T7: an agent killed at any change of a file leaves the old state or the new one, and goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.device import Device, open_device

CHANGES = {"os.rename", "os.remove", "os.mkdir"}


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def run_and_die(device: Device, at: int) -> bool:
    """Update in a child that is killed right before its `at`-th change; return whether it was."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            is_write = (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            )
            if event in CHANGES or is_write:
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            device.update()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def sshd_accepts(device: Device) -> None:
    device.stage.run(["/usr/sbin/sshd", "-t", "-f", device.main_config])


def test_killed_anywhere_the_old_login_or_the_new_one_works(device: Device) -> None:
    old, old_key = device.sign()
    device.anchor(old)
    device.update()
    assert device.login(old_key).status == 0
    new, _ = device.sign()
    device.anchor(new)
    device.users.revoked.add(old.serial)
    device.new_host_pair()
    deaths = 0
    while run_and_die(device, deaths + 1):
        deaths += 1
        sshd_accepts(device)
        krl = (device.files / "revoked.krl").read_bytes()
        assert krl.startswith(b"SSHKRL\n\0")
    assert deaths > 10
    device.update()
    left = sorted(path.name for path in device.files.iterdir())
    name = device.host.certificate.hash.hex()[:16] if device.host else ""
    assert left == sorted(
        [
            f"host-{name}",
            f"host-{name}-cert.pub",
            "installed.cbor",
            "lock",
            "login.db",
            "login.py",
            "revoked.krl",
            "sessions",
            "user_ca.pub",
        ]
    )
