import os
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import DpkiError
from dpki.issuance.lock import hold

SOON = timedelta(milliseconds=120)


def test_only_one_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "issue.lock"
    with hold(path), pytest.raises(DpkiError, match="another dpki is issuing"), hold(path, SOON):
        pytest.fail("two at once")
    with hold(path, SOON):
        pass


def test_is_let_go_of_by_a_process_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "issue.lock"
    child = os.fork()
    if not child:
        with hold(path):
            os._exit(0)
    os.waitpid(child, 0)
    with hold(path, SOON):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DpkiError, match="could not write"), hold(tmp_path / "x" / "lock"):
        pytest.fail("no lock")
