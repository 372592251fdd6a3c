from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from dpki.doctor.finding import Finding, Level
from dpki.doctor.paths import Kind, PathFacts, judge, judge_folders, look_above, look_at

ME = os.geteuid()
SECRET = PathFacts(Path("/x/key"), Kind.FILE, 0, 0o600, 10)


def judged(facts: PathFacts, mode: int = 0o600) -> Finding:
    return judge("key", facts, mode=mode, owners=(0,), missing="bring it back")


def test_private_is_well() -> None:
    assert judged(SECRET).level is Level.OK


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666, 0o755])
def test_a_secret_that_others_reach_is_a_problem(mode: int) -> None:
    found = judged(PathFacts(SECRET.path, Kind.FILE, 0, mode))
    assert found.level is Level.PROBLEM
    assert found.mend == "chmod 0600 /x/key"


def test_the_mend_takes_nothing_more_than_needed() -> None:
    found = judged(PathFacts(SECRET.path, Kind.FILE, 0, 0o466))
    assert found.mend == "chmod 0400 /x/key"


def test_another_owner_is_a_problem() -> None:
    found = judged(PathFacts(SECRET.path, Kind.FILE, 1234, 0o600))
    assert found.level is Level.PROBLEM
    assert "1234" in found.said
    assert found.mend == "chown 0 /x/key"


@pytest.mark.parametrize("kind", [Kind.MISSING, Kind.LINK, Kind.DIRECTORY, Kind.OTHER])
def test_what_is_no_file_is_brought_back(kind: Kind) -> None:
    found = judged(PathFacts(SECRET.path, kind, 0, 0o600))
    assert (found.level, found.mend) == (Level.PROBLEM, "bring it back")


def test_what_can_not_be_seen_was_not_checked() -> None:
    found = judged(PathFacts(SECRET.path, Kind.HIDDEN))
    assert found.level is Level.COULD_NOT_CHECK


def test_facts_are_the_file_system_s(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert look_at(file) == PathFacts(file, Kind.FILE, ME, 0o640, 3)
    assert look_at(link).kind is Kind.LINK
    assert look_at(tmp_path).kind is Kind.DIRECTORY
    assert look_at(tmp_path / "no").kind is Kind.MISSING
    assert look_at(file / "below").kind is Kind.MISSING


def test_folders_above_are_followed_to_where_they_really_are(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    assert [facts.path for facts in look_above(link)][-1] == real.resolve()
    assert look_above(link)[0].path == Path("/")


def folders(*modes: int, owner: int = 0) -> list[PathFacts]:
    path, found = Path("/"), []
    for mode in modes:
        found.append(PathFacts(path, Kind.DIRECTORY, owner, mode))
        path /= "x y"
    return found


def test_folders_that_only_root_changes_are_well() -> None:
    assert judge_folders("folder", folders(0o755, 0o1777, 0o700), (0,)).level is Level.OK


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_one_folder_above_that_others_change_is_a_problem(mode: int) -> None:
    found = judge_folders("folder", folders(0o755, mode, 0o755), (0,))
    assert found.level is Level.PROBLEM
    assert found.mend == "chmod go-w '/x y'"


def test_a_folder_above_that_belongs_to_another_is_a_problem() -> None:
    found = judge_folders("folder", folders(0o755, owner=1234), (0,))
    assert found.level is Level.PROBLEM
    assert found.mend == "chown 0 /"


def test_the_mend_mends(tmp_path: Path) -> None:
    secret = tmp_path / "a key; with $odd name"
    secret.write_bytes(b"")
    secret.chmod(0o644)

    def look() -> Finding:
        return judge("key", look_at(secret), mode=0o600, owners=(ME,), missing="")

    subprocess.run(shlex.split(look().mend), check=True)
    assert look().level is Level.OK
