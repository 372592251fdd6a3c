"""A council's weights from its events: right ones agree, each lie is named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from dpki.council.history import (
    Choice,
    Event,
    MemberAdded,
    MemberRemoved,
    ParametersChanged,
    RoleChanged,
    RoundOpened,
    RoundSettled,
    VoteCast,
    WeightsChanged,
)
from dpki.council.parameters import DAY, DEFAULTS, HOUR, Bounds, Role
from dpki.council.recompute import Recomputed, recompute
from dpki.council.threshold import Kind, Rule
from dpki.council.weights import Outcome, freeze, pack
from dpki.model import Address, Hash32

START = 1_700_000_000


def account(number: int) -> Address:
    return Address(bytes([number + 1]) * 20)


def round_id(number: int) -> Hash32:
    return Hash32(bytes([number + 1]) * 32)


@dataclass
class Chronicle:
    """Writes events by hand, tables included: a second telling of what the council emits."""

    events: list[Event] = field(default_factory=list)
    now: int = START
    number: int = 0
    rule: Rule = Rule.MORE_THAN_TWO_THIRDS

    def table(self, weights: dict[int, int]) -> None:
        self.number += 1
        table = freeze(weights, self.rule)
        self.events.append(
            WeightsChanged(
                self.now,
                self.number,
                pack(table.weights),
                table.electorate,
                table.cap,
                table.total,
            )
        )

    def found(self, roles: list[Role]) -> None:
        for seat, role in enumerate(roles):
            self.events.append(MemberAdded(self.now, account(seat), seat, role))
        self.events.append(ParametersChanged(self.now, DEFAULTS))
        initial = [DEFAULTS.bounds(role).initial for role in roles]
        self.table(dict(enumerate(initial)))

    def open(self, number: int, kind: Kind = Kind.DECISION, proposer: int = 0) -> None:
        opened = RoundOpened(self.now, round_id(number), account(proposer), kind, self.number)
        self.events.append(opened)

    def vote(self, number: int, seats: list[int], choice: Choice) -> None:
        for seat in seats:
            self.events.append(VoteCast(self.now, round_id(number), account(seat), choice))

    def settle(self, number: int, outcome: Outcome, *, moved: bool) -> None:
        self.events.append(RoundSettled(self.now, round_id(number), outcome, moved))

    def recompute(self) -> Recomputed:
        return recompute(self.events)


@pytest.fixture
def four() -> Chronicle:
    chronicle = Chronicle()
    chronicle.found([Role.ROOT, Role.ROOT, Role.INTERMEDIATE, Role.ORDINARY])
    return chronicle


def decided(
    chronicle: Chronicle, outcome: Outcome = Outcome.EXECUTED, after: int = DAY, moved: bool = True
) -> None:
    """Let seats 0 and 1 approve, seat 2 reject, seat 3 stay away."""
    chronicle.now += DAY
    chronicle.open(1)
    chronicle.vote(1, [0, 1], Choice.APPROVE)
    chronicle.vote(1, [2], Choice.REJECT)
    chronicle.now += after
    chronicle.settle(1, outcome, moved=moved)


def messages(recomputed: Recomputed) -> list[str]:
    return [difference.message for difference in recomputed.differences]


def weights(recomputed: Recomputed) -> list[int]:
    return list(recomputed.moments[-1].weights.values())


def test_the_founding_gives_everybody_their_role(four: Chronicle) -> None:
    recomputed = four.recompute()
    assert recomputed.differences == ()
    assert weights(recomputed) == [100, 100, 60, 20]
    assert recomputed.moments[0].number == 1
    assert recomputed.moments[0].table.cap == 79


def test_founding_parameters_count_from_the_start() -> None:
    chronicle = Chronicle()
    chronicle.events = [
        MemberAdded(START, account(0), 0, Role.ROOT),
        ParametersChanged(START, replace(DEFAULTS, root=Bounds(7, 5, 9))),
    ]
    chronicle.table({0: 7})
    assert messages(chronicle.recompute()) == []


def test_a_settled_round_moves_everybody_by_what_they_did(four: Chronicle) -> None:
    decided(four)
    four.table({0: 101, 1: 101, 2: 55, 3: 18})
    recomputed = four.recompute()
    assert messages(recomputed) == []
    assert weights(recomputed) == [101, 101, 55, 18]


def test_absence_from_a_short_round_costs_nothing(four: Chronicle) -> None:
    decided(four, after=12 * HOUR - 1)
    four.table({0: 101, 1: 101, 2: 55, 3: 20})
    assert messages(four.recompute()) == []


def test_who_has_sat_long_gains_more(four: Chronicle) -> None:
    four.now += DEFAULTS.senior_after
    decided(four)
    four.table({0: 102, 1: 102, 2: 55, 3: 18})
    assert messages(four.recompute()) == []


def test_a_vote_withdrawn_is_an_absence(four: Chronicle) -> None:
    four.now += DAY
    four.open(1)
    four.vote(1, [0, 1, 2], Choice.APPROVE)
    four.vote(1, [3], Choice.APPROVE)
    four.vote(1, [3], Choice.NONE)
    four.now += DAY
    four.settle(1, Outcome.EXECUTED, moved=True)
    four.table({0: 101, 1: 101, 2: 61, 3: 18})
    assert messages(four.recompute()) == []


def test_one_third_is_not_proved_right_by_rejecting(four: Chronicle) -> None:
    decided(four, Outcome.REJECTED, moved=False)
    assert messages(four.recompute()) == []


def test_a_majority_is(four: Chronicle) -> None:
    four.now += DAY
    four.open(1)
    four.vote(1, [0], Choice.APPROVE)
    four.vote(1, [1, 2], Choice.REJECT)
    four.settle(1, Outcome.REJECTED, moved=True)
    four.table({0: 95, 1: 101, 2: 61, 3: 20})
    assert messages(four.recompute()) == []


def test_weights_move_once_an_epoch(four: Chronicle) -> None:
    decided(four)
    four.table({0: 101, 1: 101, 2: 55, 3: 18})
    four.open(2)
    four.vote(2, [0, 1, 2], Choice.APPROVE)
    four.now += DAY - 1
    four.settle(2, Outcome.EXECUTED, moved=False)
    assert messages(four.recompute()) == []
    four.open(3)
    four.vote(3, [0, 1, 2, 3], Choice.APPROVE)
    four.now += 1
    four.settle(3, Outcome.EXECUTED, moved=True)
    four.table({0: 102, 1: 102, 2: 56, 3: 19})
    assert messages(four.recompute()) == []


def test_expired_rounds_and_alarms_move_nothing(four: Chronicle) -> None:
    decided(four, Outcome.EXPIRED, moved=False)
    four.open(2, Kind.SUSPENSION)
    four.vote(2, [0, 1], Choice.APPROVE)
    four.settle(2, Outcome.EXECUTED, moved=False)
    assert messages(four.recompute()) == []


def test_members_who_came_or_went_meanwhile_do_not_move(four: Chronicle) -> None:
    four.now += DAY
    four.open(1)
    four.vote(1, [0, 1, 2, 3], Choice.APPROVE)
    four.events.append(MemberRemoved(four.now, account(3), 3))
    four.table({0: 100, 1: 100, 2: 60})
    four.events.append(MemberAdded(four.now, account(9), 3, Role.ORDINARY))
    four.table({0: 100, 1: 100, 2: 60, 3: 20})
    four.now += DAY
    four.settle(1, Outcome.EXECUTED, moved=True)
    four.table({0: 101, 1: 101, 2: 61, 3: 20})
    recomputed = four.recompute()
    assert messages(recomputed) == []
    assert account(3) not in recomputed.moments[-1].weights


def test_who_went_and_came_back_does_not_move(four: Chronicle) -> None:
    four.now += DAY
    four.open(1)
    four.vote(1, [0, 1, 2, 3], Choice.APPROVE)
    four.events.append(MemberRemoved(four.now, account(3), 3))
    four.table({0: 100, 1: 100, 2: 60})
    four.events.append(MemberAdded(four.now, account(3), 3, Role.ORDINARY))
    four.table({0: 100, 1: 100, 2: 60, 3: 20})
    four.settle(1, Outcome.EXECUTED, moved=True)
    four.table({0: 101, 1: 101, 2: 61, 3: 20})
    assert messages(four.recompute()) == []


def test_the_rejected_round_of_a_removed_proposer_moves_nothing(four: Chronicle) -> None:
    four.now += DAY
    four.open(1, proposer=3)
    four.vote(1, [0, 1, 2], Choice.REJECT)
    four.events.append(MemberRemoved(four.now, account(3), 3))
    four.table({0: 100, 1: 100, 2: 60})
    four.settle(1, Outcome.REJECTED, moved=False)
    assert messages(four.recompute()) == []


def test_a_new_role_starts_with_its_weight(four: Chronicle) -> None:
    four.events.append(RoleChanged(four.now, account(3), Role.ROOT))
    four.table({0: 100, 1: 100, 2: 60, 3: 100})
    assert messages(four.recompute()) == []


def test_new_parameters_clamp_at_once(four: Chronicle) -> None:
    parameters = replace(DEFAULTS, root=Bounds(80, 50, 90))
    four.events.append(ParametersChanged(four.now, parameters))
    four.table({0: 90, 1: 90, 2: 60, 3: 20})
    recomputed = four.recompute()
    assert messages(recomputed) == []
    assert recomputed.parameters == parameters


def test_a_new_rule_changes_the_cap(four: Chronicle) -> None:
    parameters = replace(DEFAULTS, rule=Rule.SLIDE, faults=1)
    four.events.append(ParametersChanged(four.now, parameters))
    four.rule = Rule.SLIDE
    four.table({0: 100, 1: 100, 2: 60, 3: 20})
    assert messages(four.recompute()) == []


# -- lies ------------------------------------------------------------------------------------------


def test_a_wrong_weight_is_named_once(four: Chronicle) -> None:
    decided(four)
    four.table({0: 102, 1: 101, 2: 55, 3: 18})
    four.open(2)
    recomputed = four.recompute()
    assert messages(recomputed) == ["seat 0 weighs 102, not 101"]
    assert {difference.table for difference in recomputed.differences} == {2}


def test_a_wrong_cap_total_and_electorate_are_named(four: Chronicle) -> None:
    four.events[-1] = replace(four.events[-1], cap=80, total=261, electorate=31)
    assert messages(four.recompute()) == [
        "electorate is 31, not 15",
        "cap is 80, not 79",
        "total is 261, not 238",
    ]


def test_a_seat_that_nobody_took_is_named(four: Chronicle) -> None:
    event = four.events[-1]
    assert isinstance(event, WeightsChanged)
    four.events[-1] = replace(event, words=(event.words[0] | 9 << 64, *event.words[1:]))
    assert messages(four.recompute()) == ["seat 4 weighs 9, not 0"]


def test_weights_that_should_not_have_moved_are_named(four: Chronicle) -> None:
    decided(four, Outcome.EXPIRED, moved=True)
    told = messages(four.recompute())
    assert told == [f"round {round_id(1)} moved weights and should not have"]


def test_weights_that_should_have_moved_are_named(four: Chronicle) -> None:
    decided(four, moved=False)
    assert messages(four.recompute()) == [f"round {round_id(1)} should move weights"]


def test_a_missing_table_is_named(four: Chronicle) -> None:
    four.events.append(MemberAdded(four.now, account(4), 4, Role.ROOT))
    four.open(1)
    assert messages(four.recompute()) == ["weights changed and no table was written"]


def test_members_without_any_table_are_named() -> None:
    told = messages(recompute([MemberAdded(START, account(0), 0, Role.ROOT)]))
    assert told == ["weights changed and no table was written"]


def test_a_round_on_an_old_table_is_named(four: Chronicle) -> None:
    four.events.append(MemberAdded(four.now, account(4), 4, Role.ROOT))
    four.table({0: 100, 1: 100, 2: 60, 3: 20, 4: 100})
    four.number = 1
    four.open(1)
    told = messages(four.recompute())
    assert told == [f"round {round_id(1)} opened on table 1, not the last one"]


def test_a_skipped_table_is_named(four: Chronicle) -> None:
    four.number = 2
    four.events.append(MemberAdded(four.now, account(4), 4, Role.ROOT))
    four.table({0: 100, 1: 100, 2: 60, 3: 20, 4: 100})
    assert messages(four.recompute()) == ["table 3 follows table 1"]


def test_a_round_settled_twice_is_named(four: Chronicle) -> None:
    decided(four)
    four.table({0: 101, 1: 101, 2: 55, 3: 18})
    four.settle(1, Outcome.EXECUTED, moved=False)
    told = messages(four.recompute())
    assert told == [f"round {round_id(1)} was settled without having been open"]


def test_a_vote_of_somebody_without_one_is_named(four: Chronicle) -> None:
    four.open(1)
    four.vote(1, [7], Choice.APPROVE)
    four.vote(2, [0], Choice.APPROVE)
    assert messages(four.recompute()) == [
        f"{account(7)} has no vote in round {round_id(1)}",
        f"{account(0)} has no vote in round {round_id(2)}",
    ]


def test_nothing_comes_of_nothing() -> None:
    recomputed = recompute([])
    assert recomputed.moments == ()
    assert recomputed.differences == ()
