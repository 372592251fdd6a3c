"""docs/threat-model.md keeps its word: every row has tests, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| T(\d+) \|(.*)$", (ROOT / "docs/threat-model.md").read_text(), re.MULTILINE)


def test_there_are_twelve_rows() -> None:
    assert [number for number, _ in ROWS] == [str(n) for n in range(1, 13)]


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[f"T{number}" for number, _ in ROWS])
def test_the_row_has_tests_of_its_name(number: str, row: str) -> None:
    assert list((ROOT / "tests/security").glob(f"test_t{number}_*.py"))


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[f"T{number}" for number, _ in ROWS])
def test_what_the_row_names_exists(number: str, row: str) -> None:
    for name in re.findall(r"`(test_t\d+_\w*\*?|tests/[\w/]+)`", row):
        pattern = name if name.startswith("tests/") else f"tests/security/{name}"
        assert list(ROOT.glob(pattern)) or list(ROOT.glob(f"{pattern}.py")), name
