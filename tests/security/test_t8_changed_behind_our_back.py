"""T8: what others change in sshd's configuration, or in our files, is noticed; ours is restored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent import disk, enforcement
from dpki.agent.drift import connections
from dpki.agent.host import Host, plan_uninstall
from dpki.agent.install import Installed, Installer
from dpki.agent.unit import render_unit, writable_paths
from dpki.config.sshd import CommandHook
from dpki.errors import ServiceFailed
from tests.device import Device, open_device
from tests.fakes.systemd import FakeSystemd
from tests.small_disk import in_a_sandbox


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


@dataclass
class Daemon:
    """An installer that lives for many blocks, with a clock of its own."""

    device: Device
    seconds: float = 0.0
    asked: int = 0

    def __post_init__(self) -> None:
        self.installer = Installer(self.device.config, clock=lambda: self.seconds)

    def block(self) -> Installed:
        return self.installer.install(self.device.plan())


@pytest.fixture
def daemon(device: Device, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon(device)
    really = enforcement.verify_effective

    def counted(*arguments: object) -> None:
        made.asked += 1
        really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(enforcement, "verify_effective", counted)
    made.block()
    assert made.block().settled
    made.asked = 0
    return made


def test_a_daemon_touches_nothing_while_nothing_changes(daemon: Daemon) -> None:
    """Not a file is written, and sshd is not asked: a flash card lasts, and the CPU rests."""
    device = daemon.device

    def stats() -> dict[str, tuple[int, int]]:
        paths = [*device.files.iterdir(), device.drop_in, device.files]
        return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in paths}

    before = stats()
    for _ in range(10):
        device.now += timedelta(seconds=2)
        installed = daemon.block()
        assert (installed.changed, installed.reloaded) == ((), False)
    assert (stats(), daemon.asked) == (before, 0)
    device.now += timedelta(minutes=5)
    assert daemon.block().changed == ("login.db",), "how old it is must show in time"
    assert daemon.asked == 0


def test_sshd_is_asked_from_time_to_time_all_the_same(daemon: Daemon) -> None:
    daemon.seconds += enforcement.RECHECK.total_seconds()
    daemon.block()
    assert daemon.asked == len(daemon.device.config.accounts)
    daemon.block()
    assert daemon.asked == len(daemon.device.config.accounts)


def test_another_drop_in_that_undoes_ours_is_told_until_it_is_gone(daemon: Daemon) -> None:
    device = daemon.device
    folder = device.directory / "sshd_config.d"
    folder.mkdir()
    lines = device.main_lines()
    device.main_config.write_text(f"Include {folder}/*.conf\n{lines}")
    assert daemon.block().drift == ()
    (folder / "00-cloud-init.conf").write_text("PasswordAuthentication yes\n")
    for _ in range(2):
        (drift,) = daemon.block().drift
        assert "passwordauthentication for account" in drift
        assert "is 'yes', not 'no'" in drift
    # What the chain says is installed all the same: a revocation must not wait for it.
    certificate, _ = device.sign()
    device.anchor(certificate)
    device.users.revoked.add(certificate.serial)
    installed = daemon.block()
    assert "revoked.krl" in installed.changed
    assert installed.drift
    (folder / "00-cloud-init.conf").unlink()
    assert daemon.block().drift == ()


def test_each_account_for_which_it_is_undone_is_told(daemon: Daemon) -> None:
    device = daemon.device
    both = {device.stage.account: (), "nobody": ()}
    config = replace(device.config, accounts=both)
    installer = Installer(config)
    installer.install(device.plan())
    device.main_config.write_text(
        f"Match all\n  PasswordAuthentication yes\nMatch all\n{device.main_lines()}"
    )
    drift = installer.install(device.plan()).drift
    assert [
        account for account in sorted(both) for said in drift if f"account {account} " in said
    ] == sorted(both)


def test_a_configuration_that_sshd_no_longer_accepts_is_told(daemon: Daemon) -> None:
    device = daemon.device
    device.main_config.write_text(device.main_lines() + "NoSuchOption yes\n")
    (drift,) = daemon.block().drift
    assert "sshd does not accept its configuration" in drift


@pytest.mark.parametrize("name", ["revoked.krl", "login.db", "login.py", "user_ca.pub", "drop-in"])
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_our_files_are_restored_and_it_is_told(daemon: Daemon, name: str, how: str) -> None:
    device = daemon.device
    path = device.drop_in if name == "drop-in" else device.files / name
    before = path.read_bytes()
    if how == "changed":
        path.write_bytes(before + b"\n# something else\n")
    else:
        path.unlink()
    installed = daemon.block()
    assert installed.restored == (name,)
    assert path.read_bytes() == before
    assert daemon.block().restored == ()


def test_what_we_change_ourselves_is_nobody_elses(daemon: Daemon) -> None:
    device = daemon.device
    certificate, _ = device.sign()
    device.anchor(certificate)
    assert daemon.block().restored == ()
    device.users.revoked.add(certificate.serial)
    device.new_host_pair()
    assert daemon.block().restored == ()
    assert daemon.block().restored == ()


def test_an_agent_started_anew_sees_it_too(device: Device) -> None:
    """`dpki agent once`, by a timer: what it remembers lies beside the files."""
    device.update()
    device.update()
    (device.files / "revoked.krl").unlink()
    assert device.update().restored == ("revoked.krl",)


def test_a_file_that_an_include_names_elsewhere_counts(device: Device) -> None:
    """Relative to /etc/ssh, quoted, several in one line, within another included file."""
    inner, outer = device.directory / "inner.conf", device.directory / "outer"
    outer.write_text(f'Include "{inner}" /nowhere/*.conf # and no more\n')
    inner.write_text("UseDNS no\n")
    device.main_config.write_text(f"include={outer}\n{device.main_lines()}")
    daemon = Daemon(device)
    daemon.block()
    daemon.block()
    inner.write_text("X11Forwarding yes\nPasswordAuthentication yes\n")
    assert daemon.block().drift


def test_sshd_is_asked_about_a_connection_for_each_match_block(tmp_path: Path) -> None:
    main = tmp_path / "sshd_config"
    strange = "Match\nMatch all\nMatch 'Address 10.0.0.0/8\nMatch Address !10.0.0.0/8,*\n"
    main.write_text(f"{strange}Match User x Address 10.*,192.168.0.0/16\nMatch LocalPort=2222\n")
    assert connections(main) == [
        "host=none,addr=::1,laddr=::1,lport=22,rdomain=",
        "host=none,addr=10.0,laddr=::1,lport=22,rdomain=",
        "host=none,addr=::1,laddr=::1,lport=2222,rdomain=",
    ]


def test_files_that_include_each_other_end(device: Device) -> None:
    from dpki.agent.drift import config_files

    one, two = device.directory / "one.conf", device.directory / "two.conf"
    one.write_text(f"Include {two}\nInclude '\n")
    two.write_text(f"Include {one}\n")
    assert config_files(one) == [one, two]


def test_changed_options_reach_sshd(device: Device) -> None:
    device.update()
    glass = device.sign()[1]
    device.break_glass = glass.with_name(f"{glass.name}.pub").read_text().strip()
    assert device.update().reloaded
    assert replace(device.update(), changed=()).settled


def test_the_services_sandbox_is_wide_enough(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything else read-only, and no privilege that the unit takes away."""
    if os.geteuid() != 0:
        # In a user namespace the folders above belong to nobody that it knows.
        monkeypatch.setattr(disk, "verify_ownership", lambda directory: None)
    device.update()
    certificate, _ = device.sign()
    device.anchor(certificate)
    device.new_host_pair()
    Path("/run/sshd").mkdir(exist_ok=True)
    unit = render_unit(Path("/usr/bin/dpki"), device.directory, device.config).decode()
    capabilities = {"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_KILL": 5}
    (kept,) = [line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")]

    def work() -> None:
        installed = device.update()
        assert "login.db" in installed.changed
        assert installed.reloaded
        assert device.update().settled
        with pytest.raises(OSError, match="Read-only file system"):
            (device.stage.directory / "elsewhere").touch()
        with pytest.raises(PermissionError):
            os.setuid(65534)

    folders = [path for path in writable_paths(device.directory, device.config) if path.is_dir()]
    names = kept.partition("=")[2].split()
    in_a_sandbox(folders, [capabilities[name] for name in names], work)


class TestUninstall:
    """Taking it off a living host: sshd is told, and never left with what it would not start."""

    @pytest.fixture
    def told(self, device: Device) -> Path:
        told = device.directory / "told"
        device.reload = CommandHook(("touch", str(told)))
        device.update()
        told.unlink()
        return told

    def take_off(self, device: Device) -> None:
        host = Host(device.directory, device.config, FakeSystemd(), Path("/usr/bin/dpki"))
        for deed in plan_uninstall(host, purge=False):
            deed.do()

    def test_sshd_is_as_before(self, device: Device, told: Path) -> None:
        device.update()
        self.take_off(device)
        assert told.exists()
        assert not device.drop_in.exists()
        assert not device.files.exists()
        device.stage.run(["/usr/sbin/sshd", "-t", "-f", device.main_config])

    def test_killed_before_sshd_was_told_it_is_told_all_the_same(
        self, device: Device, told: Path
    ) -> None:
        """Else it would miss the files that it still asks for, and refuse everybody."""
        device.drop_in.unlink()
        self.take_off(device)
        assert told.exists()
        assert not device.files.exists()

    def test_a_drop_in_without_which_sshd_would_not_start_stays(
        self, device: Device, told: Path
    ) -> None:
        before = device.drop_in.read_bytes()
        device.main_config.write_text(device.main_lines() + "NoSuchOption yes\n")
        with pytest.raises(ServiceFailed, match="sshd refuses its configuration"):
            self.take_off(device)
        assert device.drop_in.read_bytes() == before
        assert (device.files / "revoked.krl").exists()
        assert not told.exists()
