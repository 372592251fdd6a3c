"""Databases that are not ours, or not any more: one clear error, and not a byte of them changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.state import open_state
from dpki.errors import ConfigError, DpkiError
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.sqlite import Schema, open_database
from tests.parsers import DOMAIN as PARSED
from tests.parsers import PARSERS
from tests.world import DOMAIN

SCHEMA = Schema(
    "the test's file",
    (
        "CREATE TABLE a (b INTEGER) STRICT;\nCREATE INDEX c ON a (b);\n",
        "CREATE TABLE d (e TEXT) STRICT;\n",
    ),
    "restore it",
)
Open = Callable[[Path], object]


def open_journal(path: Path) -> None:
    with Database(path, DOMAIN.id):
        pass


def open_agent(path: Path) -> None:
    with open_state(path.parent) as state:
        state.memory()


def open_plain(path: Path) -> None:
    open_database(path, SCHEMA).close()


@pytest.fixture(params=[open_journal, open_agent, open_plain])
def opening(request: pytest.FixtureRequest) -> Open:
    chosen: Open = request.param
    return chosen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


def refused(opening: Open, path: Path) -> DpkiError:
    """Open it in vain; return the error, after checking that nothing was touched."""
    before = path.read_bytes(), path.stat().st_mode
    with pytest.raises(DpkiError) as caught:
        opening(path)
    assert (path.read_bytes(), path.stat().st_mode) == before
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def foreign(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "content",
    [b"this is no database, whatever it may look like" * 100, b"SQLite format 3\0" + bytes(84)],
    ids=["garbage", "header"],
)
def test_garbage(opening: Open, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(opening, path)


def test_truncated(opening: Open, path: Path) -> None:
    opening(path)
    whole = path.read_bytes()
    # Pages: what is missing of the last one, SQLite takes for zeros.
    for length in (1, 50, 100, 512, 4096, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:length])
        refused(opening, path)
    path.write_bytes(whole)
    opening(path)


def test_another_programs(opening: Open, path: Path) -> None:
    foreign(path, "CREATE TABLE bookmarks (url TEXT)")
    error = refused(opening, path)
    assert "is not the" in error.message
    assert error.exit_status == 2


def test_another_programs_with_a_version_like_ours(opening: Open, path: Path) -> None:
    foreign(path, "CREATE TABLE bookmarks (url TEXT)", "PRAGMA user_version = 1")
    assert isinstance(refused(opening, path), ConfigError)


def test_of_a_later_version(opening: Open, path: Path) -> None:
    opening(path)
    foreign(path, "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 99")
    error = refused(opening, path)
    assert "is of version 99" in error.message
    assert error.hint == "use the dpki that wrote it"


@pytest.mark.parametrize(
    "change", ["CREATE TABLE more (a)", "CREATE TRIGGER t AFTER INSERT ON {0} BEGIN SELECT 1; END"]
)
def test_ours_with_something_added(opening: Open, path: Path, change: str) -> None:
    """A trigger that nobody knows could do anything with what is written."""
    opening(path)
    with sqlite3.connect(path) as connection:
        ((table,), *_) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    connection.close()
    foreign(path, "PRAGMA journal_mode = DELETE", change.format(table))
    assert isinstance(refused(opening, path), ConfigError)


def test_the_journal_in_the_place_of_the_agents_database(path: Path) -> None:
    open_journal(path)
    foreign(path, "PRAGMA journal_mode = DELETE")
    assert isinstance(refused(open_agent, path), ConfigError)


def test_a_journal_without_its_domain(path: Path) -> None:
    open_journal(path)
    foreign(path, "PRAGMA journal_mode = DELETE", "DELETE FROM domain")
    assert "is damaged" in refused(open_journal, path).message


def test_a_journal_of_another_domain_is_not_even_brought_up_to_date(path: Path) -> None:
    with Database(path, replace(DOMAIN.id, chain_id=1135)):
        pass
    foreign(path, "PRAGMA journal_mode = DELETE")
    assert "belongs to the trust domain" in refused(open_journal, path).message


def test_an_older_one_is_brought_up_to_date(path: Path) -> None:
    open_database(path, Schema(SCHEMA.what, SCHEMA.steps[:1], "")).close()
    connection = open_database(path, SCHEMA)
    connection.execute("INSERT INTO d VALUES ('x')")
    assert connection.execute("PRAGMA user_version").fetchall() == [(2,)]
    connection.close()


def test_statistics_of_sqlite_itself_are_no_strangers(path: Path) -> None:
    open_plain(path)
    foreign(path, "INSERT INTO a VALUES (1)", "ANALYZE")
    open_plain(path)


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE batches SET state = 'melted'", None),
        ("UPDATE authorities SET id = ?", b"short"),
        ("UPDATE certificates SET not_after = 99999999999999999", None),
        ("UPDATE placements SET state = 'lost'", None),
    ],
)
def test_values_that_nobody_wrote(path: Path, statement: str, value: bytes | None) -> None:
    """By a disk that flips bits, say: SQLite checks what it writes, not what it reads."""
    path.write_bytes(PARSERS["journal"].seeds[0])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, () if value is None else (value,))
    connection.close()
    with Database(path, PARSED) as database:
        journal = Journal(database)

        def read_all() -> None:
            journal.load_all()
            journal.placements.load()
            Index(database).authorities()

        with pytest.raises(DpkiError, match="is damaged") as caught:
            read_all()
    assert "restore" in caught.value.hint
