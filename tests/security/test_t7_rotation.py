"""T7: a device rotates by itself: old and new side by side for the overlap, then the old private
key is erased, wherever it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.follow import Seen
from dpki.agent.install import Installed, pair_name
from dpki.agent.installation import Installation
from dpki.agent.observation import HostPair, Known, Observation
from dpki.chain.quorum import Evidence
from dpki.config.device import FIRST
from dpki.devices.keys import (
    add_host_key,
    generate_device_keys,
    load_device_keys,
    save_device_keys,
)
from dpki.model import DeviceState, Entry, Hash32
from dpki.verification.verdict import Finding, Verdict
from tests.device import Device, open_device, private_key_file
from tests.world import block, snapshot


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        assert made.host is not None
        made.lead(made.host)
        made.update()
        made.update()
        yield made


def next_pair(device: Device, **fields: object) -> tuple[HostPair, HostPair]:
    old = device.host
    assert old is not None
    new = device.new_host_pair()
    device.host = replace(new, **fields)  # type: ignore[arg-type]
    device.lead(device.host)
    return old, device.host


def files(device: Device, pair: HostPair) -> tuple[Path, Path]:
    name = pair_name(pair)
    return device.files / f"host-{name}", device.files / f"host-{name}-cert.pub"


def are_there(device: Device, pair: HostPair) -> bool:
    there = {path.exists() for path in files(device, pair)}
    assert len(there) == 1, "a pair is never half there"
    return there.pop()


def runs(device: Device) -> Installed:
    device.update()
    return device.update()


def test_side_by_side_for_the_overlap_and_then_erased(device: Device) -> None:
    old, new = next_pair(device)
    installed = runs(device)
    assert are_there(device, old)
    assert are_there(device, new)
    lines = device.drop_in.read_text().splitlines()
    keys = [line.split("host-")[1] for line in lines if line.startswith("HostKey")]
    assert keys == [pair_name(new), pair_name(old)], "of one type, sshd takes the first"
    assert installed.due == device.now + timedelta(days=1)
    device.now += timedelta(hours=23)
    runs(device)
    assert are_there(device, old)
    device.now += timedelta(hours=1)
    installed = runs(device)
    assert not are_there(device, old)
    assert are_there(device, new)
    assert installed.due is None
    assert pair_name(old) not in device.drop_in.read_text()


def test_the_private_key_goes_only_after_sshd_was_told(device: Device) -> None:
    old, _ = next_pair(device)
    runs(device)
    device.now += timedelta(days=1)
    installed = device.update()
    assert installed.reloaded
    assert are_there(device, old), "until it has obeyed, sshd reads it at each connection"
    device.update()
    assert not are_there(device, old)


def test_the_profiles_overlap_goes_before_the_devices(device: Device) -> None:
    old, _ = next_pair(device, overlap=timedelta(hours=2))
    runs(device)
    device.now += timedelta(hours=2)
    runs(device)
    assert not are_there(device, old)


def test_a_pair_whose_certificate_was_revoked_goes_at_once(device: Device) -> None:
    old, _ = next_pair(device)
    runs(device)
    device.hosts.revoked.add(old.certificate.serial)
    runs(device)
    assert not are_there(device, old)


def test_a_newest_pair_that_can_not_be_had_now_leaves_the_one_that_is_there(
    device: Device,
) -> None:
    """Its bundle is nowhere to be had: better the one that still counts than none."""
    assert device.host is not None
    pair, device.host = device.host, None
    runs(device)
    assert are_there(device, pair)
    assert pair_name(pair) in device.drop_in.read_text()
    device.hosts.revoked.add(pair.certificate.serial)
    runs(device)
    assert not are_there(device, pair)


def test_a_clock_that_jumps_changes_nothing(device: Device) -> None:
    """The overlap is the chain's time; here the device's clock is not even asked."""
    old, _ = next_pair(device)
    runs(device)
    device.now -= timedelta(hours=6)
    runs(device)
    assert are_there(device, old)
    device.now += timedelta(hours=6) + timedelta(days=1)
    runs(device)
    assert not are_there(device, old)


def test_a_half_pair_is_completed_or_removed(device: Device) -> None:
    old, new = next_pair(device)
    runs(device)
    files(device, new)[0].unlink()
    files(device, old)[1].unlink()
    device.update()
    assert are_there(device, new)
    device.update()
    assert not are_there(device, old)
    assert pair_name(old) not in device.drop_in.read_text()


def test_both_certificates_of_one_key_and_sshd_shows_the_new_one(device: Device) -> None:
    """The host CA rotates, the device's key stays."""
    assert device.host is not None
    old = device.host
    certificate, _ = device.hosts.issue(
        device.known[0].entry.device,
        principals=old.certificate.principals,
        subject=old.certificate.subject_key,
        valid_after=device.now - timedelta(minutes=5),
        valid_before=device.now + timedelta(days=1),
    )
    device.host = replace(old, certificate=certificate)
    device.lead(device.host)
    runs(device)
    assert are_there(device, old)
    assert device.drop_in.read_text().count("Host") == 3, "HostbasedAuthentication among them"
    assert pair_name(device.host) in device.drop_in.read_text()


def test_a_key_that_was_made_on_the_device_is_erased_too(device: Device) -> None:
    """After its overlap; the newest, which waits for its certificate, stays."""
    folder = device.directory / "agent"
    folder.mkdir(mode=0o700)
    save_device_keys(folder / "keys", generate_device_keys())
    address = load_device_keys(folder / "keys").address
    known: list[Known] = []
    installation = Installation(folder, device.config)

    def certify(key: Ed25519PrivateKey) -> HostPair:
        certificate, _ = device.hosts.issue(
            address,
            principals=["pump-17.example"],
            subject=key,
            valid_after=device.now - timedelta(minutes=5),
            valid_before=device.now + timedelta(days=9),
        )
        entry = Entry(certificate.hash, address, certificate.valid_before, Hash32.zero())
        known.append(Known(device.hosts.id, certificate.serial, entry, 50))
        return HostPair(certificate, private_key_file(key), Finding(Verdict.VALID, ""))

    def run(pair: HostPair) -> list[str]:
        for _ in range(3):
            at = block(100, device.now)
            cas = (device.users, device.hosts)
            seen = snapshot(*cas, at=at, devices={address: DeviceState.ACTIVE})
            observation = Observation(seen, at, tuple(known), pair, ())
            look = Seen(observation, Evidence(1, 1), device.now)
            installation.update({FIRST: look}, {}, device.now)
        return sorted(path.name for path in (folder / "keys/ssh_host").iterdir())

    (first,) = load_device_keys(folder / "keys").ssh_host
    assert run(certify(first)) == ["1.key"]
    pair = certify(add_host_key(folder / "keys"))
    assert run(pair) == ["1.key", "2.key"]
    add_host_key(folder / "keys")
    device.now += timedelta(days=1)
    assert run(pair) == ["2.key", "3.key"]
    assert load_device_keys(folder / "keys").address == address
