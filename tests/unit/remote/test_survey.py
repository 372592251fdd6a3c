"""What is found on a host, and what is said to be missing there."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.errors import MalformedInput
from dpki.remote.survey import SCRIPT, SURVEY_LIMIT, Needs, Survey, missing, parse_survey

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NEEDS = Needs(
    "0.1.0",
    Path("/etc/ssh/sshd_config.d/10-dpki.conf"),
    Path("/etc/ssh/sshd_config"),
)
GOOD = f"""\
Welcome to gate-1, where nothing=happens that = matters.
uid=0
python=python3.12 3.12
venv=python3.12
python=python3 3.9
systemd=yes
sshd=OpenSSH_9.2
config=yes
include=/etc/ssh/sshd_config.d/*.conf
room=9000000
clock={int(NOW.timestamp())}
dpki=/usr/bin/dpki dpki 0.0.9
""".encode()


def survey(*changes: tuple[str, str]) -> Survey:
    text = GOOD.decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_survey(text.encode())


def test_a_host_that_has_everything() -> None:
    found = survey()
    assert missing(found, NEEDS, NOW) == ()
    assert (found.python, found.program("0.1.0"), found.program("0.0.9")) == (
        "python3.12",
        None,
        "/usr/bin/dpki",
    )
    assert not found.is_set_up


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("uid=0", "uid=1000")], "not root"),
        ([("python=python3.12 3.12\nvenv=python3.12\n", "")], "Python 3.11 or later"),
        ([("python=python3.12 3.12\nvenv=python3.12\npython=python3 3.9\n", "")], "there is none"),
        ([("venv=python3.12\n", "")], "install python3-venv"),
        ([("systemd=yes\n", "")], "systemd does not run there"),
        ([("OpenSSH_9.2", "OpenSSH_7.9")], "sshd is of OpenSSH 7.9"),
        ([("sshd=OpenSSH_9.2\n", "")], "there is no sshd"),
        ([("sshd=OpenSSH_9.2", "sshd=")], "there is no sshd"),
        ([("config=yes\n", "")], "can't be read"),
        ([("include=/etc/ssh/sshd_config.d/*.conf\n", "")], "does not include"),
        ([("sshd_config.d/*.conf", "sshd_config.d/*.cfg")], "does not include"),
        ([("room=9000000", "room=100000")], "only 97 MB are free"),
        ([("clock=", "clock=1")], "s ahead"),
        ([(f"clock={int(NOW.timestamp())}", "clock=1000")], "s behind"),
    ],
)
def test_each_thing_that_may_be_missing_is_said(changes: list[tuple[str, str]], said: str) -> None:
    (line,) = missing(survey(*changes), NEEDS, NOW)
    assert said in line


def test_all_of_it_is_said_at_once() -> None:
    found = survey(("systemd=yes\n", ""), ("OpenSSH_9.2", "OpenSSH_7.9"), ("venv=python3.12\n", ""))
    assert len(missing(found, NEEDS, NOW)) == 3


def test_what_is_installed_needs_neither_python_nor_room() -> None:
    found = replace(survey(("room=9000000", "room=0")), pythons=())
    assert missing(found, replace(NEEDS, version="0.0.9"), NOW) == ()


def test_without_a_service_neither_systemd_nor_root_is_needed() -> None:
    found = survey(("systemd=yes\n", ""), ("uid=0", "uid=1000"))
    assert missing(found, replace(NEEDS, service=False), NOW) == ()


def test_sudo_stands_in_for_root_and_relative_includes_are_below_etc_ssh() -> None:
    found = survey(("uid=0", "uid=1000\nsudo=yes"), ("/etc/ssh/sshd_config.d", "sshd_config.d"))
    assert missing(found, NEEDS, NOW + timedelta(minutes=3)) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"uid=0\n",
        GOOD.replace(b"uid=0", b"uid=root"),
        GOOD.replace(b"clock=", b"clock=99999"),
        GOOD.replace(b"3.12\n", b"3.x\n", 1),
        b"x" * (SURVEY_LIMIT + 1),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_survey(data)


def test_the_script_looks_at_this_very_machine(tmp_path: Path) -> None:
    config = tmp_path / "sshd_config"
    config.write_text("  include a.conf\nPort 22\nInclude b/*.conf c.conf\n")
    (tmp_path / "device.toml").touch()
    target = tmp_path / "not" / "there"
    done = subprocess.run(
        ["sh", "-c", SCRIPT, "dpki", str(target), str(config), str(tmp_path)],
        capture_output=True,
        check=True,
    )
    found = parse_survey(done.stdout)
    assert found.includes == ("a.conf", "b/*.conf c.conf")
    assert found.python is not None
    assert found.sshd is not None
    assert abs(found.clock - datetime.now(UTC)) < timedelta(minutes=1)
    assert found.room > 0
    assert found.is_set_up
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device.toml", "sshd_config"]
