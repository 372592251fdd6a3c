"""T7: an agent killed at any change of a file leaves the old state or the new one, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.agent.install import pair_name
from dpki.agent.rollback import bring_back
from dpki.certificates.krl import parse_krl
from dpki.config.sshd import Mode
from tests.device import Device, open_device
from tests.faults import run_and_die
from tests.outbound import Client


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


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
    while run_and_die(device.update, deaths + 1):
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


def contents(device: Device) -> dict[str, bytes]:
    """Return everything that lies there, but what carries a time of its own."""
    paths = [*device.files.rglob("*"), device.drop_in]
    return {
        path.name: path.read_bytes() for path in paths if path.is_file() and path.name != "lock"
    }


def test_killed_anywhere_in_files_mode_and_during_an_overlap(device: Device) -> None:
    """A revocation, a rotation, other settings, at once: none is half done in the end."""
    device.mode, device.fence = Mode.FILES, True
    assert device.host is not None
    device.lead(device.host)
    old, _ = device.sign()
    device.anchor(old)
    device.update()
    device.update()
    device.users.revoked.add(old.serial)
    new, _ = device.sign()
    device.anchor(new)
    device.lead(device.new_host_pair())
    glass = device.sign()[1]
    device.break_glass = glass.with_name(f"{glass.name}.pub").read_text().strip()
    deaths, was_revoked = 0, False
    while run_and_die(device.update, deaths + 1):
        deaths += 1
        sshd_accepts(device)
        is_revoked = parse_krl((device.files / "revoked.krl").read_bytes()).is_revoked(
            device.users.blob, old.serial
        )
        assert is_revoked or not was_revoked
        was_revoked = is_revoked
    assert deaths > 10
    assert was_revoked
    first = device.update()
    assert first.restored == (), "nobody else is blamed for what a killed run left"
    device.update()
    assert device.update().changed == ()
    names = contents(device)
    assert len([name for name in names if name.startswith("host-")]) == 4
    assert {"previous.conf", "break_glass", device.stage.account} <= set(names)


def test_a_rollback_killed_anywhere_is_done_or_not(device: Device) -> None:
    assert device.host is not None
    old = device.host
    device.lead(old)
    device.update()
    device.update()
    new = device.new_host_pair()
    device.lead(new)
    device.update()
    device.update()
    before = {path: path.read_bytes() for path in (device.drop_in, device.files / "installed.cbor")}
    deaths, firsts = 0, set()
    while run_and_die(lambda: bring_back(device.config, pair_name(old), device.now), deaths + 1):
        deaths += 1
        sshd_accepts(device)
        device.update()
        shown = device.drop_in.read_text().split("HostKey ")[1].split("\n")[0]
        held = (device.files / "hold.cbor").exists()
        assert shown.endswith(pair_name(old if held else new))
        firsts.add(held)
        (device.files / "hold.cbor").unlink(missing_ok=True)
        for path, content in before.items():
            path.write_bytes(content)
    assert deaths > 5
    assert firsts == {True, False}


def test_killed_anywhere_the_ssh_client_goes_by_the_old_files_or_the_new_ones(
    device: Device,
) -> None:
    client = Client(device)
    client.update()
    assert client.enters
    before = client.pair
    new = client.certify()
    device.users.revoked.add(before.certificate.serial if before else 0)
    plan = client.plan()
    assert plan.outward is not None
    wanted, krl, deaths = plan.outward, plan.krl, 0
    while run_and_die(lambda: client.installer.install(wanted, krl), deaths + 1):
        deaths += 1
        device.stage.run(["/usr/bin/ssh", "-G", "-F", client.files.config, "host.invalid"])
        assert client.files.krl.read_bytes().startswith(b"SSHKRL\n\0")
        for line in client.files.config.read_text().splitlines():
            if "IdentityFile" in line:
                assert Path(line.split()[1]).exists(), deaths
    assert deaths > 5
    client.update()
    assert client.enters
    left = {path.name for path in client.files.directory.iterdir()}
    assert {name for name in left if name.startswith("client-")} == {
        f"client-{pair_name(new)}",
        f"client-{pair_name(new)}-cert.pub",
    }
    assert left == {path.name for path in client.files.installed()}
