from datetime import timedelta

import pytest

from dpki.config.durations import format_duration, parse_duration
from dpki.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("8h", timedelta(hours=8)),
        ("30d", timedelta(days=30)),
    ],
)
def test_reads_what_people_write(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "8", "h", "0h", "-1h", "1.5h", "8H", " 8h", "8h ", "8h30m", "1w", "99999999d", "٣h"],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert "30d" in caught.value.hint


@pytest.mark.parametrize("text", ["90s", "5m", "8h", "30d", "25h", "61s"])
def test_writes_what_it_reads(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


def test_writes_in_the_largest_unit_that_divides() -> None:
    assert format_duration(timedelta(hours=48)) == "2d"
    assert format_duration(timedelta(minutes=90)) == "90m"
    assert format_duration(timedelta(0)) == "0s"
