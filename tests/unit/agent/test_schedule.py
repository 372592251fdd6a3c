"""When the daemon looks: at once where something happened, and never too often."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dpki.agent.schedule import (
    BURST,
    EAGER,
    LONGEST_PAUSE,
    LONGEST_SLEEP,
    RATE,
    THOROUGH,
    Hint,
    Schedule,
    Thoroughness,
    backoff,
    wait_until,
)

REST = Schedule(interval=12.0, due=0.0).succeeded(100.0, 0.0, pending=False)


class TestBackoff:
    def test_doubles_up_to_the_longest(self) -> None:
        pauses = [backoff(failures, 0.0) for failures in range(1, 12)]
        assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
        assert pauses[-1] == LONGEST_PAUSE

    def test_never_overflows(self) -> None:
        assert backoff(10**9, 0.0) == LONGEST_PAUSE

    @pytest.mark.parametrize("failures", [1, 5, 50])
    def test_chance_halves_it_at_most(self, failures: int) -> None:
        whole = backoff(failures, 0.0)
        assert whole / 2 < backoff(failures, 0.999) < whole


class TestPolling:
    def test_looks_at_intervals(self) -> None:
        assert REST.due == 112.0
        assert REST.succeeded(112.0, 0.5, pending=False).due == 112.0 + 12.0 * 0.95

    def test_after_failures_less_and_less_often(self) -> None:
        schedule, pauses = REST, []
        for _ in range(12):
            schedule = schedule.failed(schedule.due, 0.0)
            pauses.append(schedule.due - schedule.looked)
        assert pauses == sorted(pauses)
        assert pauses[-1] == LONGEST_PAUSE
        assert schedule.succeeded(schedule.due, 0.0, pending=False).failures == 0

    def test_a_long_interval_is_not_shortened_by_failing(self) -> None:
        rare = Schedule(interval=3600.0, due=0.0)
        for _ in range(20):
            rare = rare.failed(rare.due, 0.0)
        assert rare.due - rare.looked == 3600.0


class TestHints:
    def test_an_event_is_looked_at_at_once(self) -> None:
        assert REST.hinted(Hint.EVENT, 105.0).due == 105.0

    def test_a_block_alone_is_no_reason(self) -> None:
        assert REST.hinted(Hint.HEAD, 105.0) == REST

    def test_but_it_is_while_something_waits_for_blocks(self) -> None:
        waiting = REST.succeeded(101.0, 0.0, pending=True)
        assert waiting.hinted(Hint.HEAD, 105.0).due == 105.0

    def test_and_shortly_after_an_event(self) -> None:
        """The endpoint that is asked may lag behind the one that hinted."""
        after = REST.hinted(Hint.EVENT, 105.0).succeeded(105.1, 0.0, pending=False)
        assert after.hinted(Hint.HEAD, 107.0).due == 107.0
        assert after.hinted(Hint.HEAD, 105.0 + EAGER).due == after.due

    def test_a_hint_never_delays(self) -> None:
        due = replace(REST, due=50.0)
        assert due.hinted(Hint.EVENT, 105.0).due == 50.0

    @pytest.mark.parametrize("hint", list(Hint))
    def test_a_flood_costs_no_more_than_a_busy_chain(self, hint: Hint) -> None:
        schedule, now, looks = REST.hinted(Hint.EVENT, 101.0), 101.0, 0
        while now < 161.0:
            schedule = schedule.hinted(hint, now)
            if schedule.due <= now:
                looks += 1
                schedule = schedule.succeeded(now, 0.0, pending=True)
            now += 0.001
        assert looks <= BURST + RATE * 60 + 2

    def test_who_hints_and_does_not_answer_wins_nothing(self) -> None:
        failing = REST.failed(112.0, 0.0).failed(113.0, 0.0).failed(115.0, 0.0)
        assert failing.hinted(Hint.EVENT, 115.01).due == 116.0


class TestThoroughness:
    def test_at_first_at_once(self) -> None:
        assert Thoroughness().due < 0

    def test_what_was_well_holds_for_minutes(self) -> None:
        assert Thoroughness().looked(100.0, 0.5, is_well=True).due == 100.0 + THOROUGH

    def test_what_is_wrong_is_tried_less_and_less_often(self) -> None:
        thoroughness, pauses = Thoroughness(), []
        for _ in range(12):
            now = max(thoroughness.due, 0.0)
            thoroughness = thoroughness.looked(now, 0.0, is_well=False)
            pauses.append(thoroughness.due - now)
        assert pauses[:3] == [1.0, 2.0, 4.0]
        assert pauses == sorted(pauses)
        assert pauses[-1] == THOROUGH

    def test_and_soon_again_after_it_was_well(self) -> None:
        wrong = Thoroughness(failures=9).looked(100.0, 0.0, is_well=True)
        assert wrong.looked(200.0, 0.0, is_well=False).due == 201.0


class TestMoments:
    """Moments by the device's clock, which may be set while they are waited for."""

    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("moment", "seconds"),
        [
            (NOW + timedelta(seconds=7.5), 7.5),
            (NOW, 0.0),
            (NOW - timedelta(days=1), 0.0),
            (NOW + timedelta(days=1), LONGEST_SLEEP),
            (None, LONGEST_SLEEP),
        ],
    )
    def test_how_long_to_sleep(self, moment: datetime | None, seconds: float) -> None:
        assert wait_until(moment, self.NOW) == seconds
