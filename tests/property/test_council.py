"""The council's arithmetic, for any weights."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dpki.council.parameters import DEFAULTS, Bounds, Parameters
from dpki.council.threshold import Kind, Question, Rule, Standing, Tally, slide_quorum
from dpki.council.weights import Stance, cap_of, freeze, move, pack, unpack

weight = st.one_of(st.integers(1, 65_535), st.integers(1, 5), st.sampled_from([50, 100, 150]))
councils = st.lists(weight, min_size=4, max_size=128)
small = st.lists(st.integers(1, 40), min_size=4, max_size=12)


def fixed_point(weights: Sequence[int]) -> int:
    """Return the greatest cap by trying them all, from the greatest weight down."""
    for cap in range(max(weights), 0, -1):
        if 3 * cap < sum(min(weight, cap) for weight in weights):
            return cap
    raise AssertionError("no cap at all")


def frozen(weights: Sequence[int]) -> tuple[Tally, list[int]]:
    table = freeze(dict(enumerate(weights)), Rule.MORE_THAN_TWO_THIRDS)
    return table.everybody, [table.counted(seat) for seat in range(len(weights))]


def some(data: st.DataObject, counted: list[int]) -> tuple[set[int], Tally]:
    seats = data.draw(st.sets(st.integers(0, len(counted) - 1)))
    return seats, Tally(sum(counted[seat] for seat in seats), len(seats))


@given(small)
def test_the_cap_is_what_trying_all_of_them_gives(weights: list[int]) -> None:
    assert cap_of(weights) == fixed_point(weights)


@given(councils)
def test_everybody_counts_something_and_less_than_a_third(weights: list[int]) -> None:
    everybody, counted = frozen(weights)
    assert all(value >= 1 and 3 * value < everybody.weight for value in counted)
    cap = cap_of(weights)
    greater = cap + 1
    assert cap == max(weights) or 3 * greater >= sum(min(w, greater) for w in weights)


@given(councils)
def test_the_cap_keeps_the_order_of_members(weights: list[int]) -> None:
    _, counted = frozen(weights)
    order = sorted(range(len(weights)), key=lambda seat: weights[seat])
    assert [counted[seat] for seat in order] == sorted(counted)


@given(councils)
def test_from_four_members_on_nobody_decides_blocks_or_suspends_alone(weights: list[int]) -> None:
    everybody, counted = frozen(weights)
    for value in counted:
        one = Tally(value, 1)
        assert not Question().passes(one, everybody)
        assert Question().passes(everybody - one, everybody)
        assert not Question(Kind.SUSPENSION).passes(one, everybody)
        assert not Question(Kind.LIFT).passes(one, everybody)


@given(councils, st.data())
def test_two_quorums_share_more_than_a_third(weights: list[int], data: st.DataObject) -> None:
    everybody, counted = frozen(weights)
    quorums = []
    for _ in range(2):
        # From everybody, members leave in some order for as long as the rest still passes.
        seats = set(range(len(counted)))
        for seat in data.draw(st.permutations(range(len(counted)))):
            rest = seats - {seat}
            if Question().passes(Tally(sum(counted[s] for s in rest), len(rest)), everybody):
                seats = rest
        quorums.append(seats)
    both = quorums[0] & quorums[1]
    assert 3 * sum(counted[seat] for seat in both) > everybody.weight
    assert 3 * len(both) > everybody.heads


@given(st.integers(1, 127), st.data())
def test_two_slide_quorums_of_equals_may_share_the_faulty_alone(
    faults: int, data: st.DataObject
) -> None:
    quorum = slide_quorum(faults)
    members = data.draw(st.integers(quorum, max(quorum, 128)))
    first, second = set(range(quorum)), set(range(members - quorum, members))
    honest_shared = (first & second) - set(range(members - quorum, members - quorum + faults))
    question = Question(rule=Rule.SLIDE, faults=faults)
    assert question.passes(Tally(quorum, quorum), Tally(members, members))
    assert not question.passes(Tally(quorum - 1, quorum - 1), Tally(members, members))
    assert bool(honest_shared) is (members <= 3 * faults + 1)


@given(
    councils,
    st.sampled_from(Kind),
    st.sampled_from(Rule),
    st.integers(0, 63),
    st.booleans(),
    st.data(),
)
def test_more_approvals_never_hurt_and_rejected_is_the_end(
    weights: list[int], kind: Kind, rule: Rule, faults: int, cooling: bool, data: st.DataObject
) -> None:
    table = freeze(dict(enumerate(weights)), rule)
    question = Question(kind, rule, faults, cooling)
    everybody = table.everybody
    approving = data.draw(st.sets(st.integers(0, len(weights) - 1)))
    lost = data.draw(st.sets(st.integers(0, len(weights) - 1))) - approving
    standing = question.judge(table.tally(approving), table.tally(lost), everybody)
    rest = set(range(len(weights))) - lost
    best = question.passes(table.tally(rest), everybody)
    assert (standing is Standing.REJECTED) is not best
    if standing is Standing.APPROVED:
        assert question.passes(table.tally(rest), everybody)


@given(councils, st.sampled_from(Kind), st.sampled_from(Rule), st.integers(0, 63))
def test_what_is_missing_is_exact(weights: list[int], kind: Kind, rule: Rule, faults: int) -> None:
    everybody = freeze(dict(enumerate(weights)), rule).everybody
    question = Question(kind, rule, faults)
    least = question.least_weight(everybody)
    if least is None:
        assert not question.passes(everybody, everybody)
        return
    heads = everybody.heads
    assert question.passes(Tally(least, heads), everybody)
    assert not question.passes(Tally(least - 1, heads), everybody)


@given(st.lists(st.integers(0, 65_535), min_size=128, max_size=128))
def test_packing_loses_nothing(weights: list[int]) -> None:
    words = pack(weights)
    assert all(0 <= word < 2**256 for word in words)
    assert list(unpack(words)) == weights


@st.composite
def lawful(draw: st.DrawFn) -> Parameters:
    """Movement constants that the council accepts."""
    gain = draw(st.integers(0, 100))
    return Parameters(
        gain=gain,
        against=draw(st.integers(2 * gain, 65_535)),
        absent=draw(st.integers(gain, 65_535)),
        seniority=draw(st.integers(0, gain)),
    )


@st.composite
def bounded(draw: st.DrawFn) -> Bounds:
    minimum, initial, maximum = sorted(draw(st.tuples(weight, weight, weight)))
    return Bounds(initial, minimum, maximum)


@given(lawful(), bounded(), st.lists(st.tuples(st.sampled_from(Stance), st.booleans())))
def test_weights_stay_in_their_bounds_for_ever(
    parameters: Parameters, bounds: Bounds, story: list[tuple[Stance, bool]]
) -> None:
    parameters.check()
    value = bounds.initial
    for stance, senior in story:
        after = move(value, bounds, parameters, stance, senior=senior)
        assert bounds.minimum <= after <= bounds.maximum
        assert after >= value if stance is Stance.WITH else after <= value
        value = after


@given(lawful(), st.integers(1_000, 60_000))
def test_what_one_mistake_costs_takes_at_least_a_vote_more_to_win_back(
    parameters: Parameters, start: int
) -> None:
    bounds = Bounds(start, 1, 65_535)
    for stance in (Stance.AGAINST, Stance.ABSENT):
        down = move(start, bounds, parameters, stance, senior=True)
        up = move(down, bounds, parameters, Stance.WITH, senior=False)
        assert up <= start


def test_the_defaults_are_lawful() -> None:
    DEFAULTS.check()
