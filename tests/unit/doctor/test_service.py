"""The agent as a service: installed, as it would be installed now, and started at boot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.host import Host, plan_install
from dpki.agent.systemd import Systemctl
from dpki.agent.unit import NAME
from dpki.config.outbound import Outbound
from dpki.doctor.finding import Finding, Level
from dpki.doctor.service import look_at_service
from dpki.errors import ServiceFailed
from tests.fakes.systemd import FakeSystemd
from tests.service_host import carry_out, host_of, make_root


@pytest.fixture
def systemd(tmp_path: Path) -> FakeSystemd:
    return FakeSystemd(make_root(tmp_path))


@pytest.fixture
def host(systemd: FakeSystemd) -> Host:
    """A host with the agent on it."""
    assert systemd.root is not None
    host = host_of(systemd.root, systemd)
    carry_out(plan_install(host))
    return host


def service(host: Host) -> Finding:
    (found,) = [f for f in look_at_service(host) if f.part == "agent's service"]
    return found


def test_none_is_a_warning_that_says_how_to_have_one(tmp_path: Path) -> None:
    found = service(host_of(make_root(tmp_path)))
    assert found.level is Level.WARNING
    assert found.mend == "dpki agent install --dir /etc/dpki"


def test_one_as_it_was_installed_is_well(host: Host) -> None:
    assert service(host).level is Level.OK


def test_one_that_does_not_start_at_boot_is_a_problem(host: Host, systemd: FakeSystemd) -> None:
    systemd.disable(NAME)
    assert service(host).level is Level.PROBLEM


def test_one_that_somebody_changed_is_told(host: Host) -> None:
    host.unit.write_text(host.unit.read_text() + "[Service]\nUser=ops\n")
    found = service(host)
    assert (found.level, "somebody changed it" in found.said) == (Level.WARNING, True)


def test_so_is_one_from_before_device_toml_was_changed(host: Host) -> None:
    """It may not write the folder that the SSH client's files are to go to."""
    config = replace(host.config, outbound=Outbound("ops"))
    found = service(replace(host, config=config))
    assert (found.level, "device.toml" in found.said) == (Level.WARNING, True)


def test_a_unit_that_others_may_change_is_a_problem(host: Host) -> None:
    host.unit.chmod(0o646)
    (found,) = [f for f in look_at_service(host) if f.part == "agent's unit file"]
    assert found.level is Level.PROBLEM
    assert Path(found.where).name == NAME


def test_a_path_that_no_unit_can_hold_is_told(host: Host) -> None:
    found = service(replace(host, program=Path("/opt/my tools/dpki")))
    assert (found.level, "systemd can't be given" in found.said) == (Level.PROBLEM, True)


def test_without_systemd_it_was_not_checked(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceFailed, match="systemctl did not run"):
        Systemctl().is_in_service(NAME)
    assert service(replace(host, systemd=Systemctl())).level is Level.COULD_NOT_CHECK
