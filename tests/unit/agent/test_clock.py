from datetime import UTC, datetime, timedelta

import pytest

from dpki.agent.clock import judge_clock
from tests.world import NOW

LIMIT = timedelta(minutes=10)


@pytest.mark.parametrize("apart", [timedelta(0), LIMIT, -LIMIT, timedelta(seconds=-1)])
def test_within_the_limit_nothing_is_said(apart: timedelta) -> None:
    assert judge_clock(NOW + apart, NOW, LIMIT) == ""


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        (-timedelta(minutes=11), "the clock is 11 minutes behind the chain"),
        (-timedelta(days=1), "the clock is 1 day behind the chain"),
        (timedelta(hours=2, minutes=59), "the clock is 2 hours ahead of the chain"),
    ],
)
def test_beyond_it_which_way_and_how_far(apart: timedelta, said: str) -> None:
    assert judge_clock(NOW + apart, NOW, LIMIT).startswith(said)


def test_a_device_that_boots_in_1970_says_so() -> None:
    assert " days behind" in judge_clock(datetime(1970, 1, 1, tzinfo=UTC), NOW, LIMIT)


def test_seconds_are_said_too() -> None:
    assert "30 seconds" in judge_clock(NOW, NOW + timedelta(seconds=30), timedelta(seconds=1))
