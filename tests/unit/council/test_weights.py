"""Packing, cap and movement."""

from __future__ import annotations

import pytest

from dpki.council.parameters import DEFAULTS, Bounds
from dpki.council.threshold import Kind, Rule, Tally
from dpki.council.weights import (
    Outcome,
    Stance,
    cap_of,
    freeze,
    move,
    moves,
    pack,
    stance_of,
    unpack,
)

ROOT = Bounds(100, 50, 150)


@pytest.mark.parametrize(
    ("weights", "cap"),
    [
        ([65_535], 65_535),
        ([1, 2, 60_000], 65_535),
        ([100, 100, 100, 100], 100),
        ([1, 1, 1, 1], 1),
        ([100, 1, 1, 1], 1),
        ([100, 100, 1, 1], 1),
        ([100, 100, 100, 1], 100),
        ([100, 40, 40, 40], 59),
        ([100, 90, 40, 40], 79),
        ([65_535] * 128, 65_535),
    ],
)
def test_the_cap_of_known_councils(weights: list[int], cap: int) -> None:
    assert cap_of(weights) == cap


def test_seat_0_is_lowest_in_the_first_word() -> None:
    weights = tuple(range(1, 129))
    words = pack(weights)
    assert words[0] & 0xFFFF == 1
    assert words[0] >> 240 == 16
    assert words[7] >> 240 == 128
    assert unpack(words) == weights


def test_a_table_knows_who_sits_and_what_they_count() -> None:
    table = freeze({0: 100, 5: 40, 64: 40, 127: 40}, Rule.MORE_THAN_TWO_THIRDS)
    assert table.electorate == 1 | 1 << 5 | 1 << 64 | 1 << 127
    assert table.cap == 59
    assert table.everybody == Tally(179, 4)
    assert table.counted(0) == 59
    assert table.tally([0, 5, 5, 6]) == Tally(99, 2)


def test_slide_does_not_cap() -> None:
    assert freeze({0: 100, 1: 1, 2: 1, 3: 1}, Rule.SLIDE).total == 103


@pytest.mark.parametrize("weight", [0, 65_536])
def test_a_member_weighs_something_that_fits(weight: int) -> None:
    with pytest.raises(ValueError, match="can not weigh"):
        freeze({0: weight}, Rule.SLIDE)


@pytest.mark.parametrize(
    ("weight", "stance", "senior", "after"),
    [
        (100, Stance.WITH, False, 101),
        (100, Stance.WITH, True, 102),
        (100, Stance.AGAINST, True, 95),
        (100, Stance.ABSENT, True, 98),
        (149, Stance.WITH, True, 150),
        (52, Stance.AGAINST, False, 50),
    ],
)
def test_a_weight_moves_within_its_bounds(
    weight: int, stance: Stance, senior: bool, after: int
) -> None:
    assert move(weight, ROOT, DEFAULTS, stance, senior=senior) == after


@pytest.mark.parametrize(
    ("outcome", "approves", "rejects", "attended", "stance"),
    [
        (Outcome.EXECUTED, True, False, False, Stance.WITH),
        (Outcome.EXECUTED, False, True, True, Stance.AGAINST),
        (Outcome.REJECTED, True, False, True, Stance.AGAINST),
        (Outcome.REJECTED, False, True, False, Stance.WITH),
        (Outcome.REJECTED, False, False, True, Stance.ABSENT),
        (Outcome.EXECUTED, False, False, False, None),
    ],
)
def test_how_a_member_stood(
    outcome: Outcome, approves: bool, rejects: bool, attended: bool, stance: Stance | None
) -> None:
    assert stance_of(outcome, approves=approves, rejects=rejects, attended=attended) is stance


@pytest.mark.parametrize(
    ("kind", "outcome", "rejections", "rested", "moving"),
    [
        (Kind.DECISION, Outcome.EXECUTED, 0, True, True),
        (Kind.DECISION, Outcome.EXECUTED, 0, False, False),
        (Kind.DECISION, Outcome.EXPIRED, 0, True, False),
        (Kind.SUSPENSION, Outcome.EXECUTED, 0, True, False),
        (Kind.LIFT, Outcome.REJECTED, 100, True, False),
        # One third stops a decision; only a majority is proved right by it.
        (Kind.DECISION, Outcome.REJECTED, 50, True, False),
        (Kind.DECISION, Outcome.REJECTED, 51, True, True),
    ],
)
def test_when_weights_move(
    kind: Kind, outcome: Outcome, rejections: int, rested: bool, moving: bool
) -> None:
    assert moves(kind, outcome, rejections=rejections, total=100, rested=rested) is moving


def test_coming_every_second_time_loses_weight_in_the_long_run() -> None:
    weight = ROOT.initial
    for number in range(100):
        stance = Stance.WITH if number % 2 else Stance.ABSENT
        weight = move(weight, ROOT, DEFAULTS, stance, senior=False)
    assert weight < ROOT.initial
