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
    Host,
    Made,
    encode_made,
    parse_made,
    plan_install,
    plan_uninstall,
    verify_may_change,
)
from dpki.agent.systemd import Systemctl
from dpki.agent.unit import NAME, render_unit
from dpki.bundle.codec import dumps
from dpki.cli.app import run
from dpki.config.device import Access, DeviceConfig, save_device_config
from dpki.config.following import Metrics
from dpki.config.sshd import Sshd
from dpki.errors import ConfigError, MalformedInput, NotAllowed
from tests.fakes.systemd import FakeSystemd
from tests.world import DOMAIN

DIRECTORY = Path("/etc/dpki")
CONFIG = DeviceConfig(
    domain=DOMAIN.id,
    rpc=("https://rpc.example",),
    access=Access(console_access=True),
    sshd=Sshd(login_user="dpki-login"),
)
PROGRAM = Path("/opt/dpki/bin/dpki")


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file, link and folder below, with its mode and what it holds."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            content = str(path.readlink()).encode()
        else:
            content = path.read_bytes() if path.is_file() else b""
        # useradd and userdel keep a copy and a lock of what was before.
        if not path.name.endswith("-") and path.name != ".pwd.lock":
            found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root folder of a host with sshd, accounts and a device that was set up."""
    root = tmp_path / "root"
    for folder in ("etc/ssh/sshd_config.d", "etc/systemd/system", "etc/dpki/keys"):
        (root / folder).mkdir(parents=True)
    (root / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/gshadow").write_text("root:*::\n")
    (root / "etc/dpki/keys/identity.key").write_text("secret")
    save_device_config(root / "etc/dpki", CONFIG)
    return root


def host_of(root: Path, systemd: FakeSystemd | None = None) -> Host:
    return Host(DIRECTORY, CONFIG, systemd or FakeSystemd(root), PROGRAM, root)


def carry_out(deeds: list[object]) -> list[str]:
    for deed in deeds:
        deed.do()  # type: ignore[attr-defined]
    return [deed.says for deed in deeds]  # type: ignore[attr-defined]


def installed_by_the_agent(root: Path) -> None:
    """Leave what a run of the agent leaves."""
    files = root / "etc/ssh/dpki"
    (files / "accounts").mkdir(exist_ok=True)
    for name in ("user_ca.pub", "revoked.krl", "login.py", "login.db", "lock", "hold.cbor"):
        (files / name).write_bytes(b"x")
    (files / "host-0123456789abcdef").write_bytes(b"private")
    (files / "accounts/ops").write_bytes(b"line")
    record = {"v": 1, "told": "", "pairs": [], "files": {"accounts/ops": [], "drop-in": []}}
    (files / "installed.cbor").write_bytes(dumps(record))
    drop_in = root / "etc/ssh/sshd_config.d/10-dpki.conf"
    drop_in.write_text("# Written by the dpki agent; changes here are overwritten.\n")


def test_it_leaves_the_host_as_it_found_it(root: Path) -> None:
    before = snapshot(root)
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    assert host.systemd.running == {NAME}  # type: ignore[attr-defined]
    assert b"dpki-login:" in (root / "etc/passwd").read_bytes()
    installed_by_the_agent(root)
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert host.systemd.running == set()  # type: ignore[attr-defined]
    assert snapshot(root) == before
    assert plan_uninstall(host, purge=False) == []


def test_installing_again_changes_nothing(root: Path) -> None:
    host = host_of(root)
    assert carry_out(plan_install(host))  # type: ignore[arg-type]
    after = snapshot(root)
    assert plan_install(host) == []
    assert snapshot(root) == after


def test_a_unit_that_somebody_changed_or_stopped_is_completed(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    host.unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert len(plan_install(host)) == 2
    carry_out(plan_install(host))  # type: ignore[arg-type]
    host.systemd.running.clear()  # type: ignore[attr-defined]
    (only,) = plan_install(host)
    assert "enable and start" in only.says


def test_what_was_there_before_stays(root: Path) -> None:
    """The account, the folders, and files of others in them."""
    (root / "etc/passwd").open("a").write("dpki-login:x:990:990::/nonexistent:/bin/false\n")
    (root / "etc/ssh/dpki").mkdir(mode=0o755)
    before = snapshot(root)
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert snapshot(root) == before


def test_what_others_put_into_our_folder_stays_too(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    (root / "etc/ssh/dpki/notes.txt").write_text("mine")
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    left = [path.name for path in (root / "etc/ssh/dpki").iterdir()]
    assert left == ["notes.txt"]


def test_a_drop_in_of_somebody_else_stays(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    installed_by_the_agent(root)
    drop_in = root / "etc/ssh/sshd_config.d/10-dpki.conf"
    drop_in.write_text("Port 2222\n")
    carry_out(plan_uninstall(host, purge=False))  # type: ignore[arg-type]
    assert drop_in.read_text() == "Port 2222\n"


def test_purge_takes_the_keys_as_well(root: Path) -> None:
    host = host_of(root)
    carry_out(plan_install(host))  # type: ignore[arg-type]
    carry_out(plan_uninstall(host, purge=True))  # type: ignore[arg-type]
    assert not (root / "etc/dpki").exists()


def test_killed_in_between_it_goes_on(root: Path) -> None:
    """After each number of deeds, either command does the rest."""
    before = snapshot(root)
    count = len(plan_install(host_of(root)))
    for done in range(count + 1):
        host = host_of(root)
        carry_out(plan_install(host)[:done])  # type: ignore[arg-type]
        if done % 2:
            carry_out(plan_install(host))  # type: ignore[arg-type]
        for _ in range(20):
            if deeds := plan_uninstall(host, purge=False):
                carry_out(deeds[:1])  # type: ignore[arg-type]
        assert snapshot(root) == before, done


def test_systemds_own_tool_takes_the_unit(root: Path) -> None:
    """`systemctl --root`, as for an image: no daemon is asked."""
    before = snapshot(root)
    arguments = ["--dir", "/etc/dpki", "--root", str(root)]
    assert run(["agent", "install", *arguments]) == 0
    assert (root / "etc/systemd/system/multi-user.target.wants" / NAME).is_symlink()
    assert Systemctl(root).is_enabled(NAME)
    assert run(["agent", "uninstall", *arguments]) == 0
    assert not Systemctl(root).is_enabled(NAME)
    assert snapshot(root) == before


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

    def test_it_writes_where_it_must_and_nowhere_else(self) -> None:
        config = replace(CONFIG, metrics=Metrics(textfile=Path("/var/lib/node/dpki.prom")))
        lines = render_unit(PROGRAM, DIRECTORY, config).decode().splitlines()
        assert "ProtectSystem=strict" in lines
        assert [line.split("=")[1] for line in lines if line.startswith("ReadWritePaths=")] == [
            "/etc/dpki",
            "/etc/ssh/dpki",
            "/etc/ssh/sshd_config.d",
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
