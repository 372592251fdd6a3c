"""T1 at a real sshd: in comes what a CA signed and its operator anchored, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.model import Address, AuthorityKind, AuthorityState
from dpki.verification.revocations import revocation_list
from tests.device import Device, open_device
from tests.world import Ca, snapshot


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def enters(device: Device, key: Path) -> None:
    outcome = device.login(key)
    assert (outcome.status, outcome.stdout) == (0, "logged-in\n"), outcome.describe()


def refused_by_sshd(
    device: Device, key: Path, because: str, *, with_certificate: bool = True
) -> None:
    """The login fails, and sshd's own log says why."""
    outcome = device.login(key, with_certificate=with_certificate)
    assert outcome.status == 255, outcome.describe()
    assert "Permission denied" in outcome.stderr
    assert device.server is not None
    assert because in device.server.log.read_text()


def refused_by_the_command(device: Device, key: Path, because: str) -> None:
    """The login fails; the login command, asked as sshd asks it, names no one and says why."""
    outcome = device.login(key)
    assert outcome.status == 255, outcome.describe()
    assert "Permission denied" in outcome.stderr
    blob = key.with_name(f"{key.name}-cert.pub").read_text().split()[1]
    command = ["/usr/bin/python3", "-I", "-S", "-E", device.files / "login.py"]
    asked = device.stage.run(
        [*command, device.files / "login.db", device.stage.account, blob], expect=None
    )
    assert asked.stdout.strip() == ""
    assert because in asked.stderr


def test_signed_and_anchored_enters_and_signed_alone_does_not(device: Device) -> None:
    anchored, key = device.sign()
    device.anchor(anchored)
    _, thief = device.sign()
    device.update()
    enters(device, key)
    refused_by_the_command(device, thief, "not anchored")


def test_a_stolen_wallet_alone(device: Device) -> None:
    """Anchored by the operator's account, signed by a key that is no CA's."""
    forged, thief = device.sign(Ca.users())
    device.anchor(forged)
    device.update()
    refused_by_sshd(device, thief, "Failed publickey")


def test_a_wallet_of_one_ca_and_the_key_of_another(device: Device) -> None:
    second = Ca.users()
    second.registered_at = device.users.registered_at
    device.others.append(second)
    forged, thief = device.sign(second)
    device.anchor(forged)
    device.update()
    refused_by_the_command(device, thief, "not anchored")


def test_anchored_under_another_serial(device: Device) -> None:
    honest, _ = device.sign()
    device.anchor(honest)
    forged, thief = device.sign()
    device.known[0] = replace(
        device.known[0],
        entry=replace(device.known[0].entry, certificate_hash=forged.hash),
    )
    device.update()
    refused_by_the_command(device, thief, "not anchored")


def test_a_stolen_wallet_that_anchors_a_certificate_again(device: Device) -> None:
    """Under a second serial, and as a second CA's: neither harms, nor outlasts the revocation."""
    second = Ca.users()
    second.registered_at = device.users.registered_at
    device.others.append(second)
    certificate, key = device.sign()
    device.anchor(certificate)
    device.anchor(certificate)
    device.known.append(replace(device.known[0], authority=second.id))
    second.next_serial += 1
    device.update()
    enters(device, key)
    device.users.revoked.add(certificate.serial)
    device.update()
    refused_by_sshd(device, key, "revoked by file")
    # Nor with the KRL out of the way.
    (device.files / "revoked.krl").write_bytes(revocation_list(snapshot()))
    refused_by_the_command(device, key, "not anchored")


def test_anchored_for_another_device(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate, Address(b"\xbb" * 20))
    device.update()
    refused_by_the_command(device, key, "not anchored")


def test_a_stolen_wallet_and_a_stolen_ca_key_together_are_not_enough_under_watchdogs(
    device: Device,
) -> None:
    """Signed by the CA, anchored by its operator: let in once watchdogs confirmed, no sooner."""
    earlier, old_key = device.sign()
    device.anchor(earlier)
    device.users.watched(threshold=40)
    forged, thief = device.sign()
    device.anchor(forged)
    device.update()
    enters(device, old_key)
    without = (device.files / "revoked.krl").read_bytes()
    refused_by_sshd(device, thief, "revoked by file")
    # Nor with the KRL out of the way, nor with one watchdog too few.
    device.users.confirm(forged.serial, 39)
    device.update()
    assert (device.files / "revoked.krl").read_bytes() == without
    (device.files / "revoked.krl").write_bytes(revocation_list(snapshot(device.users)))
    refused_by_the_command(device, thief, "not anchored")
    device.users.confirm(forged.serial, 40)
    device.update()
    enters(device, thief)


def test_a_principal_that_opens_no_account_here(device: Device) -> None:
    certificate, key = device.sign(principal="cleaner")
    device.anchor(certificate)
    device.update()
    refused_by_sshd(device, key, "does not contain an authorized principal")


def test_revoked_is_refused_twice_over(device: Device) -> None:
    """By the KRL; and, were the KRL to let it pass, by the login command."""
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    before = (device.files / "revoked.krl").read_bytes()
    enters(device, key)
    device.users.revoked.add(certificate.serial)
    device.update()
    refused_by_sshd(device, key, "revoked by file")
    (device.files / "revoked.krl").write_bytes(before)
    refused_by_the_command(device, key, "not anchored, or revoked")


@pytest.mark.parametrize("state", [AuthorityState.SUSPENDED, AuthorityState.RETIRED])
def test_a_ca_that_counts_no_more(device: Device, state: AuthorityState) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    enters(device, key)
    device.users.state = state
    device.update()
    refused_by_sshd(device, key, "Failed publickey")


def test_a_closed_cas_certificates_still_enter(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    device.users.state = AuthorityState.CLOSED
    device.update()
    enters(device, key)


def test_an_index_that_is_too_old(device: Device) -> None:
    certificate, key = device.sign()
    device.anchor(certificate)
    device.update()
    enters(device, key)
    device.users.registered_at -= timedelta(hours=25)
    device.now -= timedelta(hours=25)
    device.update()
    refused_by_the_command(device, key, "index is too old")


def test_a_host_certificate_is_no_way_in(device: Device) -> None:
    device.users.kind = AuthorityKind.SSH_HOST
    certificate, key = device.sign()
    device.users.kind = AuthorityKind.SSH_USER
    device.anchor(certificate)
    device.update()
    refused_by_sshd(device, key, "Failed publickey")


def test_the_break_glass_key_works_with_the_index_gone_and_no_other_plain_key_does(
    device: Device,
) -> None:
    _, glass = device.sign()
    _, other = device.sign()
    device.break_glass = glass.with_name(f"{glass.name}.pub").read_text().strip()
    device.update()
    (device.files / "login.db").unlink()
    outcome = device.login(glass, with_certificate=False)
    assert (outcome.status, outcome.stdout) == (0, "logged-in\n"), outcome.describe()
    refused_by_sshd(device, other, "Failed publickey", with_certificate=False)
