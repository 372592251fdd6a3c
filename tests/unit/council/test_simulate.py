"""Councils played through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dpki.council.parameters import DEFAULTS, Bounds, Role
from dpki.council.simulate import MOST_ROUNDS, Behaviour, Person, Setup, Story, crowd, simulate
from dpki.council.threshold import Rule
from dpki.council.weights import Outcome
from dpki.errors import UsageError

ROOT = Role.ROOT


def play(*groups: tuple[int, Behaviour], rounds: int = 100, **changed: object) -> Story:
    people = crowd([(count, ROOT, behaviour) for count, behaviour in groups])
    setup = Setup(people, rounds)
    return simulate(replace(setup, **changed))  # type: ignore[arg-type]


def test_honest_members_pass_everything_and_rise_to_their_maximum() -> None:
    story = play((7, Behaviour.HONEST), presence=100)
    assert story.passed(good=True) == 100
    assert story.final == (150,) * 7
    assert story.liveness_lost is None
    assert story.first("could_block") is None
    assert story.blocking_lost is None


def test_absent_members_sink_to_their_minimum() -> None:
    story = play((9, Behaviour.HONEST), (2, Behaviour.ABSENT))
    assert story.final[9:] == (50, 50)
    assert all(r.proposer not in (9, 10) for r in story.rounds)


def test_less_than_a_third_pass_nothing_bad_and_stop_nothing_good() -> None:
    story = play((14, Behaviour.HONEST), (6, Behaviour.MALICIOUS), presence=100)
    assert story.passed(good=False) == 0
    assert story.rejected(good=True) == 0
    assert story.passed(good=True) > 50
    assert story.final[14:] == (50,) * 6
    assert story.first("could_pass") is None
    assert story.first("could_suspend") is None


def test_more_than_a_third_block_but_do_not_win_by_it() -> None:
    """Rejecting is proved right by a majority alone: a third can not grind the others down."""
    story = play((13, Behaviour.HONEST), (7, Behaviour.MALICIOUS), presence=100)
    assert story.passed(good=True) == 0
    assert story.rejected(good=True) > 50
    assert story.liveness_lost == 1
    assert story.first("could_lift") is None
    assert min(story.final[:13]) > 100
    assert set(story.final[13:]) == {50}
    # They block by heads for as long as they sit, whatever they weigh.
    assert story.blocking_lost is None


def test_more_than_two_thirds_do_as_they_like() -> None:
    story = play((6, Behaviour.HONEST), (14, Behaviour.MALICIOUS))
    assert story.first("could_pass") == 1
    assert story.passed(good=False) > 50


def test_slide_passes_what_two_thirds_would_not() -> None:
    """The published figures: n = 20, f = 6, 13 average weights, and 13 faulty members have them."""
    slide = replace(DEFAULTS, rule=Rule.SLIDE, faults=6)
    groups = ((7, Behaviour.HONEST), (13, Behaviour.MALICIOUS))
    assert play(*groups, parameters=slide).passed(good=False) > 0
    assert play(*groups).passed(good=False) == 0


def test_a_flip_flopping_member_loses_faster_than_it_gains() -> None:
    story = play((9, Behaviour.HONEST), (1, Behaviour.FLIP_FLOPPING), presence=100, turn=10)
    weights = story.series(9)
    assert weights[10] == 110
    assert weights[20] == 60
    assert weights[30] == 70


def test_colluding_members_wait_until_half_time_when_they_are_too_few() -> None:
    story = play((9, Behaviour.HONEST), (2, Behaviour.COLLUDING), presence=100)
    weights = story.series(10)
    assert weights[50] == 150
    assert weights[51] == 145
    assert weights[-1] == 50


def test_colluding_members_turn_at_once_when_they_can_block() -> None:
    story = play((4, Behaviour.HONEST), (2, Behaviour.COLLUDING), presence=100)
    assert story.rounds[0].could_block
    assert story.passed(good=True) == 0


def test_a_council_whose_roots_stay_away_proposes_nothing() -> None:
    people = (
        Person(Role.ROOT, Behaviour.ABSENT),
        Person(Role.ORDINARY, Behaviour.HONEST),
        Person(Role.ORDINARY, Behaviour.HONEST),
        Person(Role.ORDINARY, Behaviour.HONEST),
    )
    story = simulate(Setup(people, 10))
    assert all(r.proposer is None and r.outcome is None for r in story.rounds)
    assert story.final == (100, 20, 20, 20)


def test_the_seed_is_the_story() -> None:
    first, again, other = (
        play((9, Behaviour.HONEST), (2, Behaviour.MALICIOUS), seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.rounds != other.rounds


def test_seniority_speeds_up_the_rise() -> None:
    senior = replace(DEFAULTS, senior_after=0)
    story = play((4, Behaviour.HONEST), rounds=10, presence=100, parameters=senior)
    assert story.final == (120,) * 4


def test_weight_that_was_lost_blocks_no_more() -> None:
    """Heavy roots that turn bad: few heads, so their block ends with their weight."""
    people = crowd([(9, Role.ORDINARY, Behaviour.HONEST), (2, ROOT, Behaviour.HONEST)])
    bad = crowd([(2, ROOT, Behaviour.MALICIOUS)])
    parameters = replace(DEFAULTS, root=Bounds(100, 20, 150), against=10)
    story = simulate(Setup((*people, *bad), 60, parameters, presence=100))
    assert story.first("could_block") == 1
    assert story.blocking_lost is not None
    assert story.blocking_lost > 1
    assert not any(r.could_block for r in story.rounds[story.blocking_lost - 1 :])


def test_every_round_is_counted_once() -> None:
    story = play((12, Behaviour.HONEST), (2, Behaviour.ABSENT), (6, Behaviour.FLIP_FLOPPING))
    counts = [
        count(good=good)
        for good in (True, False)
        for count in (story.passed, story.rejected, story.expired)
    ]
    assert sum(counts) == 100
    assert any(r.outcome is Outcome.EXPIRED for r in story.rounds)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rounds": 0}, "1 to 10000 rounds"),
        ({"rounds": MOST_ROUNDS + 1}, "1 to 10000 rounds"),
        ({"presence": 101}, "0 to 100 per cent"),
        ({"turn": 0}, "1 round or more"),
        ({"people": ()}, "1 to 128 members"),
        ({"people": (Person(Role.ORDINARY, Behaviour.HONEST),)}, "needs a root"),
        ({"parameters": replace(DEFAULTS, gain=9)}, "against must be"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        play((4, Behaviour.HONEST), **changed)
