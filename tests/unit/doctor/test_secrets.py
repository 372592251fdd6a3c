"""Sources of secrets: there, private, and never asked."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from dpki.doctor.finding import Level
from dpki.doctor.keys import judge_key_file
from dpki.doctor.secrets import judge_source
from dpki.signer.uri import FileUri

WHERE = "config.toml, token.pin"


def test_a_prompt_is_always_there() -> None:
    assert judge_source("PIN", "prompt", WHERE) is None


def test_a_private_file_is_well(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("secret")
    path.chmod(0o600)
    found = judge_source("PIN", f"file:{path}", WHERE)
    assert found is not None
    assert (found.level, found.where) == (Level.OK, str(path))
    assert "secret" not in str(found)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_file_that_others_reach_is_a_problem_and_the_mend_mends(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "the pin"
    path.write_text("secret")
    path.chmod(mode)
    found = judge_source("PIN", f"file:{path}", WHERE)
    assert found is not None
    assert found.level is Level.PROBLEM
    subprocess.run(shlex.split(found.mend), check=True)
    mended = judge_source("PIN", f"file:{path}", WHERE)
    assert mended is not None
    assert mended.level is Level.OK


@pytest.mark.parametrize(
    ("spec", "level"),
    [
        ("file:/nowhere/pin", Level.PROBLEM),
        ("env:DPKI_TEST_PIN", Level.WARNING),
        ("env:DPKI_TEST_OTHER", Level.OK),
        ("command:no-such-program --now", Level.PROBLEM),
        ("command:false 'a b", Level.OK),
    ],
)
def test_what_is_not_there_is_found(
    spec: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPKI_TEST_OTHER", "secret")
    found = judge_source("PIN", spec, WHERE)
    assert found is not None
    assert found.level is level
    assert bool(found.mend) is (level is not Level.OK)
    assert found.where
    assert "secret" not in str(found)


def test_a_key_in_a_file_is_weaker_at_best(tmp_path: Path) -> None:
    path = tmp_path / "users.pem"
    assert judge_key_file("users", FileUri(str(path))).level is Level.PROBLEM
    path.touch(mode=0o600)
    found = judge_key_file("users", FileUri(str(path)))
    assert (found.level, found.where) == (Level.WARNING, str(path))
    assert "weaker than a token" in found.said
    assert "dpki ca rotate users" in found.mend
    path.chmod(0o644)
    assert judge_key_file("users", FileUri(str(path))).level is Level.PROBLEM
