"""T3: what somebody brings back by hand admits nobody, and is neither undone nor fought over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.agent.install import Installed, pair_name
from dpki.agent.observation import HostPair
from dpki.agent.rollback import SETTINGS, Candidate, bring_back, find_candidates, release
from dpki.cli.app import run
from dpki.config.device import save_device_config
from dpki.config.sshd import Mode
from dpki.errors import CheckedFalse, DpkiError, ServiceFailed, UsageError
from dpki.model import AuthorityState
from tests.device import Device, open_device


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        assert made.host is not None
        made.lead(made.host)
        runs(made)
        yield made


def runs(device: Device) -> Installed:
    device.update()
    return device.update()


def rotate(device: Device) -> tuple[HostPair, HostPair]:
    """Give it a newer pair; return both."""
    old = device.host
    assert old is not None
    new = device.new_host_pair()
    device.lead(new)
    runs(device)
    return old, new


def candidates(device: Device) -> dict[str, Candidate]:
    return {c.name: c for c in find_candidates(device.config, device.now)}


def shown_first(device: Device) -> str:
    lines = device.drop_in.read_text().splitlines()
    return next(line for line in lines if line.startswith("HostKey")).split("host-")[1]


def change_settings(device: Device) -> bytes:
    """Change what the drop-in says beyond host keys; return what it said."""
    before = device.drop_in.read_bytes()
    glass = device.sign()[1]
    device.break_glass = glass.with_name(f"{glass.name}.pub").read_text().strip()
    runs(device)
    return before


class TestHostPair:
    def test_it_is_held_until_a_newer_one_comes(self, device: Device) -> None:
        old, new = rotate(device)
        assert not candidates(device)[pair_name(old)].obstacle
        installed = bring_back(device.config, pair_name(old), device.now)
        assert shown_first(device) == pair_name(old)
        assert "brought back" in installed.held[0]
        for _ in range(3):
            installed = device.update()
            assert shown_first(device) == pair_name(old), "the agent does not undo it"
            assert installed.changed == ()
            assert installed.held
        assert candidates(device)[pair_name(old)].is_held
        device.host = replace(new, overlap=timedelta(hours=1))
        device.now += timedelta(hours=2)
        runs(device)
        assert shown_first(device) == pair_name(old), "its overlap does not end meanwhile"
        newest = device.new_host_pair()
        device.host = replace(newest, overlap=timedelta(hours=1))
        device.lead(newest)
        assert runs(device).held == ()
        assert shown_first(device) == pair_name(newest)
        names = {path.name for path in device.files.glob("host-*")}
        assert f"host-{pair_name(old)}" not in names, "its overlap had ended"
        assert f"host-{pair_name(new)}" in names

    def test_it_is_let_go(self, device: Device) -> None:
        old, new = rotate(device)
        bring_back(device.config, pair_name(old), device.now)
        assert release(device.config).held == ()
        assert shown_first(device) == pair_name(new)
        runs(device)
        assert shown_first(device) == pair_name(new)
        with pytest.raises(UsageError, match="nothing was brought back"):
            release(device.config)

    def test_sshd_shows_it(self, device: Device) -> None:
        certificate, key = device.sign()
        device.anchor(certificate)
        old, new = rotate(device)
        bring_back(device.config, pair_name(old), device.now)
        assert device.login(key).status == 0
        assert device.server is not None
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
        said = device.stage.run(
            ["ssh", "-v", "-F", "none", "-p", str(device.server.port)]
            + [word for option in options for word in ("-o", option)]
            + ["127.0.0.1"],
            expect=None,
        ).stderr
        (shown,) = [line for line in said.splitlines() if "Server host certificate:" in line]
        assert f"serial {old.certificate.serial} " in shown
        assert old.certificate.serial != new.certificate.serial

    @pytest.mark.parametrize("how", ["revoked", "suspended"])
    def test_a_revoked_one_comes_never_back(self, device: Device, how: str) -> None:
        old, new = rotate(device)
        if how == "revoked":
            device.hosts.revoked.add(old.certificate.serial)
        else:
            device.hosts.state = AuthorityState.SUSPENDED
        device.update()
        with pytest.raises((CheckedFalse, UsageError)):
            bring_back(device.config, pair_name(old), device.now)
        assert shown_first(device) == pair_name(new)

    def test_one_that_is_revoked_while_it_is_held_goes_at_once(self, device: Device) -> None:
        old, new = rotate(device)
        bring_back(device.config, pair_name(old), device.now)
        device.hosts.revoked.add(old.certificate.serial)
        assert runs(device).held == ()
        assert shown_first(device) == pair_name(new)
        assert not (device.files / f"host-{pair_name(old)}").exists()

    def test_an_erased_key_is_not_there(self, device: Device) -> None:
        old, _ = rotate(device)
        device.now += timedelta(days=1)
        runs(device)
        assert candidates(device) == {}
        with pytest.raises(UsageError, match="there is no"):
            bring_back(device.config, pair_name(old), device.now)

    def test_an_expired_one(self, device: Device) -> None:
        old, _ = rotate(device)
        later = device.now + timedelta(days=1)
        (found,) = find_candidates(device.config, later)
        assert found.obstacle == "its certificate has expired"
        with pytest.raises(CheckedFalse, match="expired"):
            bring_back(device.config, pair_name(old), later)

    def test_without_a_krl_nobody_knows(self, device: Device) -> None:
        old, _ = rotate(device)
        (device.files / "revoked.krl").write_bytes(b"damaged")
        assert "nobody knows" in candidates(device)[pair_name(old)].obstacle


class TestSettings:
    def test_they_are_held_until_the_configuration_changes(self, device: Device) -> None:
        before = change_settings(device)
        (found,) = candidates(device).values()
        assert "AuthorizedKeysFile" in found.describes
        bring_back(device.config, SETTINGS, device.now)
        assert device.drop_in.read_bytes() == before
        for _ in range(3):
            installed = device.update()
            assert device.drop_in.read_bytes() == before
            assert installed.held
        device.break_glass = None
        assert runs(device).held == ()

    def test_a_new_host_key_comes_all_the_same(self, device: Device) -> None:
        change_settings(device)
        bring_back(device.config, SETTINGS, device.now)
        _, new = rotate(device)
        assert shown_first(device) == pair_name(new)
        assert device.update().held

    def test_they_are_let_go(self, device: Device) -> None:
        change_settings(device)
        after = device.drop_in.read_bytes()
        bring_back(device.config, SETTINGS, device.now)
        release(device.config)
        assert device.drop_in.read_bytes() == after
        assert SETTINGS in candidates(device), "they can be brought back again"

    def test_a_break_glass_key_that_was_taken_away_does_not_come_back(self, device: Device) -> None:
        change_settings(device)
        device.break_glass = None
        runs(device)
        bring_back(device.config, SETTINGS, device.now)
        assert "break_glass" in device.drop_in.read_text()
        assert not (device.files / "break_glass").exists()
        device.update()
        assert not (device.files / "break_glass").exists()

    def test_those_of_another_mode_do_not(self, device: Device) -> None:
        device.mode = Mode.FILES
        runs(device)
        assert "another mode (strict)" in candidates(device)[SETTINGS].obstacle
        with pytest.raises(CheckedFalse, match="set mode in device"):
            bring_back(device.config, SETTINGS, device.now)

    def test_what_somebody_else_wrote_does_not(self, device: Device) -> None:
        """Else whoever could once write the drop-in could have it brought back later."""
        device.drop_in.write_text("PasswordAuthentication yes\n")
        runs(device)
        assert candidates(device) == {}

    def test_nothing_is_held_where_sshd_does_not_take_it(self, device: Device) -> None:
        change_settings(device)
        after = device.drop_in.read_bytes()
        device.main_config.write_text(device.main_lines() + "NoSuchOption yes\n")
        with pytest.raises(ServiceFailed):
            bring_back(device.config, SETTINGS, device.now)
        assert device.drop_in.read_bytes() == after
        assert not (device.files / "hold.cbor").exists()


def test_a_krl_and_a_ca_list_are_no_candidates(device: Device) -> None:
    certificate, _ = device.sign()
    device.anchor(certificate)
    device.update()
    device.users.revoked.add(certificate.serial)
    rotate(device)
    change_settings(device)
    names = set(candidates(device))
    assert len(names) == 2
    assert SETTINGS in names
    for name in ("revoked.krl", "user_ca.pub", "login.db", "installed.cbor"):
        with pytest.raises(UsageError):
            bring_back(device.config, name, device.now)


def test_the_reload_hook_that_fails_leaves_nothing_held(device: Device) -> None:
    old, _ = rotate(device)
    config = device.config
    sshd = replace(config.sshd, reload=type(config.sshd.reload)(("false",)))
    with pytest.raises(DpkiError, match="reload hook"):
        bring_back(replace(config, sshd=sshd), pair_name(old), device.now)
    assert not (device.files / "hold.cbor").exists()


def test_the_command(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    def asked(*arguments: str, status: int = 0) -> dict[str, object]:
        folder = ["--dir", str(device.directory), "--json"]
        assert run(["agent", "rollback-files", *arguments, *folder]) == status
        out = capsys.readouterr().out
        return dict(json.loads(out)) if out else {}

    save_device_config(device.directory, device.config)
    assert asked() == {"candidates": []}
    old, new = rotate(device)
    (found,) = asked()["candidates"]  # type: ignore[misc]
    assert found["name"] == pair_name(old)
    assert asked(pair_name(old), "--dry-run")["done"] is False
    assert shown_first(device) == pair_name(new)
    assert asked(pair_name(old))["done"] is True
    assert shown_first(device) == pair_name(old)
    assert asked("--release", "--dry-run")["done"] is False
    assert asked("--release")["held"] == []
    assert shown_first(device) == pair_name(new)
    asked("--release", status=2)
    asked("0" * 16, status=2)
    asked("0" * 16, "--release", status=2)
