from __future__ import annotations

import pytest

from dpki.doctor.finding import Finding, Level, attempt, exit_status, from_error, worst
from dpki.errors import CheckedFalse, ConfigError, CouldNotCheck, DpkiError, EndpointUnavailable


def of(*levels: Level) -> list[Finding]:
    return [Finding("part", level, "said") for level in levels]


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ((), 0),
        ((Level.OK,), 0),
        ((Level.OK, Level.WARNING), 0),
        ((Level.WARNING, Level.COULD_NOT_CHECK, Level.OK), 5),
        ((Level.PROBLEM, Level.COULD_NOT_CHECK, Level.OK), 3),
    ],
)
def test_the_worst_decides_the_exit_status(levels: tuple[Level, ...], status: int) -> None:
    assert exit_status(of(*levels)) == status
    if levels:
        assert worst(of(*levels)) in levels


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ConfigError("no"), Level.PROBLEM),
        (CheckedFalse("no"), Level.PROBLEM),
        (CouldNotCheck("no idea"), Level.COULD_NOT_CHECK),
        (EndpointUnavailable("no idea"), Level.COULD_NOT_CHECK),
    ],
)
def test_a_no_and_a_could_not_check_stay_apart(error: DpkiError, level: Level) -> None:
    # claim T11
    def look() -> str:
        raise error

    found = attempt("part", look, where="there", mend="do this")
    assert (found.level, found.said) == (level, error.message)
    assert (found.where, found.mend) == ("there", "do this")


def test_what_may_not_be_read_was_not_checked() -> None:
    error = DpkiError("could not read it")
    error.__cause__ = PermissionError()
    found = from_error("part", error, mend="restore it")
    assert found.level is Level.COULD_NOT_CHECK
    assert "root" in found.mend


def test_the_error_s_hint_mends_where_nothing_better_is_known() -> None:
    assert from_error("part", ConfigError("no", hint="hint")).mend == "hint"


def test_people_and_programs_read_the_same() -> None:
    found = Finding("clock", Level.PROBLEM, "it is wrong", "here", "set it")
    text = "\n".join(found.lines())
    for word in ("problem", "clock", "it is wrong", "here", "mend: set it"):
        assert word in text
    assert found.to_json() == {
        "part": "clock",
        "level": "problem",
        "said": "it is wrong",
        "where": "here",
        "mend": "set it",
    }
    assert len(Finding("clock", Level.OK, "fine").lines()) == 1
