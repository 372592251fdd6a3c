"""T7: an agent killed at any change of a file leaves the old state or the new one, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.agent.client import ClientInstaller
from dpki.agent.follow import KEYS
from dpki.agent.install import pair_name
from dpki.agent.once import run_once
from dpki.agent.rollback import bring_back
from dpki.bundle.seal import SealingSecrets
from dpki.certificates.krl import parse_krl
from dpki.certificates.ssh import SshCertificate
from dpki.config.news import Acknowledge, News
from dpki.config.sshd import Mode
from dpki.devices.keys import load_device_keys
from dpki.devices.prekeys import add_prekeys
from tests.agents import open_site
from tests.chain_world import open_world
from tests.device import Device, open_device
from tests.faults import killed_anywhere, run_and_die
from tests.outbound import Client


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def sshd_accepts(device: Device) -> None:
    device.stage.run(["/usr/sbin/sshd", "-t", "-f", device.main_config])


def is_revoked(device: Device, certificate: SshCertificate) -> bool:
    krl = parse_krl((device.files / "revoked.krl").read_bytes())
    return krl.is_revoked(device.users.blob, certificate.serial)


@pytest.mark.slow
def test_killed_anywhere_nobody_is_locked_out_or_let_in_again(device: Device) -> None:
    old, _ = device.sign()
    device.anchor(old)
    lasting, lasting_key = device.sign()
    device.anchor(lasting)
    device.update()
    new, _ = device.sign()
    device.anchor(new)
    device.users.revoked.add(old.serial)
    device.new_host_pair()
    name = device.host.certificate.hash.hex()[:16] if device.host else ""
    wanted = {
        f"host-{name}",
        f"host-{name}-cert.pub",
        "installed.cbor",
        "lock",
        "login.db",
        "login.py",
        "revoked.krl",
        "sessions",
        "user_ca.pub",
    }
    read_by_sshd = {device.drop_in.name, "login.db", "login.py", "revoked.krl", "user_ca.pub"}
    revoked, states = [], []
    for _ in killed_anywhere(device.update, device.directory):
        found = {name: text for name, text in contents(device).items() if name in read_by_sshd}
        if found not in states:
            states.append(found)
            sshd_accepts(device)
            assert device.login(lasting_key).status == 0, "nobody is locked out"
        revoked.append(is_revoked(device, old))
        device.update()
        assert is_revoked(device, old)
    assert len(revoked) > 30
    assert len(states) > 3
    assert revoked == sorted(revoked), "who was put out stays out"
    device.update()
    assert {path.name for path in device.files.iterdir()} == wanted


def contents(device: Device) -> dict[str, bytes]:
    """Return everything that lies there, but what carries a time of its own."""
    paths = [*device.files.rglob("*"), device.drop_in]
    return {
        path.name: path.read_bytes() for path in paths if path.is_file() and path.name != "lock"
    }


@pytest.mark.slow
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
    revoked = []
    for _ in killed_anywhere(device.update, device.directory):
        sshd_accepts(device)
        revoked.append(is_revoked(device, old))
        first = device.update()
        assert first.restored == (), "nobody else is blamed for what a killed run left"
    assert len(revoked) > 30
    assert revoked == sorted(revoked), "who was put out stays out"
    assert revoked[-1]
    device.update()
    assert device.update().changed == ()
    names = contents(device)
    assert len([name for name in names if name.startswith("host-")]) == 4
    assert {"previous.conf", "break_glass", device.stage.account} <= set(names)


@pytest.mark.slow
def test_killed_anywhere_while_it_remembers_it_forgets_nothing(tmp_path: Path) -> None:
    """The whole step on a real chain: its database, its keys, what it keeps and what it says."""
    with open_world(tmp_path) as world, open_site(world) as site:
        add_prekeys(site.folder / KEYS, 2)
        world.keys = load_device_keys(site.folder / KEYS)
        home = tmp_path / "told"
        home.mkdir()
        reader = SealingSecrets.generate().public.x25519
        site.configure(news=News(Acknowledge(str(home), reader)))
        world.anchor_users(world.sign_user())
        world.issue_host()
        run_once(site.folder)
        world.anchor_users(world.sign_user())
        world.writer.revoke(world.users.id, [1])
        host = world.issue_host(prekey=world.keys.prekeys[0])
        deaths = 0
        for deaths in killed_anywhere(
            lambda: run_once(site.folder), site.directory, below=site.folder
        ):
            report = run_once(site.folder)
            assert report.all_problems == (), deaths
            assert report.domains[0].host_serial == host.serial
            assert report.domains[0].certificates == 1
            assert site.krl.is_revoked(world.users.blob, 1)
            assert len(load_device_keys(site.folder / KEYS).prekeys) == 1
        assert deaths > 40


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

    def install() -> None:
        ClientInstaller(client.outbound).install(wanted, krl)

    for deaths in killed_anywhere(install, client.files.directory):
        device.stage.run(["/usr/bin/ssh", "-G", "-F", client.files.config, "host.invalid"])
        assert client.files.krl.read_bytes().startswith(b"SSHKRL\n\0")
        for line in client.files.config.read_text().splitlines():
            if "IdentityFile" in line:
                assert Path(line.split()[1]).exists(), deaths
        install()
        left = {path.name for path in client.files.directory.iterdir()}
        assert {name for name in left if name.startswith("client-")} == {
            f"client-{pair_name(new)}",
            f"client-{pair_name(new)}-cert.pub",
        }
        assert left == {path.name for path in client.files.installed()}
    assert deaths > 20
    client.update()
    assert client.enters
