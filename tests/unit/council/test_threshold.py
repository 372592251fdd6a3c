"""How much has to agree, at the edges."""

from __future__ import annotations

import pytest

from dpki.council.threshold import (
    Kind,
    Question,
    Rule,
    Standing,
    Tally,
    faulty_alone,
    goes_on,
    lifts,
    quorums_meet,
    shared,
    slide_quorum,
    suspends,
    two_thirds_quorum,
)

DECISION = Question()


@pytest.mark.parametrize("members", [1, 2, 3])
def test_below_four_members_all_have_to_agree(members: int) -> None:
    everybody = Tally(100 * members, members)
    assert DECISION.passes(everybody, everybody)
    assert not DECISION.passes(Tally(everybody.weight, members - 1), everybody)


def test_below_four_members_weight_does_not_matter() -> None:
    assert DECISION.passes(Tally(0, 3), Tally(300, 3))


@pytest.mark.parametrize(
    ("weight", "heads", "passes"),
    [(7, 7, True), (6, 7, False), (7, 6, False), (9, 9, True)],
)
def test_exactly_two_thirds_are_too_few_by_weight_and_by_heads(
    weight: int, heads: int, passes: bool
) -> None:
    assert DECISION.passes(Tally(weight, heads), Tally(9, 9)) is passes


def test_slide_asks_for_average_weights_and_no_heads() -> None:
    slide = Question(rule=Rule.SLIDE, faults=6)
    everybody = Tally(2000, 20)
    assert slide.passes(Tally(1300, 1), everybody)
    assert not slide.passes(Tally(1299, 20), everybody)


def test_slide_does_not_round_the_average() -> None:
    # 3 averages of 10/7 are 4.28...: 4 are too few, 5 enough.
    slide = Question(rule=Rule.SLIDE, faults=1)
    assert not slide.passes(Tally(4, 4), Tally(10, 7))
    assert slide.passes(Tally(5, 5), Tally(10, 7))


def test_one_third_does_not_suspend_and_more_does() -> None:
    assert not suspends(100, 300, cooling=False)
    assert suspends(101, 300, cooling=False)


def test_while_cooling_one_half_suspends_and_less_does_not() -> None:
    assert not suspends(149, 300, cooling=True)
    assert suspends(150, 300, cooling=True)


def test_one_half_does_not_lift_and_more_does() -> None:
    assert not lifts(150, 300)
    assert lifts(151, 300)


def test_suspension_and_lift_ignore_heads_and_the_rule() -> None:
    everybody = Tally(300, 100)
    for rule in Rule:
        assert Question(Kind.SUSPENSION, rule).passes(Tally(101, 1), everybody)
        assert Question(Kind.LIFT, rule).passes(Tally(151, 1), everybody)


def test_a_round_is_rejected_once_the_rest_can_not_pass() -> None:
    everybody = Tally(900, 9)
    assert DECISION.judge(Tally(0, 0), Tally(200, 2), everybody) is Standing.UNDECIDED
    assert DECISION.judge(Tally(0, 0), Tally(300, 3), everybody) is Standing.REJECTED
    assert DECISION.judge(Tally(700, 7), Tally(200, 2), everybody) is Standing.APPROVED


def test_what_is_missing_is_exact() -> None:
    everybody = Tally(2003, 20)
    for question in (
        DECISION,
        Question(rule=Rule.SLIDE, faults=6),
        Question(Kind.SUSPENSION),
        Question(Kind.SUSPENSION, cooling=True),
        Question(Kind.LIFT),
    ):
        weight = question.least_weight(everybody)
        heads = question.least_heads(everybody)
        assert weight is not None
        assert question.passes(Tally(weight, heads), everybody)
        assert not question.passes(Tally(weight - 1, heads), everybody)
        assert heads == 1 or not question.passes(Tally(weight, heads - 1), everybody)


def test_a_slide_that_nobody_reaches_needs_no_weight() -> None:
    assert Question(rule=Rule.SLIDE, faults=2).least_weight(Tally(400, 4)) is None


def test_the_published_example_is_not_safe() -> None:
    """At n = 20, f = 6 two quorums of 13 may share 6 members, all of them faulty."""
    assert slide_quorum(6) == 13
    assert shared(20, 13) == 6
    assert not quorums_meet(20, 13, 6)
    assert quorums_meet(19, 13, 6)


def test_slide_is_safe_and_goes_on_at_three_f_plus_one_alone() -> None:
    for faults in range(43):
        quorum = slide_quorum(faults)
        for members in range(quorum, 129):
            assert quorums_meet(members, quorum, faults) is (members <= 3 * faults + 1)
            assert goes_on(members, quorum, faults) is (members >= 3 * faults + 1)


def test_slide_without_faults_lets_one_average_member_decide() -> None:
    assert Question(rule=Rule.SLIDE).passes(Tally(100, 1), Tally(2000, 20))


def test_two_thirds_is_safe_below_one_third_and_goes_on() -> None:
    for members in range(4, 129):
        quorum = two_thirds_quorum(members)
        faults = (members - 1) // 3
        assert quorums_meet(members, quorum, faults)
        assert goes_on(members, quorum, faults)
        assert not faulty_alone(quorum, faults)
        assert not goes_on(members, quorum, members - quorum + 1)
