"""The agent as a service: put onto a host, taken off again, and nothing is left of it.

In a root folder of its own, with the real `systemctl --root` and `useradd --prefix` where they are
asked for the truth, and a fake system manager for the rest.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.host import (
    Made,
    encode_made,
    parse_made,
    plan_install,
    plan_uninstall,
    verify_may_change,
)
from dpki.agent.sshd import HEADER
from dpki.agent.systemd import Systemctl
from dpki.agent.unit import NAME, render_unit
from dpki.bundle.codec import dumps
from dpki.cli.app import run
from dpki.config.device import DeviceConfig
from dpki.config.following import Metrics
from dpki.config.outbound import Outbound
from dpki.errors import ConfigError, MalformedInput, NotAllowed
from tests.service_host import (
    CONFIG,
    DIRECTORY,
    PROGRAM,
    carry_out,
    host_of,
    installed_by_the_agent,
    make_root,
    snapshot,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def test_it_leaves_the_host_as_it_found_it(root: Path) -> None:
    before = snapshot(root)
    host = host_of(root)
    carry_out(plan_install(host))
    assert host.systemd.running == {NAME}  # type: ignore[attr-defined]
    assert b"dpki-login:" in (root / "etc/passwd").read_bytes()
    installed_by_the_agent(root)
    carry_out(plan_uninstall(host, purge=False))
    assert host.systemd.running == set()  # type: ignore[attr-defined]
    assert snapshot(root) == before
    assert plan_uninstall(host, purge=False) == []


def test_also_where_the_agent_was_tried_before_it_was_put_on(root: Path) -> None:
    """`dpki agent once` makes the folder, and nobody else's is taken for one of its."""
    (root / "etc/ssh/dpki-client").mkdir()
    before = snapshot(root)
    host = replace(host_of(root), config=replace(CONFIG, outbound=Outbound("telemetry")))
    installed_by_the_agent(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert snapshot(root) == before


def test_nor_does_anything_of_its_ssh_client_stay(root: Path) -> None:
    before = snapshot(root)
    host = replace(host_of(root), config=replace(CONFIG, outbound=Outbound("telemetry")))
    carry_out(plan_install(host))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    folder = root / "etc/ssh/dpki-client"
    names = ("revoked.krl", "known_hosts", "ssh_config", "host_lookup.py", "hosts.db", "client-01")
    for name in (*names, "client-01-cert.pub"):
        (folder / name).write_bytes(b"x")
    (folder / "somebody's").write_bytes(b"x")
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert [path.name for path in folder.iterdir()] == ["somebody's"]
    (folder / "somebody's").unlink()
    folder.rmdir()
    assert snapshot(root) == before


def test_nor_of_an_agent_that_was_killed_while_it_wrote(root: Path) -> None:
    before = snapshot(root)
    host = replace(host_of(root), config=replace(CONFIG, outbound=Outbound("telemetry")))
    carry_out(plan_install(host))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    left = ("dpki/.revoked.krl", "dpki/accounts/.ops", "dpki-client/.hosts.db")
    for name in (*left, "sshd_config.d/.10-dpki.conf"):
        (root / f"etc/ssh/{name}.0123456789ab.tmp").write_bytes(b"x")
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert snapshot(root) == before


def test_what_an_earlier_device_toml_named_goes_too(root: Path) -> None:
    """A drop-in without its files would have sshd refuse everybody; old host keys are keys."""
    before = snapshot(root)
    first = replace(host_of(root), config=replace(CONFIG, outbound=Outbound("telemetry")))
    carry_out(plan_install(first))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    (root / "etc/ssh/dpki-client/ssh_config").write_text(f"{HEADER}; …\n")
    (root / "etc/ssh/dpki-client/client-01").write_bytes(b"private")
    sshd = replace(
        CONFIG.sshd,
        directory=Path("/etc/ssh/elsewhere"),
        drop_in=Path("/etc/ssh/sshd_config.d/05-dpki.conf"),
    )
    host = replace(host_of(root), config=replace(CONFIG, sshd=sshd))
    carry_out(plan_install(host))  # type: ignore[arg-type]
    (root / "etc/ssh/sshd_config.d/50-cloud-init.conf").write_text("PasswordAuthentication no\n")
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    (root / "etc/ssh/sshd_config.d/50-cloud-init.conf").unlink()
    assert snapshot(root) == before


def test_installing_again_changes_nothing(root: Path) -> None:
    host = host_of(root)
    assert carry_out(plan_install(host))
    after = snapshot(root)
    assert plan_install(host) == []
    assert snapshot(root) == after


def test_a_unit_that_somebody_changed_or_stopped_is_completed(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))
    host.unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert len(plan_install(host)) == 2
    carry_out(plan_install(host))
    host.systemd.running.clear()  # type: ignore[attr-defined]
    (only,) = plan_install(host)
    assert "enable and start" in only.says


def test_what_was_there_before_stays(root: Path) -> None:
    """The account, the folders, and files of others in them."""
    (root / "etc/passwd").open("a").write("dpki-login:x:990:990::/nonexistent:/bin/false\n")
    (root / "etc/ssh/dpki").mkdir(mode=0o755)
    before = snapshot(root)
    host = host_of(root)
    carry_out(plan_install(host))
    installed_by_the_agent(root)
    carry_out(plan_uninstall(host, purge=False))
    assert snapshot(root) == before


def test_what_others_put_into_our_folder_stays_too(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))
    installed_by_the_agent(root)
    (root / "etc/ssh/dpki/notes.txt").write_text("mine")
    carry_out(plan_uninstall(host, purge=False))
    left = [path.name for path in (root / "etc/ssh/dpki").iterdir()]
    assert left == ["notes.txt"]


def test_a_drop_in_of_somebody_else_stays(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))
    installed_by_the_agent(root)
    drop_in = root / "etc/ssh/sshd_config.d/10-dpki.conf"
    drop_in.write_text("Port 2222\n")
    carry_out(plan_uninstall(host, purge=False))
    assert drop_in.read_text() == "Port 2222\n"


def test_purge_takes_the_keys_as_well(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))
    carry_out(plan_uninstall(host, purge=True))
    assert not (root / "etc/dpki").exists()


def test_killed_in_between_it_goes_on(root: Path) -> None:
    """After each number of deeds, either command does the rest."""
    before = snapshot(root)
    count = len(plan_install(host_of(root)))
    for done in range(count + 1):
        host = host_of(root)
        carry_out(plan_install(host)[:done])
        if done % 2:
            carry_out(plan_install(host))
        for _ in range(20):
            if deeds := plan_uninstall(host, purge=False):
                carry_out(deeds[:1])
        assert snapshot(root) == before, done


def test_systemds_own_tool_takes_the_unit(root: Path) -> None:
    """`systemctl --root`, as for an image: no daemon is asked."""
    before = snapshot(root)
    arguments = ["--dir", "/etc/dpki", "--root", str(root)]
    assert run(["agent", "install", *arguments]) == 0
    assert (root / "etc/systemd/system/multi-user.target.wants" / NAME).is_symlink()
    assert Systemctl(root).is_in_service(NAME)
    assert run(["agent", "uninstall", *arguments]) == 0
    assert not Systemctl(root).is_in_service(NAME)
    assert snapshot(root) == before


@pytest.mark.parametrize("lacks", ["", "is-enabled", "is-active"])
def test_a_service_is_one_that_runs_and_starts_at_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\ntest "$2" != "{lacks}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Systemctl().is_in_service(NAME) is (lacks == "")


def test_a_rehearsal_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(root)
    arguments = ["--dir", "/etc/dpki", "--root", str(root), "--dry-run", "--json"]
    assert run(["agent", "install", *arguments]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["done"] is False
    assert any("dpki-agent.service" in deed for deed in said["deeds"])
    assert run(["agent", "uninstall", *arguments, "--purge"]) == 0
    assert snapshot(root) == before


def test_purging_wants_to_be_meant(root: Path) -> None:
    arguments = ["--dir", "/etc/dpki", "--root", str(root), "--purge"]
    assert run(["agent", "uninstall", *arguments]) == 2
    assert (root / "etc/dpki/keys").exists()
    assert run(["agent", "uninstall", *arguments, "--yes"]) == 0
    assert not (root / "etc/dpki").exists()


def test_only_root_may_change_a_living_host(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    verify_may_change(host_of(root))
    with pytest.raises(NotAllowed, match="only root"):
        verify_may_change(replace(host_of(root), root=Path("/")))


class TestUnit:
    def unit(self, tmp_path: Path, config: DeviceConfig = CONFIG) -> Path:
        program = tmp_path / "dpki"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        path = tmp_path / NAME
        path.write_bytes(render_unit(program, DIRECTORY, config))
        return path

    def test_systemd_accepts_every_line(self, tmp_path: Path) -> None:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", self.unit(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert NAME not in done.stderr, done.stderr

    def test_the_sandbox_is_tight(self, tmp_path: Path) -> None:
        """systemd's own judge: 0 is no exposure at all, 10 all that there is."""
        unit = str(self.unit(tmp_path))
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def test_it_is_told_which_boot_the_host_is_in(self) -> None:
        """Behind its own /proc, a container's agent would find no session of this boot."""
        lines = render_unit(PROGRAM, DIRECTORY, CONFIG).decode().splitlines()
        assert "Environment=DPKI_BOOT_ID=%b" in lines

    def test_it_writes_where_it_must_and_nowhere_else(self) -> None:
        config = replace(CONFIG, metrics=Metrics(textfile=Path("/var/lib/node/dpki.prom")))
        config = replace(config, outbound=Outbound("telemetry", Path("/etc/ssh/dpki-client")))
        lines = render_unit(PROGRAM, DIRECTORY, config).decode().splitlines()
        assert "ProtectSystem=strict" in lines
        assert [line.split("=")[1] for line in lines if line.startswith("ReadWritePaths=")] == [
            "/run",
            "/etc/dpki",
            "/etc/ssh/dpki",
            "/etc/ssh/sshd_config.d",
            "/etc/ssh/dpki-client",
            "/var/lib/node",
        ]
        assert "ProtectHome=yes" in lines
        at_home = render_unit(Path("/home/ops/venv/bin/dpki"), DIRECTORY, CONFIG).decode()
        assert "ProtectHome=read-only" in at_home.splitlines()

    @pytest.mark.parametrize("path", ["/opt/with space/dpki", "/opt/%h/dpki", '/opt/"/dpki'])
    def test_a_path_that_systemd_would_read_otherwise(self, path: str) -> None:
        with pytest.raises(ConfigError, match="systemd can't be given"):
            render_unit(Path(path), DIRECTORY, CONFIG)


def test_the_note_of_what_was_made_reads_back() -> None:
    made = Made("dpki-login", ("/etc/ssh", "/etc/ssh/dpki"))
    assert parse_made(encode_made(made)) == made
    for folders in (["etc"], ["/etc/../root"], [1]):
        with pytest.raises(MalformedInput):
            parse_made(dumps({"v": 1, "user": "", "folders": folders}))
