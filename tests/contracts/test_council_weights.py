"""Weights: what counts in a round, and how weights move when rounds are settled. M2 to M6, I6."""

from dataclasses import replace

import pytest

from tests.contracts.conftest import event, events
from tests.contracts.council import (
    DAY,
    STILL,
    Kind,
    Parameters,
    Role,
    RoundState,
    Rule,
    found,
    make_member,
    unpack,
)

MOVING = Parameters(gain=3, against=7, absent=4, seniority=2)
START = [100, 100, 100, 60, 60, 20]
ROLES = [Role.ROOT] * 3 + [Role.INTERMEDIATE] * 2 + [Role.ORDINARY]


def weigh(world, weights):
    """Found a council whose members weigh this, with one role for each of three weights at most."""
    by_weight = sorted(set(weights), reverse=True)
    roles = dict(zip(by_weight, (Role.ROOT, Role.INTERMEDIATE, Role.ORDINARY), strict=False))
    assert len(roles) == len(by_weight)
    bounds = {role.name.lower(): (weight, 1, 65535) for weight, role in roles.items()}
    return found(world, [roles[weight] for weight in weights], replace(STILL, **bounds))


#: name: the weights, the cap.
CAPS = {
    "equal": ([100] * 4, 100),
    "just below a third": ([99, 67, 66, 67], 99),
    "just a third": ([100, 67, 66, 67], 99),
    "one above all others": ([65535, 1, 1, 1], 1),
    "two above all others": ([65535, 65535, 1, 1], 1),
    "two, and an unequal rest": ([500, 500, 2, 1], 2),
    "three of one weight": ([10, 10, 10, 1], 10),
    "one ahead of two": ([1000, 300, 300, 1], 300),
    "the lightest": ([1, 1, 1, 1], 1),
    "the heaviest": ([65535] * 6, 65535),
}


class TestCap:
    """M4: from four members on nobody counts a third of what all count together."""

    @pytest.mark.parametrize("case", CAPS)
    def test_is_the_largest_below_a_third(self, world, case):
        weights, cap = CAPS[case]
        table = weigh(world, weights).table
        assert unpack(table.weights) == weights
        assert table.cap == cap
        assert table.total == sum(min(w, cap) for w in weights)
        assert 3 * cap < table.total
        # One more, and whoever is capped would count a third.
        higher = [min(w, cap + 1) for w in weights]
        assert max(weights) == cap or 3 * max(higher) >= sum(higher)

    @pytest.mark.parametrize("weights", [[7], [65535, 1], [65535, 9, 1]])
    def test_is_none_below_four(self, world, weights):
        table = weigh(world, weights).table
        assert (table.cap, table.total) == (65535, sum(weights))

    def test_is_what_a_vote_counts(self, world):
        council = weigh(world, [1000, 10, 10, 10])
        opened = council.propose(council.own("removeMember", council.members[3]))
        council.approve(opened, 0)
        assert council.round(opened).approvalWeight == 14
        council.approve(opened, 1)
        assert council.round(opened).approvalWeight == 24


class TestThreshold:
    """How much is enough, and that less is not."""

    def passes(self, council, voters):
        opened = council.propose(council.own("removeMember", council.members[-1]))
        council.relay(opened, *[council.signed(opened, n) for n in voters])
        return council.state(opened) == RoundState.APPROVED

    @pytest.mark.parametrize(
        ("members", "enough"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7)]
    )
    def test_strictly_more_than_two_thirds_of_equals(self, world, members, enough):
        """Below four members: all. Of six, four are just two thirds."""
        council = found(world, [Role.ROOT] * members, STILL)
        assert not self.passes(council, range(enough - 1))
        more = found(world, [Role.ROOT] * members, STILL)
        assert self.passes(more, range(enough))

    def test_exactly_two_thirds_of_the_weight_are_not_enough(self, world):
        """Five of seven heads, and 200 of 300."""
        council = weigh(world, [50, 50, 40, 40, 40, 40, 40])
        assert not self.passes(council, range(2, 7))

    def test_weight_without_heads_is_not_enough(self, world):
        """Three of 100 and three of 20: the three heavy ones weigh 83 %, and are half."""
        council = found(world, [Role.ROOT] * 3 + [Role.ORDINARY] * 3, STILL)
        assert not self.passes(council, [0, 1, 2, 3])
        council = found(world, [Role.ROOT] * 3 + [Role.ORDINARY] * 3, STILL)
        assert self.passes(council, [0, 1, 2, 3, 4])

    def test_heads_without_weight_are_not_enough(self, world):
        """Seven of nine heads weigh 140 of 338."""
        council = found(world, [Role.ROOT] * 2 + [Role.ORDINARY] * 7, STILL)
        assert not self.passes(council, range(2, 9))

    @pytest.mark.parametrize(("faults", "enough"), [(0, 1), (1, 3), (2, 5), (3, 7)])
    def test_slide_is_that_many_average_weights(self, world, faults, enough):
        parameters = replace(STILL, rule=Rule.SLIDE, faults=faults)
        council = found(world, [Role.ROOT] * 7, parameters)
        assert not self.passes(council, range(enough - 1))
        council = found(world, [Role.ROOT] * 7, parameters)
        assert self.passes(council, range(enough))

    def test_slide_counts_weight_alone(self, world):
        """Averages of 100, 100, 20, 20: two heavy ones outweigh three averages of 60."""
        parameters = replace(STILL, rule=Rule.SLIDE, faults=1)
        council = found(world, [Role.ROOT] * 2 + [Role.ORDINARY] * 2, parameters)
        assert self.passes(council, [0, 1])

    def test_the_rule_of_a_round_is_that_of_its_opening(self, world):
        """I6: a laxer rule later passes no round that is open."""
        council = found(world, [Role.ROOT] * 5, STILL)
        opened = council.propose(council.own("removeMember", council.members[4]), by=1)
        council.decide(council.own("setParameters", replace(STILL, rule=Rule.SLIDE).abi))
        council.approve(opened, 0, 1, 2)
        assert council.state(opened) == RoundState.OPEN
        council.approve(opened, 3)
        assert council.state(opened) == RoundState.APPROVED


class TestMovement:
    """M6. Every test begins with the same six, who have sat for a moment."""

    @pytest.fixture(scope="class")
    def council(self, world):
        return found(world, ROLES, MOVING)

    def nothing(self, council):
        """A call that adds nothing and takes nothing: the parameters that stand."""
        return council.own("setParameters", MOVING.abi)

    def open(self, council, by=0, lasts=7 * DAY):
        return council.propose(self.nothing(council), by=by, lasts=lasts)

    def changes(self, council):
        return [now - before for now, before in zip(council.weights(), START, strict=True)]

    def test_with_the_outcome_up_and_against_it_down(self, council):
        opened = self.open(council)
        council.approve(opened, 0, 1, 3, 4, 5)
        council.reject(opened, 2)
        council.wait(DAY)
        receipt = council.execute(opened)
        assert self.changes(council) == [3, 3, -7, 3, 3, 3]
        table = council.contract.currentTable()
        assert council.contract.lastMoved() == receipt.timestamp
        assert events(receipt)[-2:] == [
            event("RoundSettled", round=opened.id, outcome=RoundState.EXECUTED, moved=True),
            event(
                "WeightsChanged",
                table=table,
                weights=list(council.table.weights),
                electorate=0b111111,
                cap=council.table.cap,
                total=council.table.total,
            ),
        ]

    def test_absent_down(self, council):
        opened = self.open(council)
        council.approve(opened, 0, 1, 2, 3, 4)
        council.wait(DAY)
        council.execute(opened)
        assert self.changes(council) == [3, 3, 3, 3, 3, -4]

    def test_absent_only_after_attendance(self, council):
        """Who had no time to vote lost nothing: a fast two thirds could grind the others down."""
        opened = council.propose(council.own("removeMember", council.members[5]), by=1)
        council.execute(opened, *[council.signed(opened, n) for n in range(1, 6)])
        assert council.weights()[:5] == [100, 103, 103, 63, 63]

    @pytest.mark.parametrize(("early", "loss"), [(1, 0), (0, 4)])
    def test_attendance_is_from_the_opening(self, council, early, loss):
        opened = council.propose(council.own("removeMember", council.members[5]))
        council.relay(opened, *[council.signed(opened, n) for n in range(1, 6)])
        opened_at = council.round(opened).openedAt
        council.world.chain.pending_timestamp = opened_at + MOVING.attendance - early
        council.execute(opened)
        assert council.weights()[0] == 100 - loss

    def test_a_withdrawn_vote_is_absence(self, council):
        opened = self.open(council)
        council.approve(opened, 0, 1, 2, 3, 4, 5)
        council.withdraw(opened, 5)
        council.wait(DAY)
        council.execute(opened)
        assert self.changes(council) == [3, 3, 3, 3, 3, -4]

    def test_seniority_after_its_time(self, world):
        council = found(world, ROLES, MOVING)
        newcomer = make_member(world, 1000)
        council.wait(100 * DAY)
        council.decide(council.own("addMember", newcomer, Role.ROOT), voters=range(6))
        before = council.weights()
        council.wait(MOVING.senior_after - 100 * DAY)
        council.members.append(newcomer)
        council.decide(self.nothing(council))
        assert [b - a for a, b in zip(before, council.weights(), strict=True)] == [5] * 6 + [3]

    def test_rejected_by_most(self, council):
        """Whoever was for it was against the outcome."""
        opened = self.open(council)
        council.reject(opened, 1, 2, 3, 4)
        council.approve(opened, 0)
        council.wait(MOVING.attendance)
        receipt = council.settle(opened)
        assert events(receipt)[0] == event(
            "RoundSettled", round=opened.id, outcome=RoundState.REJECTED, moved=True
        )
        assert self.changes(council) == [-7, 3, 3, 3, 3, -4]

    def test_rejected_by_most_at_once(self, council):
        opened = self.open(council)
        council.reject(opened, 1, 2, 3, 4)
        council.settle(opened)
        assert self.changes(council) == [0, 3, 3, 3, 3, 0]

    def test_rejected_by_less_moves_nothing(self, council):
        """A third could reject round after round, and take the others' weight each time."""
        opened = self.open(council)
        council.reject(opened, 1, 2)
        council.approve(opened, 0, 3)
        assert council.state(opened) == RoundState.REJECTED
        council.wait(7 * DAY)
        council.settle(opened)
        assert self.changes(council) == [0] * 6

    def test_votes_after_the_rejection_count_for_it(self, council):
        opened = self.open(council)
        council.reject(opened, 1, 2)
        council.reject(opened, 0, 3)
        council.approve(opened, 4)
        council.settle(opened)
        assert self.changes(council) == [3, 3, 3, 3, -7, 0]

    def test_expired_moves_nothing(self, council):
        """Approved or not: nothing was decided."""
        for approvals in (2, 6):
            opened = self.open(council, lasts=2 * DAY)
            council.approve(opened, *range(approvals))
            council.wait(2 * DAY)
            council.settle(opened)
            assert self.changes(council) == [0] * 6

    def test_alarms_move_nothing(self, world, council):
        """Test of what is executed: test_council_alarms.py."""
        alarm = council.alarm(Kind.SUSPENSION)
        council.reject(alarm, 0, 1, 2, 3)
        council.wait(DAY)
        council.settle(alarm)
        assert self.changes(council) == [0] * 6

    def test_once_an_epoch(self, council):
        first, second = self.open(council, by=0), self.open(council, by=1)
        for opened in (first, second):
            council.relay(opened, *[council.signed(opened, n) for n in range(6)])
        council.wait(DAY)
        moved = council.execute(first).timestamp
        assert self.changes(council) == [3] * 6
        third = self.open(council, by=0)
        council.relay(third, *[council.signed(third, n) for n in range(6)])
        council.world.chain.pending_timestamp = moved + DAY - 1
        receipt = council.execute(second)
        assert not events(receipt)[-1][1]["moved"]
        assert self.changes(council) == [3] * 6
        council.world.chain.pending_timestamp = moved + DAY + 60
        council.execute(third)
        assert self.changes(council) == [6] * 6

    def test_exactly_an_epoch_later(self, council):
        first, second = self.open(council, by=0), self.open(council, by=1)
        for opened in (first, second):
            council.relay(opened, *[council.signed(opened, n) for n in range(6)])
        council.wait(DAY)
        council.world.chain.pending_timestamp = council.execute(first).timestamp + DAY
        council.execute(second)
        assert self.changes(council) == [6] * 6

    def test_within_the_role_s_bounds(self, world):
        """M3."""
        tight = replace(MOVING, root=(100, 96, 102), intermediate=(60, 20, 90))
        council = found(world, ROLES, tight)
        opened = council.propose(council.own("setParameters", tight.abi))
        council.approve(opened, 0, 1, 3, 4, 5)
        council.reject(opened, 2)
        council.wait(DAY)
        council.execute(opened)
        assert council.weights() == [102, 102, 96, 63, 63, 23]

    def test_never_below_the_minimum_of_one(self, world):
        harsh = replace(MOVING, root=(5, 1, 9), against=65535, intermediate=(5, 1, 9))
        council = found(world, ROLES, harsh)
        opened = council.propose(council.own("setParameters", harsh.abi))
        council.approve(opened, 0, 1, 3, 4, 5)
        council.reject(opened, 2)
        council.wait(DAY)
        council.execute(opened)
        assert council.weights()[2] == 1

    def test_at_the_bounds_no_table_is_written(self, world):
        full = replace(MOVING, root=(100, 50, 100))
        council = found(world, [Role.ROOT] * 4, full)
        council.decide(council.own("setRole", council.members[3], Role.ORDINARY), voters=range(3))
        # All three were at their most; the absent one had just begun anew, and lost.
        assert council.weights() == [100, 100, 100, 16]
        last = council.contract.lastMoved()
        council.wait(DAY)
        opened = council.propose(council.own("setRole", council.members[3], Role.ROOT))
        before = council.contract.currentTable()
        council.relay(opened, *[council.signed(opened, n) for n in range(4)])
        council.wait(DAY)
        receipt = council.execute(opened)
        assert not events(receipt)[-1][1]["moved"]
        assert council.contract.currentTable() == before + 1
        assert council.contract.lastMoved() == last

    def test_a_removed_member_s_vote_moves_nobody(self, world, council):
        """I4: not the one who took the seat, in the very round that gave it."""
        newcomer = make_member(world, 1000)
        council.decide(
            council.own("removeMember", council.members[5]),
            council.own("addMember", newcomer, Role.ORDINARY),
        )
        assert council.contract.seatOf(newcomer.address) == 5
        assert self.changes(council) == [3, 3, 3, 3, 3, 0]

    def test_nor_in_a_round_that_was_rejected_before(self, world, council):
        newcomer = make_member(world, 1000)
        rejected = self.open(council, by=1)
        council.reject(rejected, 0, 1, 2, 5)
        quiet = replace(MOVING, gain=0, against=0, absent=0, seniority=0)
        council.decide(
            council.own("setParameters", quiet.abi),
            council.own("removeMember", council.members[5]),
            council.own("addMember", newcomer, Role.ORDINARY),
        )
        council.decide(self.nothing(council))
        council.wait(DAY)
        before = council.weights()
        council.settle(rejected)
        assert council.round(rejected).struck == 0b100000
        assert [b - a for a, b in zip(before, council.weights(), strict=True)] == [
            *[3, 3, 3, -4, -4],
            0,
        ]

    def test_joined_members_are_not_moved_by_older_rounds(self, world, council):
        newcomer = make_member(world, 1000)
        council.decide(council.own("addMember", newcomer, Role.ROOT))
        assert council.weights()[6] == 100
