"""Replacements: what is noted of them, and what the new device is owed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.errors import DpkiError, UsageError
from dpki.issuance.database import Database
from dpki.issuance.replacements import (
    Replacement,
    Replacements,
    plan_replacement,
    retired_name,
)
from dpki.issuance.standing import Standing
from dpki.model import Address
from tests.unit.issuance.test_reissue import Fake
from tests.world import DOMAIN

A, B, C, D = (Address(bytes([i]) * 20) for i in range(1, 5))
THEN = datetime(2026, 11, 1, tzinfo=UTC)
FIRST = Replacement(A, B, "gate-1", THEN)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "journal.db", DOMAIN.id)


@pytest.fixture
def table(database: Database) -> Replacements:
    return Replacements(database)


def test_begun_again_it_keeps_its_first_moment_and_name(table: Replacements) -> None:
    table.begin(FIRST)
    later = Replacement(A, C, "retired-1.gate-1", THEN + timedelta(days=1))
    assert table.begin(later) == replace(FIRST, new=C)
    assert table.of_new(C) == replace(FIRST, new=C)
    assert table.of_new(B) is None


def test_one_that_is_done_stays_so(table: Replacements, database: Database) -> None:
    table.finish(table.begin(FIRST))
    assert table.of_new(B) == replace(FIRST, is_done=True)
    with pytest.raises(UsageError, match=f"is replaced already, by {B}"):
        table.begin(replace(FIRST, new=C))
    with pytest.raises(DpkiError, match="replaced already"):
        database.change("UPDATE replacements SET new = ? WHERE old = ?", bytes(C), bytes(A))


def test_a_device_takes_one_place(table: Replacements) -> None:
    table.begin(FIRST)
    with pytest.raises(UsageError, match="takes the place of gate-1 already"):
        table.begin(Replacement(C, B, "gate-2", THEN))


def test_what_was_never_given_is_passed_on(table: Replacements) -> None:
    first = table.begin(FIRST)
    second = table.begin(Replacement(B, C, "gate-1", THEN))
    assert table.owing(second) == (second, first)
    table.finish(second)
    third = table.begin(Replacement(C, D, "gate-1", THEN))
    assert table.owing(third) == (third,)
    assert table.of_new(B) == replace(FIRST, is_done=True)


def test_a_retired_name_fits_no_pattern_of_the_others() -> None:
    assert retired_name("gate-1", []) == "retired-1.gate-1"
    assert retired_name("gate-1", ["retired-1.gate-1"]) == "retired-2.gate-1"
    assert len(retired_name("g" * 64, [])) == 64


def owed(old: list[tuple[Fake, Standing]], new: list[tuple[Fake, Standing]]) -> list[int]:
    return [c.serial for c in plan_replacement(old, new).due]  # type: ignore[arg-type]


def test_the_newest_of_each_host_name_is_owed_once() -> None:
    one, two = ("a.example",), ("a.example", "b.example")
    old = [
        (Fake(1, principals=one, device=A), Standing.ANCHORED),
        (Fake(2, principals=one, device=A), Standing.ANCHORED),
        (Fake(3, principals=two, device=A), Standing.ANCHORED),
    ]
    assert owed(old, []) == [2, 3]
    new = (Fake(9, principals=one, device=B), Standing.ANCHORED)
    assert owed(old, [new]) == [3]
    assert owed(old, [(new[0], Standing.REVOKED)]) == [3]
    old[1] = old[1][0], Standing.REVOKED
    assert owed(old, []) == [3]
