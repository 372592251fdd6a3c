"""Suspension and Lift: what less than a decision can do about an authority, and how often."""

import pytest

from tests.contracts.conftest import State, event, events
from tests.contracts.council import (
    DAY,
    STILL,
    Kind,
    Role,
    RoundState,
    another,
    found,
    govern,
    revert_data,
)
from tests.contracts.reference import ZERO
from tests.contracts.reverting import reverts

ROLES = [Role.ROOT] * 3 + [Role.ORDINARY] * 6


@pytest.fixture(scope="module")
def council(world):
    """Six roots of 100 each: two are exactly a third, three exactly a half."""
    return govern(found(world, [Role.ROOT] * 6, STILL))


@pytest.fixture
def errors(council):
    return council.contract


def state_of(world):
    return world.certificates.issuer(world.ca).state


def act(council, kind, *voters, by=0):
    """Open a round and have it executed by these votes."""
    alarm = council.alarm(kind, by=by)
    return alarm, council.execute(alarm, *[council.signed(alarm, n) for n in voters])


class TestSuspension:
    def test_needs_more_than_a_third(self, world, council, errors):
        alarm = council.alarm(Kind.SUSPENSION)
        council.approve(alarm, 0, 1)
        with reverts(errors.RootCouncilUnexpectedState, round=alarm.id, state=RoundState.OPEN):
            council.execute(alarm)
        receipt = council.approve(alarm, 5)
        assert events(receipt)[1:] == [
            event("RoundApproved", round=alarm.id, executableFrom=receipt.timestamp)
        ]
        council.execute(alarm)
        assert state_of(world) == State.SUSPENDED

    def test_any_member_opens_one(self, world):
        council = found(world, ROLES, STILL)
        council.alarm(Kind.SUSPENSION, by=8)
        with reverts(council.contract.RootCouncilUnauthorized, caller=council.members[8].address):
            council.propose(council.removing(), by=8)

    def test_moves_no_weights(self, world):
        council = govern(found(another(world), [Role.ROOT] * 6))
        council.wait(DAY)
        before = council.contract.currentTable()
        _, receipt = act(council, Kind.SUSPENSION, 0, 1, 2)
        assert not events(receipt)[-1][1]["moved"]
        assert council.contract.currentTable() == before

    def test_is_rejected_when_no_third_is_left(self, council):
        """Four against leave a third, and that is not more."""
        alarm = council.alarm(Kind.SUSPENSION)
        council.reject(alarm, 0, 1, 2)
        assert council.state(alarm) == RoundState.OPEN
        council.reject(alarm, 3)
        assert council.state(alarm) == RoundState.REJECTED

    def test_a_rejected_one_is_settled_at_once(self, council):
        alarm = council.alarm(Kind.SUSPENSION)
        council.reject(alarm, 0, 1, 2, 3)
        council.settle(alarm)
        assert council.contract.openRoundsOf(council.members[0].address) == (ZERO, ZERO)

    def test_of_what_is_suspended_already_fails(self, world, council, errors):
        act(council, Kind.SUSPENSION, 0, 1, 2)
        alarm = council.alarm(Kind.SUSPENSION)
        invalid = world.certificates.CertificateRegistryInvalidTransition
        reason = revert_data(invalid, world.ca, State.SUSPENDED)
        with reverts(errors.RootCouncilCallFailed, round=alarm.id, index=0, reason=reason):
            council.execute(alarm, *[council.signed(alarm, n) for n in range(3)])

    @pytest.mark.parametrize("kind", [Kind.SUSPENSION, Kind.LIFT])
    def test_calls_nothing_else(self, world, council, errors, kind):
        """I1: one call, of one function, with nothing behind it."""
        right, wrong = (
            (world.certificates.suspend, world.certificates.lift)
            if kind == Kind.SUSPENSION
            else (world.certificates.lift, world.certificates.suspend)
        )
        target, data = council.call(right, world.ca)
        for index, calls in (
            (0, [council.call(wrong, world.ca)]),
            (0, [council.call(world.certificates.retire, world.ca)]),
            (0, [(str(world.domain.address), data)]),
            (0, [(target, data + b"\0")]),
            (0, [(target, data[:-1])]),
            (0, [(target, data[:2])]),
            (1, [(target, data), (target, data)]),
        ):
            with reverts(
                errors.RootCouncilForbiddenCall,
                index=index,
                target=calls[index][0],
                selector=calls[index][1][:4].ljust(4, b"\0"),
            ):
                council.propose(*calls, kind=kind)


class TestLift:
    @pytest.fixture(autouse=True)
    def suspended(self, council):
        act(council, Kind.SUSPENSION, 0, 1, 2)

    def test_needs_more_than_a_half(self, world, council, errors):
        alarm = council.alarm(Kind.LIFT)
        council.approve(alarm, 0, 1, 5)
        with reverts(errors.RootCouncilUnexpectedState, round=alarm.id, state=RoundState.OPEN):
            council.execute(alarm)
        council.approve(alarm, 3)
        receipt = council.execute(alarm)
        assert state_of(world) == State.ACTIVE
        assert council.contract.coolingUntil(world.ca) == receipt.timestamp + STILL.cooling
        assert council.contract.coolingUntil(world.other_ca) == 0

    def test_is_rejected_by_a_half(self, council):
        alarm = council.alarm(Kind.LIFT)
        council.reject(alarm, 0, 1)
        assert council.state(alarm) == RoundState.OPEN
        council.reject(alarm, 2)
        assert council.state(alarm) == RoundState.REJECTED

    def test_a_decision_cools_too(self, world, council):
        receipt = council.decide(council.call(world.certificates.lift, world.ca))
        assert council.contract.coolingUntil(world.ca) == receipt.timestamp + STILL.cooling

    def test_a_decision_waits(self, world, council):
        opened = council.propose(council.call(world.certificates.lift, world.ca))
        assert council.round(opened).delay == DAY

    def test_a_decision_retires_for_ever(self, world, council, errors):
        opened = council.propose(council.call(world.certificates.retire, world.ca))
        council.execute(opened, *[council.signed(opened, n) for n in range(5)])
        assert state_of(world) == State.RETIRED
        alarm = council.alarm(Kind.LIFT)
        with reverts(errors.RootCouncilCallFailed):
            council.execute(alarm, *[council.signed(alarm, n) for n in range(6)])


class TestCooling:
    """A lifted authority can't be suspended again by less than one half."""

    @pytest.fixture(scope="class")
    def seven(self, world):
        """Seven roots: three of them are more than a third, and less than a half."""
        return govern(found(another(world), [Role.ROOT] * 7, STILL))

    def test_a_third_is_not_enough(self, seven):
        act(seven, Kind.SUSPENSION, 0, 1, 2)
        _, lifted = act(seven, Kind.LIFT, 3, 4, 5, 6, by=3)
        alarm = seven.alarm(Kind.SUSPENSION)
        seven.approve(alarm, 0, 1, 2)
        error = seven.contract.RootCouncilUnexpectedState
        with reverts(error, round=alarm.id, state=RoundState.OPEN):
            seven.execute(alarm)
        # Up to its last second.
        seven.world.chain.pending_timestamp = lifted.timestamp + DAY - 1
        with reverts(error, round=alarm.id, state=RoundState.OPEN):
            seven.execute(alarm)
        seven.world.chain.pending_timestamp = lifted.timestamp + DAY
        receipt = seven.execute(alarm)
        assert events(receipt)[0][0] == "RoundApproved"
        assert state_of(seven.world) == State.SUSPENDED

    def test_more_is(self, seven):
        act(seven, Kind.SUSPENSION, 0, 1, 2)
        act(seven, Kind.LIFT, 3, 4, 5, 6, by=3)
        act(seven, Kind.SUSPENSION, 0, 1, 2, 3)
        assert state_of(seven.world) == State.SUSPENDED

    def test_exactly_a_half_is(self, world, council):
        act(council, Kind.SUSPENSION, 0, 1, 2)
        act(council, Kind.LIFT, 0, 3, 4, 5, by=3)
        act(council, Kind.SUSPENSION, 0, 1, 2)
        assert state_of(world) == State.SUSPENDED

    def test_nobody_keeps_a_suspension_in_the_drawer(self, seven):
        """What counts is the time of execution, not that of the opening or of the votes."""
        drawer = seven.alarm(Kind.SUSPENSION, by=6)
        seven.approve(drawer, 0, 1, 2)
        act(seven, Kind.SUSPENSION, 0, 1, 2)
        assert seven.state(drawer) == RoundState.APPROVED
        act(seven, Kind.LIFT, 3, 4, 5, 6, by=3)
        assert seven.state(drawer) == RoundState.OPEN
        error = seven.contract.RootCouncilUnexpectedState
        with reverts(error, round=drawer.id, state=RoundState.OPEN):
            seven.execute(drawer)
        receipt = seven.withdraw(drawer, 0)
        assert events(receipt)[1:] == [event("RoundReopened", round=drawer.id)]

    def test_is_of_one_authority(self, seven):
        act(seven, Kind.SUSPENSION, 0, 1, 2)
        act(seven, Kind.LIFT, 3, 4, 5, 6, by=3)
        alarm = seven.alarm(Kind.SUSPENSION, ca=seven.world.other_ca)
        seven.execute(alarm, *[seven.signed(alarm, n) for n in range(3)])
        assert seven.world.certificates.issuer(seven.world.other_ca).state == State.SUSPENDED


class TestGuardianOnly:
    """The council may be the guardian of a domain that somebody else governs."""

    @pytest.fixture(scope="class")
    def guardian(self, world):
        domain = another(world)
        council = found(domain, ROLES, STILL)
        domain.domain.setGuardian(council.contract, sender=world.governor)
        return council

    def test_suspends(self, guardian):
        act(guardian, Kind.SUSPENSION, 0, 1, by=8)
        assert state_of(guardian.world) == State.SUSPENDED

    def test_lifts_nothing(self, guardian):
        world = guardian.world
        world.certificates.suspend(world.ca, sender=world.governor)
        alarm = guardian.alarm(Kind.LIFT)
        unauthorized = world.certificates.CertificateRegistryUnauthorized
        reason = revert_data(unauthorized, str(guardian.contract.address))
        with reverts(
            guardian.contract.RootCouncilCallFailed, round=alarm.id, index=0, reason=reason
        ):
            guardian.execute(alarm, *[guardian.signed(alarm, n) for n in range(9)])
        assert guardian.contract.coolingUntil(world.ca) == 0

    def test_decides_about_itself(self, guardian):
        guardian.decide(guardian.own("removeMember", guardian.members[8]))
        assert guardian.table.heads == 8

    def test_decides_nothing_else(self, guardian):
        world = guardian.world
        opened = guardian.propose(guardian.call(world.certificates.retire, world.ca))
        with reverts(guardian.contract.RootCouncilCallFailed):
            guardian.execute(opened, *[guardian.signed(opened, n) for n in range(9)])
