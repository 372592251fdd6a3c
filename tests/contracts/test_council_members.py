"""CouncilMembers: who sits in the council, and the parameters. M1 to M6."""

from dataclasses import replace

import pytest

from tests.contracts.conftest import NOBODY, event, events
from tests.contracts.council import (
    DAY,
    STILL,
    Parameters,
    Role,
    RoundState,
    Rule,
    found,
    make_member,
    revert_data,
    unpack,
)
from tests.contracts.reverting import reverts

ROLES = [Role.ROOT, Role.ROOT, Role.INTERMEDIATE, Role.ORDINARY]
WEIGHTS = [100, 100, 60, 20]


@pytest.fixture(scope="module")
def council(world):
    """Two roots, an intermediate and an ordinary member, who decide about the council alone."""
    return found(world, ROLES, STILL)


@pytest.fixture
def newcomer(world):
    return make_member(world, 1000)


def changed(council, *, table, weights, cap, total, electorate=0b1111):
    words = [sum(w << 16 * i for i, w in enumerate(weights)), *[0] * 7]
    return event(
        "WeightsChanged", table=table, weights=words, electorate=electorate, cap=cap, total=total
    )


def causes(receipt):
    """Return what a round's calls announced, without the round's own end."""
    return [e for e in events(receipt) if e[0] not in ("RoundExecuted", "RoundSettled")]


def refused(council, error, *values, calls):
    """Check that an approved round fails at its last call, for this reason, and changes nothing."""
    opened = council.propose(*calls)
    council.relay(opened, *[council.signed(opened, n) for n in range(len(council.members))])
    council.wait(council.round(opened).delay)
    before = council.contract.currentTable()
    with reverts(
        council.contract.RootCouncilCallFailed,
        round=opened.id,
        index=len(calls) - 1,
        reason=revert_data(error, *values),
    ):
        council.execute(opened)
    assert council.contract.currentTable() == before
    assert council.state(opened) == RoundState.APPROVED


class TestConstructor:
    def test_seats_the_founders_in_order(self, council):
        """M1, M3."""
        for number, (member, role) in enumerate(zip(council.members, ROLES, strict=True)):
            seat = council.contract.seat(number)
            assert (seat.account, seat.role) == (member.address, role)
            assert seat.since > 0
            assert council.contract.seatOf(member.address) == number
            assert council.contract.isMember(member.address)
        assert council.contract.seat(4).account == NOBODY

    def test_announces_everything_in_order(self, council):
        """The domain first, then members, parameters, and the table that they make."""
        receipt = council.contract.creation_metadata.receipt
        assert [name for name, _ in events(receipt)] == [
            "CouncilFounded",
            *["MemberAdded"] * 4,
            "ParametersChanged",
            "WeightsChanged",
        ]
        assert events(receipt)[0] == event("CouncilFounded", domain=council.world.domain)
        assert events(receipt)[1:5] == [
            event("MemberAdded", account=member.address, seat=n, role=ROLES[n])
            for n, member in enumerate(council.members)
        ]
        assert events(receipt)[5] == event("ParametersChanged", parameters=list(STILL.abi))
        # Without the two heaviest 80 are left: the most that two can count and be below a third.
        assert events(receipt)[6] == changed(council, table=1, weights=WEIGHTS, cap=79, total=238)

    def test_sets_the_parameters(self, council):
        assert tuple(council.contract.parameters()) == STILL.abi
        assert council.contract.domain() == council.world.domain
        assert council.contract.lastMoved() == 0

    def test_has_no_role_in_the_domain(self, council):
        assert council.world.domain.governor() != council.contract
        assert council.world.domain.guardian() != council.contract

    def test_refuses_no_domain(self, world, council):
        with reverts(council.contract.RootCouncilZeroDomain):
            world.project.RootCouncil.deploy(NOBODY, [], Parameters().abi, sender=world.stranger)

    def test_refuses_nobody_as_a_member(self, world, council):
        nobody = replace(council.members[0], address=NOBODY)
        with reverts(council.contract.RootCouncilInvalidMember, account=NOBODY):
            found(world, [Role.ROOT], members=[nobody])

    def test_refuses_a_member_twice(self, world, council):
        """M1."""
        member = council.members[0]
        with reverts(council.contract.RootCouncilAlreadyMember, account=member.address):
            found(world, [Role.ROOT, Role.ORDINARY], members=[member, member])

    def test_refuses_no_role(self, world, council):
        with reverts(council.contract.RootCouncilInvalidRole, role=0):
            found(world, [Role.NONE])

    @pytest.mark.parametrize("roles", [[], [Role.ORDINARY], [Role.INTERMEDIATE] * 5])
    def test_refuses_a_council_without_a_root(self, world, council, roles):
        """M5."""
        with reverts(council.contract.RootCouncilUnreachable):
            found(world, roles)

    @pytest.mark.parametrize(("members", "faults"), [(2, 1), (12, 6)])
    def test_refuses_fewer_than_slide_asks_for(self, world, council, members, faults):
        """M5: T is 2f + 1 average weights, so of fewer members not even all suffice."""
        parameters = Parameters(rule=Rule.SLIDE, faults=faults)
        with reverts(council.contract.RootCouncilUnreachable):
            found(world, [Role.ROOT] * members, parameters)
        assert found(world, [Role.ROOT] * (members + 1), parameters).table.faults == faults

    def test_refuses_one_more_than_there_are_seats(self, world, council):
        with reverts(council.contract.RootCouncilFull):
            found(world, [Role.ROOT] * 129)


BAD = {
    "a minimum of zero": {"ordinary": (1, 0, 2)},
    "the first below the minimum": {"intermediate": (19, 20, 90)},
    "the first above the maximum": {"root": (151, 50, 150)},
    "against below twice the gain": {"gain": 2, "against": 3, "seniority": 0},
    "absence below the gain": {"gain": 2, "against": 5, "absent": 1},
    "seniority above the gain": {"gain": 1, "seniority": 2},
    "no time after the delay": {"longest": DAY, "delay": DAY},
    "no epoch": {"epoch": 0},
    "faults without Slide": {"faults": 1},
}
GOOD = {
    "all the same": {"ordinary": (1, 1, 1), "root": (65535, 65535, 65535)},
    "against exactly twice": {"gain": 2, "against": 4},
    "absence just the gain": {"gain": 2, "absent": 2},
    "seniority just the gain": {"gain": 2, "seniority": 2},
    "weights that never move": {"gain": 0, "against": 0, "absent": 0, "seniority": 0},
    "a second after the delay": {"longest": DAY + 1, "delay": DAY},
    "the shortest epoch": {"epoch": 1},
    "the largest of everything": {"gain": 32767, "against": 65535, "absent": 65535}
    | dict.fromkeys(("epoch", "attendance", "cooling", "longest", "senior_after"), 2**32 - 1),
}


class TestParameters:
    @pytest.mark.parametrize("case", BAD)
    def test_refuses(self, world, council, case):
        with reverts(council.contract.RootCouncilInvalidParameters):
            found(world, ROLES, Parameters(**BAD[case]))

    @pytest.mark.parametrize("case", GOOD)
    def test_takes(self, world, case):
        parameters = Parameters(**GOOD[case])
        assert tuple(found(world, ROLES, parameters).contract.parameters()) == parameters.abi


class TestSetParameters:
    def test_sets_them_and_clamps_weights(self, council):
        """M3."""
        new = replace(STILL, root=(80, 50, 90), ordinary=(30, 30, 40))
        receipt = council.decide(council.own("setParameters", new.abi))
        assert tuple(council.contract.parameters()) == new.abi
        assert [name for name, _ in causes(receipt)] == ["ParametersChanged", "WeightsChanged"]
        weights = [90, 90, 60, 30]
        assert causes(receipt)[1] == changed(council, table=2, weights=weights, cap=89, total=268)

    def test_a_stricter_rule_must_be_reachable(self, council):
        """M5."""
        slide = replace(STILL, rule=Rule.SLIDE, faults=2)
        call = council.own("setParameters", slide.abi)
        refused(council, council.contract.RootCouncilUnreachable, calls=[call])

    def test_refuses_bad_ones(self, council):
        call = council.own("setParameters", Parameters(epoch=0).abi)
        refused(council, council.contract.RootCouncilInvalidParameters, calls=[call])

    def test_lifts_the_cap_with_slide(self, council):
        """M4 is MoreThanTwoThirds' only: Slide is as published."""
        council.decide(council.own("setParameters", replace(STILL, rule=Rule.SLIDE, faults=1).abi))
        table = council.table
        assert (table.cap, table.rule, table.faults) == (65535, Rule.SLIDE, 1)
        assert table.total == sum(unpack(table.weights))


class TestAddMember:
    def test_takes_the_lowest_free_seat(self, council, newcomer):
        """M1, M3."""
        receipt = council.decide(council.own("addMember", newcomer, Role.ROOT))
        assert causes(receipt) == [
            event("MemberAdded", account=newcomer.address, seat=4, role=Role.ROOT),
            changed(
                council,
                table=2,
                weights=[*WEIGHTS, 100],
                cap=100,
                total=380,
                electorate=0b11111,
            ),
        ]
        seat = council.contract.seat(4)
        assert (seat.account, seat.role, seat.since) == (newcomer.address, 3, receipt.timestamp)
        assert council.table.heads == 5
        assert council.contract.openRoundsOf(newcomer.address) == (bytes(32), bytes(32))

    def test_takes_a_seat_that_was_left(self, council, newcomer):
        """M1: remove from seat 1, add into seat 1, in one round."""
        council.decide(
            council.own("removeMember", council.members[1]),
            council.own("addMember", newcomer, Role.ORDINARY),
        )
        assert council.contract.seatOf(newcomer.address) == 1
        assert not council.contract.isMember(council.members[1].address)
        assert council.weights()[1] == 20

    @pytest.mark.parametrize("account", ["nobody", "the council"])
    def test_refuses_who_can_not_vote(self, council, account):
        address = NOBODY if account == "nobody" else str(council.contract.address)
        call = council.own("addMember", address, Role.ROOT)
        refused(council, council.contract.RootCouncilInvalidMember, address, calls=[call])

    def test_refuses_a_member(self, council):
        """M1."""
        member = council.members[3]
        call = council.own("addMember", member, Role.ROOT)
        refused(council, council.contract.RootCouncilAlreadyMember, member.address, calls=[call])

    def test_refuses_no_role(self, council, newcomer):
        call = council.own("addMember", newcomer, Role.NONE)
        refused(council, council.contract.RootCouncilInvalidRole, 0, calls=[call])

    def test_refuses_a_role_that_there_is_not(self, council, newcomer):
        target, data = council.own("addMember", newcomer, Role.ROOT)
        opened = council.propose((target, data[:-1] + b"\x04"))
        council.approve(opened, 0, 1, 2, 3)
        council.wait(DAY)
        failed = council.contract.RootCouncilCallFailed
        with reverts(failed, round=opened.id, index=0, reason=b""):
            council.execute(opened)


class TestRemoveMember:
    def test_frees_the_seat(self, council):
        """M1, M3. What it does to votes: test_council_rounds.py."""
        gone = council.members[1]
        receipt = council.decide(council.own("removeMember", gone))
        assert causes(receipt)[:2] == [
            event("MemberRemoved", account=gone.address, seat=1),
            changed(
                council,
                table=2,
                weights=[100, 0, 60, 20],
                cap=65535,
                total=180,
                electorate=0b1101,
            ),
        ]
        assert not council.contract.isMember(gone.address)
        assert council.contract.seat(1).account == NOBODY
        with reverts(council.contract.RootCouncilUnknownMember, account=gone.address):
            council.contract.seatOf(gone.address)

    def test_waits_for_nothing(self, council):
        """A member whose key was stolen goes at once."""
        opened = council.propose(council.own("removeMember", council.members[1]))
        assert council.round(opened).delay == 0

    def test_refuses_a_stranger(self, council, newcomer):
        call = council.own("removeMember", newcomer)
        refused(council, council.contract.RootCouncilUnknownMember, newcomer.address, calls=[call])

    def test_refuses_the_last_root(self, council):
        """M5."""
        calls = [council.own("removeMember", council.members[n]) for n in (0, 1)]
        refused(council, council.contract.RootCouncilUnreachable, calls=calls)

    def test_the_last_root_can_be_replaced(self, council, newcomer):
        """M5 holds after every call, so the new one comes first."""
        council.decide(
            council.own("removeMember", council.members[0]),
            council.own("addMember", newcomer, Role.ROOT),
            council.own("removeMember", council.members[1]),
        )
        assert council.contract.seatOf(newcomer.address) == 0

    def test_refuses_to_fall_below_slide(self, world):
        """M5."""
        council = found(world, [Role.ROOT] * 3, Parameters(rule=Rule.SLIDE, faults=1))
        call = council.own("removeMember", council.members[2])
        refused(council, council.contract.RootCouncilUnreachable, calls=[call])


class TestSetRole:
    def test_gives_the_role_s_first_weight(self, council):
        member = council.members[3]
        since = council.contract.seat(3).since
        receipt = council.decide(council.own("setRole", member, Role.ROOT))
        assert causes(receipt) == [
            event("RoleChanged", account=member.address, previous=1, current=3),
            changed(council, table=2, weights=[100, 100, 60, 100], cap=100, total=360),
        ]
        seat = council.contract.seat(3)
        assert (seat.role, seat.since) == (Role.ROOT, since)

    def test_a_former_root_proposes_no_decision(self, council):
        council.decide(council.own("setRole", council.members[1], Role.ORDINARY))
        caller = council.members[1]
        with reverts(council.contract.RootCouncilUnauthorized, caller=caller.address):
            council.propose(council.removing(), by=1)

    def test_strikes_nothing(self, council):
        """An open round of the one who was a root goes on, with its vote."""
        opened = council.propose(council.removing(), by=1)
        council.approve(opened, 1)
        council.decide(council.own("setRole", council.members[1], Role.ORDINARY))
        round = council.round(opened)
        assert (round.approvals, round.struck, round.state) == (0b10, 0, RoundState.OPEN)
        assert council.contract.openRoundsOf(council.members[1].address)[0] == opened.id

    @pytest.mark.parametrize("role", [Role.NONE, Role.ORDINARY])
    def test_refuses_none_and_the_one_it_has(self, council, role):
        call = council.own("setRole", council.members[3], role)
        refused(council, council.contract.RootCouncilInvalidRole, role, calls=[call])

    def test_refuses_a_stranger(self, council, newcomer):
        call = council.own("setRole", newcomer, Role.ROOT)
        refused(council, council.contract.RootCouncilUnknownMember, newcomer.address, calls=[call])

    def test_refuses_the_last_root_s(self, council):
        """M5."""
        calls = [council.own("setRole", council.members[n], Role.ORDINARY) for n in (0, 1)]
        refused(council, council.contract.RootCouncilUnreachable, calls=calls)


class TestTables:
    def test_are_written_once(self, council, newcomer):
        """M2."""
        first = tuple(council.contract.table(1))
        council.decide(
            council.own("addMember", newcomer, Role.ROOT),
            council.own("removeMember", council.members[3]),
        )
        assert council.contract.currentTable() == 3
        assert tuple(council.contract.table(1)) == first
        assert council.contract.table(4).total == 0

    def test_all_seats_can_be_taken(self, world):
        council = found(world, [Role.ROOT] * 128)
        assert council.table.electorate == 2**128 - 1
        assert council.weights() == [100] * 128
