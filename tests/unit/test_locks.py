import os
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import DpkiError
from dpki.locks import Turn, hold

SOON = timedelta(milliseconds=120)


def test_only_one_holds_it_and_the_other_learns_who(tmp_path: Path) -> None:
    path = tmp_path / "issue.lock"
    told: list[str] = []
    waiting = Turn("dpki ssh revoke", told.append)
    with (
        hold(path, Turn("dpki ssh issue")),
        pytest.raises(DpkiError, match="dpki ssh issue") as caught,
        hold(path, waiting, SOON),
    ):
        pytest.fail("two at once")
    assert told == [f"waiting for dpki ssh issue (process {os.getpid()})"]
    assert str(path) in caught.value.message
    told.clear()
    with hold(path, waiting, SOON):
        pass
    assert told == []


def test_a_longer_name_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "issue.lock"
    for doing in ("dpki ssh issue and more", "dpki"):
        with hold(path, Turn(doing)):
            assert path.read_text() == f"{doing} (process {os.getpid()})"


def test_a_holder_without_a_name(tmp_path: Path) -> None:
    path, told = tmp_path / "issue.lock", list[str]()
    with hold(path):
        path.write_bytes(b"\x1b[2J")
        with pytest.raises(DpkiError), hold(path, Turn(tell=told.append), SOON):
            pytest.fail("two at once")
    assert told == ["waiting for another dpki"]


def test_is_let_go_of_by_a_process_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "issue.lock"
    child = os.fork()
    if not child:
        with hold(path):
            os._exit(0)
    os.waitpid(child, 0)
    with hold(path, patience=SOON):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DpkiError, match="could not write"), hold(tmp_path / "x" / "lock"):
        pytest.fail("no lock")
