"""T1 in files mode: what sshd alone checks, what it does not, and why it is called reduced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dpki.config.device import Outage
from dpki.config.sshd import Mode
from dpki.model import Address
from tests.device import Device, open_device
from tests.openssh import keygen, write_private_key
from tests.world import Ca

OTHER = Address(b"\xbb" * 20)


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        made.mode = Mode.FILES
        yield made


def enters(device: Device, key: object) -> bool:
    outcome = device.login(key)  # type: ignore[arg-type]
    assert outcome.status in (0, 255), outcome.describe()
    return outcome.status == 0


def test_without_a_fence_what_is_signed_and_not_anchored_gets_in(device: Device) -> None:
    """Why it is called reduced."""
    anchored, key = device.sign()
    device.anchor(anchored)
    installed = device.update()
    assert installed.mode.label == "reduced (files)"
    assert enters(device, key)
    _, never_anchored = device.sign()
    assert enters(device, never_anchored)


def test_the_fence_refuses_it_until_it_is_anchored_and_the_krl_was_renewed(device: Device) -> None:
    device.fence = True
    first, first_key = device.sign()
    device.anchor(first)
    device.update()
    assert enters(device, first_key)
    second, second_key = device.sign()
    assert not enters(device, second_key)
    device.anchor(second)
    assert not enters(device, second_key), "what it costs: the agent must have run"
    device.update()
    device.update()
    assert enters(device, second_key)
    assert enters(device, first_key)


def test_the_fence_does_not_stop_a_thief_of_the_ca_key(device: Device) -> None:
    """With the serial of an anchored certificate, or with serial 0, which no KRL can name."""
    device.fence = True
    anchored, _ = device.sign()
    device.anchor(anchored)
    device.update()
    _, forged = device.sign(serial=anchored.serial)
    assert enters(device, forged)
    ca = write_private_key(device.stage.directory / "ca", device.users.key)
    public = forged.with_name(f"{forged.name}.pub")
    assert keygen("-q", "-s", ca, "-I", "thief", "-n", "ops", "-z", "0", public).returncode == 0
    assert enters(device, forged)
    _, forged = device.sign(serial=77)
    assert not enters(device, forged)


def test_the_other_refusals_hold(device: Device) -> None:
    """Revoked, another principal, another CA, for another device, a bare key, an expired one."""
    good, key = device.sign()
    device.anchor(good)
    revoked, revoked_key = device.sign()
    device.anchor(revoked)
    elsewhere, elsewhere_key = device.sign()
    device.anchor(elsewhere, OTHER)
    other, other_key = device.sign(principal="web")
    device.anchor(other)
    device.users.revoked.add(revoked.serial)
    device.update()
    assert enters(device, key)
    for refused in (revoked_key, elsewhere_key, other_key):
        assert not enters(device, refused)
    assert not enters(device, device.sign(by=Ca.users())[1])
    assert device.login(key, with_certificate=False).status == 255
    device.users.revoked.add(good.serial)
    device.update()
    assert not enters(device, key)


def test_a_principal_counts_only_with_the_ca_that_it_was_granted_to(device: Device) -> None:
    """With TrustedUserCAKeys and AuthorizedPrincipalsFile each CA could vouch for each."""
    second = Ca.users()
    second.registered_at = device.users.registered_at
    device.others.append(second)
    certificate, key = device.sign(by=second)
    second.anchor([certificate])
    device.update()
    assert not enters(device, key)


def test_an_outage_closes_it_by_this_machines_clock(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    assert enters(device, key)
    device.users.registered_at -= timedelta(days=2)
    device.now -= timedelta(hours=24, minutes=1)
    device.update()
    assert not enters(device, key)
    device.outage = Outage.OPEN
    device.update()
    assert enters(device, key)


def test_the_break_glass_key_and_no_other_plain_key_gets_in(device: Device) -> None:
    _, glass = device.sign()
    _, other = device.sign()
    device.break_glass = glass.with_name(f"{glass.name}.pub").read_text().strip()
    device.update()
    assert device.login(glass, with_certificate=False).status == 0
    assert device.login(other, with_certificate=False).status == 255
    device.break_glass = None
    device.update()
    assert not (device.files / "break_glass").exists(), "nothing brings it back"


def test_from_files_mode_to_strict_mode_nobody_falls_between(device: Device) -> None:
    """The accounts' files, and the fence, stay until sshd was told that it needs none."""
    device.fence = True
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    device.update()
    account = device.files / "accounts" / device.stage.account
    fenced = (device.files / "revoked.krl").read_bytes()
    device.mode, device.fence = Mode.STRICT, False
    assert device.update().reloaded
    assert account.exists()
    assert (device.files / "revoked.krl").read_bytes() == fenced
    device.update()
    assert not account.parent.exists()
    assert (device.files / "revoked.krl").read_bytes() != fenced
    assert enters(device, key)
    assert not enters(device, device.sign()[1])


def test_a_file_that_somebody_put_beside_the_accounts_is_removed_and_told(device: Device) -> None:
    device.update()
    device.update()
    planted = device.files / "accounts" / "daemon"
    planted.write_text("ssh-ed25519 AAAA way-in\n")
    installed = device.update()
    assert not planted.exists()
    assert installed.restored == ("accounts/daemon",)
    account = device.files / "accounts" / device.stage.account
    before = account.read_bytes()
    account.write_bytes(before + b"ssh-ed25519 AAAA way-in\n")
    assert device.update().restored == (f"accounts/{device.stage.account}",)
    assert account.read_bytes() == before


def test_the_expiry_is_in_utc(device: Device) -> None:
    device.update()
    line = (device.files / "accounts" / device.stage.account).read_text()
    until = (device.now + timedelta(hours=24)).astimezone(UTC)
    assert f'expiry-time="{until:%Y%m%d%H%M%S}Z"' in line
    assert until > datetime.now(UTC)
