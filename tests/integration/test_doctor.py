"""`dpki doctor` on a device whose every part is broken in turn, with a real sshd's answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.follow import KEYS
from dpki.config.device import save_device_config
from dpki.devices.keys import generate_device_keys, save_device_keys
from dpki.doctor.device import examine_device
from dpki.doctor.finding import Finding, Level
from tests.admins import Run, runner
from tests.device import Device, open_device


@pytest.fixture(scope="module")
def installed() -> Iterator[Device]:
    with open_device() as device:
        home = agent_folder(device)
        home.mkdir(mode=0o700)
        save_device_keys(home / KEYS, generate_device_keys())
        save_device_config(home, device.config)
        device.update()
        yield device


@pytest.fixture
def device(installed: Device) -> Iterator[Device]:
    """The device as installed; whatever a test breaks is put right."""
    yield installed
    installed.main_config.write_text(installed.main_lines())
    agent_folder(installed).chmod(0o700)
    installed.files.chmod(0o755)
    save_device_config(agent_folder(installed), installed.config)
    for path in (installed.drop_in, *installed.files.glob("*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    installed.update()


def agent_folder(device: Device) -> Path:
    return device.stage.directory / "agent"


def examine(device: Device, later: timedelta = timedelta()) -> list[Finding]:
    return examine_device(agent_folder(device), device.now + later)


def bad(findings: list[Finding]) -> dict[str, Finding]:
    """Problems only: this device has no chain, so much can't be checked."""
    return {found.part: found for found in findings if found.level is Level.PROBLEM}


def test_an_installed_device_has_no_problem(device: Device) -> None:
    findings = examine(device)
    assert bad(findings) == {}
    effective = [f for f in findings if f.part == f"sshd for account {device.stage.account}"]
    assert [f.level for f in effective] == [Level.OK]


def test_without_a_chain_what_needs_it_was_not_checked(device: Device) -> None:
    unchecked = {f.part for f in examine(device) if f.level is Level.COULD_NOT_CHECK}
    assert unchecked == {"endpoint", "KRL", "enrolment"}


def append(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(path.read_text() + text)


BREAK: dict[str, tuple[Callable[[Device], object], str]] = {
    "login command changed": (
        lambda d: append(d.files / "login.py", "print('ops')\n"),
        "login command",
    ),
    "login command open": (
        lambda d: (d.files / "login.py").chmod(0o666),
        "login command's file",
    ),
    "index open": (lambda d: (d.files / "login.db").chmod(0o646), "login index's file"),
    "index missing": (lambda d: (d.files / "login.db").unlink(), "login index"),
    "index damaged": (lambda d: (d.files / "login.db").write_bytes(b"x" * 4096), "login index"),
    "KRL empty": (lambda d: (d.files / "revoked.krl").write_bytes(b""), "KRL"),
    "KRL damaged": (lambda d: (d.files / "revoked.krl").write_bytes(b"SSHKRL"), "KRL"),
    "KRL missing": (lambda d: (d.files / "revoked.krl").unlink(), "KRL"),
    "CA list open": (lambda d: (d.files / "user_ca.pub").chmod(0o664), "CA list's file"),
    "CA list missing": (lambda d: (d.files / "user_ca.pub").unlink(), "CA list's file"),
    "host key open": (
        lambda d: next(p for p in d.files.glob("host-*") if p.suffix != ".pub").chmod(0o644),
        "host key's file",
    ),
    "folder open": (lambda d: d.files.chmod(0o777), "sshd's folder"),
    "agent's folder open": (lambda d: agent_folder(d).chmod(0o777), "device's folder"),
    "drop-in changed": (lambda d: append(d.drop_in, "PermitRootLogin yes\n"), "drop-in"),
    "drop-in open": (lambda d: d.drop_in.chmod(0o666), "drop-in"),
    "keys open": (lambda d: (agent_folder(d) / KEYS).chmod(0o755), "keys' folder"),
    "configuration damaged": (
        lambda d: append(agent_folder(d) / "device.toml", "[nonsense]\na = 1\n"),
        "configuration",
    ),
}


@pytest.mark.parametrize("breaking", BREAK)
def test_each_broken_part_is_found_with_what_mends_it(device: Device, breaking: str) -> None:
    break_it, part = BREAK[breaking]
    before = (agent_folder(device) / KEYS).stat().st_mode & 0o777
    break_it(device)
    try:
        found = bad(examine(device))
    finally:
        (agent_folder(device) / KEYS).chmod(before)
        (agent_folder(device) / "device.toml").chmod(0o600)
    assert part in found
    assert found[part].mend
    assert str(device.stage.directory) in found[part].where


@pytest.mark.parametrize(
    "lines",
    [
        "AuthorizedPrincipalsFile /etc/ssh/principals\n{include}",
        "AuthorizedKeysFile .ssh/authorized_keys\n{include}",
        "Match user {account}\n  PasswordAuthentication yes\nMatch all\n{include}",
        "# the drop-in is not included\n",
    ],
)
def test_what_is_not_in_force_is_found_for_the_account(device: Device, lines: str) -> None:
    text = lines.format(include=device.main_lines(), account=device.stage.account)
    device.main_config.write_text(text)
    part = f"sshd for account {device.stage.account}"
    found = bad(examine(device))
    assert part in found
    assert "drop-in" in found[part].mend


def test_an_index_that_grew_too_old_is_found(device: Device) -> None:
    found = bad(examine(device, timedelta(days=2)))
    assert set(found) == {"login index"}
    assert "dpki agent once" in found["login index"].mend


def test_nothing_is_changed(device: Device) -> None:
    def state() -> dict[Path, tuple[int, int, bytes]]:
        return {
            path: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
            for folder in (device.directory, agent_folder(device))
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = state()
    (device.files / "revoked.krl").write_bytes(b"")
    before[device.files / "revoked.krl"] = state()[device.files / "revoked.krl"]
    examine(device)
    assert state() == before


class TestCommand:
    @pytest.fixture
    def dpki(self, capsys: pytest.CaptureFixture[str]) -> Run:
        return runner(capsys)

    def test_a_problem_is_three(self, device: Device, dpki: Run) -> None:
        (device.files / "revoked.krl").write_bytes(b"")
        result = dpki("doctor", "--dir", agent_folder(device))
        assert result.status == 3
        assert result.document["verdict"] == "problem"
        problems = [f for f in result.document["findings"] if f["level"] == "problem"]
        assert [f["part"] for f in problems] == ["KRL"]
        assert "mend: dpki agent once" in result.err

    def test_could_not_check_is_five(self, device: Device, dpki: Run) -> None:
        result = dpki("doctor", "--dir", agent_folder(device))
        assert result.status == 5
        assert result.document["verdict"] == "could not check"

    def test_where_nothing_is_set_up_the_first_step_is_told(
        self, tmp_path: Path, dpki: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DPKI_HOME", str(tmp_path))
        monkeypatch.setattr("dpki.cli.doctor.DEVICE", tmp_path / "no")
        result = dpki("doctor")
        assert result.status == 3
        assert "dpki init" in result.err

    def test_an_admin_s_home_is_found_by_itself(
        self, tmp_path: Path, dpki: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DPKI_HOME", str(tmp_path))
        monkeypatch.setattr("dpki.cli.doctor.DEVICE", tmp_path / "no")
        (tmp_path / "config.toml").write_text("version = 1\n")
        (tmp_path / "config.toml").chmod(0o600)
        result = dpki("doctor")
        assert result.status == 3
        (found,) = [f for f in result.document["findings"] if f["level"] == "problem"]
        assert found["part"] == "configuration"
        assert found["where"] == str(tmp_path / "config.toml")
