"""How endpoints behaved, kept from one process to the next."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.chain.quorum import LONGEST_PENALTY, PENALTY, Fault, Standing
from dpki.chain.standings import (
    ENDPOINTS,
    FILE,
    REMEMBERED,
    Named,
    Standings,
    StandingsFile,
    encode_standings,
    key_of,
    parse_standings,
)
from dpki.errors import MalformedInput

URLS = ("https://user:hunter2@one.example/key-4711", "https://two.example")
NAMES = ("https://one.example", "https://two.example")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / FILE


def process(path: Path, clock: Clock, urls: tuple[str, ...] = URLS) -> Standings:
    """Return what a process knows that begins now."""
    names = [NAMES[URLS.index(url)] for url in urls]
    return Standings(names, clock, urls=urls, file=StandingsFile(path))


def test_who_lied_to_one_process_is_asked_last_by_the_next(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.FORGED)
    later = process(path, clock)
    assert later.order() == [1, 0]
    assert later.aside() == (f"{NAMES[0]}: {Fault.FORGED.value}",)


def test_it_goes_by_the_url_and_not_by_its_place(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.SILENT)
    later = process(path, clock, (URLS[1], URLS[0]))
    assert [later.is_aside(place) for place in (0, 1)] == [False, True]


def test_the_second_time_is_longer_in_another_process_too(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.SILENT)
    clock.now += PENALTY.total_seconds() + 1
    later = process(path, clock)
    assert not later.is_aside(0)
    later.punish(0, Fault.SILENT)
    clock.now += PENALTY.total_seconds() + 1
    assert process(path, clock).is_aside(0)


def test_good_answers_are_remembered(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.SILENT)
    clock.now += PENALTY.total_seconds() + 1
    process(path, clock).forgive(0)
    assert process(path, clock).order() == [0, 1]
    assert StandingsFile(path).load() == {}


def test_no_secret_of_a_url_is_written(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.SILENT)
    text = path.read_text()
    assert "hunter2" not in text
    assert "key-4711" not in text
    assert key_of(URLS[0]) in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_processes_leave_each_others_endpoints_alone(path: Path, clock: Clock) -> None:
    one, other = process(path, clock, URLS[:1]), process(path, clock, URLS[1:])
    one.punish(0, Fault.SILENT)
    other.punish(0, Fault.FORKED)
    both = process(path, clock)
    assert [both.is_aside(place) for place in (0, 1)] == [True, True]


@pytest.mark.parametrize("running", [True, False], ids=["in a process", "between processes"])
def test_a_clock_that_goes_back_sets_nobody_aside_for_long(
    path: Path, clock: Clock, running: bool
) -> None:
    standings = process(path, clock)
    standings.punish(0, Fault.SILENT)
    clock.now -= timedelta(days=300).total_seconds()
    if not running:
        standings = process(path, clock)
    assert standings.is_aside(0)
    clock.now += LONGEST_PENALTY.total_seconds() + 1
    # Another process still: what was capped was written, or it would be capped for ever.
    assert not process(path, clock).is_aside(0)
    assert not standings.is_aside(0)


def test_a_clock_that_leaps_ahead_forgives(path: Path, clock: Clock) -> None:
    process(path, clock).punish(0, Fault.SILENT)
    clock.now += timedelta(days=300).total_seconds()
    assert not process(path, clock).is_aside(0)


ENTRY = {"name": "n", "faults": 1, "until": 5.0, "fault": "SILENT"}


def document(**fields: object) -> bytes:
    return json.dumps({"version": 1, "endpoints": {"aa" * 32: ENTRY | fields}}).encode()


MALFORMED = [
    b"",
    b"\xff",
    b"[" * 100_000,
    b"[]",
    b'{"version": 2, "endpoints": {}}',
    b'{"version": 1}',
    b'{"version": 1, "endpoints": []}',
    b'{"version": 1, "endpoints": {"aa": {}}}',
    b'{"version": 1, "endpoints": {"aa": 7}}',
    document(fault="KIND"),
    document(fault=None),
    document(faults=0),
    document(faults=17),
    document(faults="1"),
    document(until="1"),
    document(until=-1),
    document(until=10**400),
    document().replace(b"5.0", b"1e999"),
    document().replace(b"5.0", b"NaN"),
    document(name=1),
    document().replace(b"aa" * 32, b"aa"),
    document().replace(b"aa" * 32, b"zz" * 32),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_standings(data)


@pytest.mark.parametrize("data", [MALFORMED[0], MALFORMED[2], b"x" * 300_000])
def test_a_damaged_file_is_begun_anew(path: Path, clock: Clock, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    standings = process(path, clock)
    assert standings.order() == [0, 1]
    standings.punish(0, Fault.SILENT)
    assert process(path, clock).is_aside(0)


def test_where_nothing_can_be_written_it_is_kept_in_memory(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "folder").write_text("a file")
    standings = process(tmp_path / "folder" / FILE, clock)
    standings.punish(0, Fault.SILENT)
    assert standings.is_aside(0)


def test_what_is_written_is_read(clock: Clock) -> None:
    known = {key_of(url): Named(url, Standing(3, clock.now, Fault.BEHIND)) for url in NAMES}
    assert parse_standings(encode_standings(known)) == known


def test_the_file_stays_small(path: Path, clock: Clock) -> None:
    file = StandingsFile(path)
    old = Named("old", Standing(1, clock.now - REMEMBERED.total_seconds() - 1, Fault.SILENT))
    many = {
        key_of(str(n)): Named("n", Standing(1, clock.now + n, Fault.SILENT))
        for n in range(ENDPOINTS + 9)
    }
    file.save({key_of("old"): old, **many}, clock.now)
    kept = file.load()
    assert len(kept) == ENDPOINTS
    assert key_of("old") not in kept
    assert key_of(str(ENDPOINTS + 8)) in kept
