"""T8: sshd never ends up open by our doing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from dpki.agent import sshd
from dpki.errors import ConfigError, DpkiError, ServiceFailed
from tests.device import Device, open_device, private_key_file


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def state(device: Device) -> dict[str, bytes]:
    """Return everything that sshd reads."""
    found = {path.name: path.read_bytes() for path in device.files.glob("*.*")}
    found |= {path.name: path.read_bytes() for path in device.files.glob("host-*")}
    del found["installed.cbor"]
    if device.drop_in.exists():
        found["drop-in"] = device.drop_in.read_bytes()
    return found


def test_strict_mode_is_what_sshd_says_is_in_force(device: Device) -> None:
    device.update()
    output = device.stage.run(
        [
            sshd_binary(),
            "-T",
            "-f",
            device.main_config,
            "-C",
            f"user={device.stage.account},host=x,addr=::1",
        ]
    ).stdout
    for line in (
        f"trustedusercakeys {device.files}/user_ca.pub",
        f"revokedkeys {device.files}/revoked.krl",
        "authorizedprincipalsfile none",
        "authorizedkeysfile none",
        "authorizedkeyscommand none",
        "authenticationmethods publickey",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
    ):
        assert f"\n{line}\n" in f"\n{output}", line


def sshd_binary() -> Path:
    return Path("/usr/sbin/sshd")


def test_an_empty_krl_is_never_installed(tmp_path: Path) -> None:
    (tmp_path / "krl").touch()
    with pytest.raises(DpkiError, match="empty"):
        sshd.verify_krl(tmp_path / "krl")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "header only"])
def test_a_corrupt_krl_is_never_installed(device: Device, damage: str) -> None:
    device.users.revoked_below = 10
    device.users.next_serial = 10
    device.update()
    good = (device.files / "revoked.krl").read_bytes()
    bad = {"truncated": good[:-3], "garbage": b"x" * 100, "header only": good[:20]}[damage]
    file = device.directory / "candidate"
    file.write_bytes(bad)
    with pytest.raises(ServiceFailed, match="OpenSSH refuses"):
        sshd.verify_krl(file)
    file.write_bytes(good)
    sshd.verify_krl(file)


@pytest.mark.parametrize(
    "other",
    [
        "Match User {account}\n  AuthorizedKeysFile .ssh/authorized_keys\n",
        "Match all\n  AuthorizedPrincipalsFile /etc/principals\n",
        "Match Address ::1\n  PasswordAuthentication yes\n",
        "Match Address 10.0.0.0/8,!10.1.0.0/16\n  PasswordAuthentication yes\n",
        "Match address=192.168.?.*  # at home\n  PasswordAuthentication yes\n",
        "Match User {account} Host *.example.com\n  PasswordAuthentication yes\n",
        'Match LocalPort "2222" LocalAddress 10.0.0.1\n  PasswordAuthentication yes\n',
    ],
)
def test_a_setting_that_overrides_ours_is_found(device: Device, other: str) -> None:
    """A Match block can't be overridden by a drop-in that has none, so it is refused."""
    lines = other.format(account=device.stage.account)
    device.main_config.write_text(f"{lines}Match all\n{device.main_lines()}")
    with pytest.raises(ConfigError, match=r"is .* not"):
        device.update()
    assert not device.drop_in.exists()


@pytest.mark.parametrize(
    "other",
    [
        "Match LocalPort 2222 RDomain office\n  MaxSessions 3\n",
        "Match Address 10.0.0.0/8 User somebody-else\n  PasswordAuthentication yes\n",
    ],
)
def test_a_block_that_overrides_nothing_of_ours_is_nobodys_business(
    device: Device, other: str
) -> None:
    device.main_config.write_text(f"{device.main_lines()}{other}")
    assert device.update().drift == ()


def test_a_main_configuration_that_does_not_include_the_drop_in(device: Device) -> None:
    device.main_config.write_text("UsePAM no\n")
    with pytest.raises(ConfigError) as caught:
        device.update()
    assert "include the dpki drop-in" in caught.value.hint
    assert not device.drop_in.exists()


def test_the_earlier_drop_in_comes_back(device: Device) -> None:
    device.update()
    before = device.drop_in.read_bytes()
    device.new_host_pair()
    device.main_config.write_text("UsePAM no\n")
    with pytest.raises(ConfigError):
        device.update()
    assert device.drop_in.read_bytes() == before


def test_a_configuration_that_sshd_refuses_is_not_installed(device: Device) -> None:
    device.update()
    before = state(device)
    device.main_config.write_text(device.main_lines() + "NoSuchOption yes\n")
    pair = device.new_host_pair()
    with pytest.raises(ServiceFailed, match="sshd refuses"):
        device.update()
    after = state(device)
    # The new pair lies there, unused; what sshd reads is what it was.
    unused = {f"host-{pair.certificate.hash.hex()[:16]}{end}" for end in ("", "-cert.pub")}
    assert {name: data for name, data in after.items() if name not in unused} == before


def test_a_folder_that_others_can_change_is_refused(device: Device) -> None:
    device.files.mkdir()
    device.files.chmod(0o777)
    with pytest.raises(ConfigError, match="changed by others"):
        device.update()
    assert list(device.files.iterdir()) == []


def test_nobody_is_a_legal_answer(device: Device) -> None:
    """An empty list of CAs: sshd starts, and refuses everyone."""
    certificate, key = device.sign()
    device.anchor(certificate)
    device.users.registered_at = device.now.replace(year=device.now.year + 1)
    device.update()
    assert (device.files / "user_ca.pub").read_bytes() == b""
    assert device.login(key).status == 255


def test_no_private_key_is_readable_by_others(device: Device) -> None:
    device.update()
    modes = {path.name: path.stat().st_mode & 0o777 for path in device.files.iterdir()}
    assert (modes.pop("installed.cbor"), modes.pop("lock")) == (0o600, 0o600)
    assert modes.pop("sessions") == 0o700
    private = [name for name in modes if name.startswith("host-") and not name.endswith(".pub")]
    assert len(private) == 1
    assert modes.pop(private[0]) == 0o600
    assert set(modes.values()) == {0o644}


def test_installing_twice_changes_nothing(device: Device) -> None:
    first = device.update()
    before = state(device)
    assert "10-dpki.conf" in first.changed
    assert first.reloaded
    again = device.update()
    assert (again.changed, again.reloaded) == ((), False)
    assert state(device) == before


def test_the_same_host_key_in_another_spelling_is_left_alone(device: Device) -> None:
    """OpenSSH's key files carry random bytes: the same key never looks the same twice."""
    device.update()
    before = state(device)
    assert device.host is not None
    key = load_ssh_private_key(device.host.key, None)
    assert isinstance(key, Ed25519PrivateKey)
    again = private_key_file(key)
    assert again != device.host.key
    device.host = replace(device.host, key=again)
    assert device.update().changed == ()
    assert state(device) == before


def test_the_old_host_pair_stays_until_sshd_was_told_of_the_new(device: Device) -> None:
    device.update()
    old = {path.name for path in device.files.glob("host-*")}
    device.new_host_pair()
    device.update()
    assert old < {path.name for path in device.files.glob("host-*")}
    device.update()
    assert not old & {path.name for path in device.files.glob("host-*")}


def test_the_folder_that_sshd_wants_is_as_its_own_unit_makes_it(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's unit makes everything private, and it is not the agent's alone."""
    folder = tmp_path / "sshd"
    monkeypatch.setattr(sshd, "_SEPARATION", folder)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    before = os.umask(0o077)
    try:
        sshd.verify_starts(sshd_binary(), device.main_config)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    folder.chmod(0o700)
    sshd.verify_starts(sshd_binary(), device.main_config)
    assert folder.stat().st_mode & 0o777 == 0o700, "somebody's, and as they left it"
