"""Telling sshd: by systemd, by a HUP to the process in a file, by a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpki.agent.reload import reload_sshd
from dpki.config.sshd import CommandHook, PidHook, Sshd, SystemdHook
from dpki.errors import ServiceFailed
from tests.fakes.systemd import FakeSystemd


def test_systemd_is_asked_to_reload_the_unit() -> None:
    systemd = FakeSystemd()
    reload_sshd(Sshd(reload=SystemdHook("sshd.service")), systemd)
    assert systemd.done == ["reload sshd.service"]


def test_a_command(tmp_path: Path) -> None:
    reload_sshd(Sshd(reload=CommandHook(("touch", str(tmp_path / "told")))))
    assert (tmp_path / "told").exists()
    reload_sshd(Sshd(reload=CommandHook(())))
    with pytest.raises(ServiceFailed, match="the reload hook failed: status 1"):
        reload_sshd(Sshd(reload=CommandHook(("false",))))


class TestPid:
    @pytest.fixture
    def sleeper(self) -> subprocess.Popen[bytes]:
        # Whoever runs the tests may have had them ignore a HUP, which is inherited.
        return subprocess.Popen(["env", "--default-signal=HUP", "sleep", "60"])

    def told(self, file: Path, binary: str) -> None:
        reload_sshd(Sshd(reload=PidHook(file), binary=Path(binary)))

    def test_the_server_gets_a_hup(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        file = tmp_path / "pid"
        file.write_text(f"{sleeper.pid}\n")
        while Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\n":
            pass  # not yet become what it is to be
        self.told(file, "/bin/sleep")
        assert sleeper.wait(10) == -1

    def test_whoever_has_the_id_of_a_server_that_is_gone_gets_none(
        self, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        file = tmp_path / "pid"
        file.write_text(str(sleeper.pid))
        try:
            with pytest.raises(ServiceFailed, match="not sshd"):
                self.told(file, "/usr/sbin/sshd")
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            sleeper.wait()

    @pytest.mark.parametrize("text", ["", "sshd", "-1", "0", "9" * 31, "x" * 100])
    def test_a_file_that_names_nobody(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "pid"
        file.write_text(text)
        with pytest.raises(ServiceFailed, match="does not name a process"):
            self.told(file, "/usr/sbin/sshd")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ServiceFailed, match="does not name a process"):
            self.told(tmp_path / "none", "/usr/sbin/sshd")

    def test_a_file_of_somebody_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "pid"
        file.write_text(str(os.getpid()))
        if os.geteuid() == 0:
            os.chown(file, 65534, 65534)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(ServiceFailed, match="belongs to another user"):
            self.told(file, sys.executable)
