"""RootCouncil: rounds from their opening to their end. I1 to I3, I6 to I9."""

import pytest
from eth_hash.auto import keccak

from tests.contracts.conftest import ISSUER_KEY, LIFETIME, State, event, events
from tests.contracts.conftest import Kind as AuthorityKind
from tests.contracts.council import (
    DAY,
    HOUR,
    STILL,
    Effect,
    Kind,
    Role,
    RoundState,
    found,
    govern,
    make_member,
    revert_data,
    round_id,
)
from tests.contracts.reference import ZERO
from tests.contracts.reverting import reverts

ANOTHER_CA = b"\x77" * 32


@pytest.fixture(scope="module")
def council(world):
    """Four roots who govern the domain: three of them decide, two of them suspend."""
    return govern(found(world, [Role.ROOT] * 4, STILL))


@pytest.fixture
def errors(council):
    return council.contract


def slots_of(world, receipt):
    """How many words of the council, and which others, a transaction changed."""
    changed = world.changed_storage(receipt)
    return len([1 for name, _ in changed if name == "council"]), {
        place for place in changed if place[0] != "council"
    }


class TestPropose:
    def test_opens_a_round(self, council):
        """I6."""
        opened = council.propose(council.adding(), by=2)
        round = council.round(opened)
        assert (round.kind, round.state, round.settled) == (Kind.DECISION, RoundState.OPEN, False)
        assert (round.proposer, round.table) == (2, council.contract.currentTable())
        assert (round.delay, round.openedAt) == (DAY, opened.receipt.timestamp)
        assert (round.deadline, round.approvedAt) == (opened.proposal[2], 0)
        assert council.contract.openRoundsOf(council.members[2].address) == (opened.id, ZERO)

    def test_announces_it_whole(self, council):
        opened = council.propose(council.adding(), by=2)
        kind, calls, deadline, salt = opened.proposal
        assert events(opened.receipt) == [
            event(
                "RoundOpened",
                round=opened.id,
                proposer=council.members[2].address,
                kind=Kind.DECISION,
                table=council.contract.currentTable(),
                delay=DAY,
                proposal=opened.receipt.events[0].event_arguments["proposal"],
            )
        ]
        said = opened.receipt.events[0].event_arguments["proposal"]
        assert [said[0], said[2], bytes(said[3])] == [kind, deadline, salt]
        assert [(t, bytes(d)) for t, d in said[1]] == [(t.lower(), d) for t, d in calls]

    def test_its_id_is_the_hash_of_its_contents(self, council):
        """I3: kind, calls, deadline and salt each make another id."""
        call, other = council.adding(), council.removing()
        kind, calls, deadline, salt = proposal = council.proposal(call)
        variants = [
            proposal,
            (Kind.LIFT, calls, deadline, salt),
            (kind, [other], deadline, salt),
            (kind, [call, call], deadline, salt),
            (kind, calls, deadline + 1, salt),
            (kind, calls, deadline, b"\x01" * 32),
        ]
        ids = [bytes(council.contract.roundIdOf(variant)) for variant in variants]
        assert ids == [round_id(variant) for variant in variants]
        assert len(set(ids)) == len(ids)

    def test_is_no_vote(self, council):
        opened = council.propose(council.removing())
        assert council.round(opened).approvals == 0

    def test_changes_two_words(self, world, council):
        opened = council.propose(council.removing())
        assert slots_of(world, opened.receipt) == (2, set())

    def test_waits_only_for_what_adds(self, council):
        assert council.round(council.propose(council.removing(), by=0)).delay == 0
        both = council.propose(council.removing(), council.adding(), by=1)
        assert council.round(both).delay == DAY

    def test_refuses_a_stranger(self, world, council, errors):
        with reverts(errors.RootCouncilUnauthorized, caller=world.stranger):
            council.contract.propose(council.proposal(council.removing()), sender=world.stranger)

    def test_refuses_no_calls(self, council, errors):
        with reverts(errors.RootCouncilNoCalls):
            council.propose()
        with reverts(errors.RootCouncilNoCalls):
            council.propose(kind=Kind.SUSPENSION)

    @pytest.mark.parametrize("early", [-1000, -1, 0])
    def test_refuses_a_deadline_that_is_here(self, council, errors, early):
        with reverts(errors.RootCouncilInvalidDeadline):
            council.propose(council.removing(), lasts=early)

    def test_leaves_a_second_after_the_delay(self, world, council, errors):
        now = world.chain.pending_timestamp = world.now + 10
        proposal = (Kind.DECISION, [council.adding()], now + DAY, ZERO)
        with reverts(
            errors.RootCouncilInvalidDeadline,
            deadline=now + DAY,
            earliest=now + DAY + 1,
            latest=now + 30 * DAY,
        ):
            council.contract.propose(proposal, sender=council.members[0].account)
        council.propose(council.adding(), lasts=DAY + 60)

    def test_refuses_a_deadline_too_far_ahead(self, council, errors):
        with reverts(errors.RootCouncilInvalidDeadline):
            council.propose(council.removing(), lasts=30 * DAY + 60)
        with reverts(errors.RootCouncilInvalidDeadline):
            proposal = (Kind.DECISION, [council.removing()], 2**64 - 1, ZERO)
            council.contract.propose(proposal, sender=council.members[0].account)

    def test_refuses_the_same_round_again(self, council, errors):
        """I2: not by anybody, and not when it is over."""
        opened = council.propose(council.removing())
        with reverts(errors.RootCouncilKnownRound, round=opened.id):
            council.contract.propose(opened.proposal, sender=council.members[1].account)
        council.approve(opened, 0, 1, 2)
        council.execute(opened)
        with reverts(errors.RootCouncilKnownRound, round=opened.id):
            council.contract.propose(opened.proposal, sender=council.members[0].account)

    def test_one_open_round_of_each_sort(self, council, errors):
        """I8."""
        first = council.propose(council.removing())
        with reverts(errors.RootCouncilOpenRound, round=first.id):
            council.propose(council.removing())
        alarm = council.alarm(Kind.SUSPENSION)
        with reverts(errors.RootCouncilOpenRound, round=alarm.id):
            council.alarm(Kind.LIFT)
        assert council.contract.openRoundsOf(council.members[0].address) == (first.id, alarm.id)
        council.propose(council.removing(), by=1)

    def test_an_expired_one_is_in_the_way_until_settled(self, council, errors):
        """I8."""
        first = council.propose(council.removing(), lasts=HOUR)
        council.wait(HOUR)
        with reverts(errors.RootCouncilOpenRound, round=first.id):
            council.propose(council.removing())
        council.settle(first)
        council.propose(council.removing())


#: function: which of its arguments says it.
EITHER = {
    "certificates.setRevoker": 2,
    "devices.setRegistrar": 1,
    "domain.offerGovernor": 0,
    "domain.setGuardian": 0,
}


class TestEffectOf:
    """The table of what a decision may call, written once more."""

    ADDS = (
        "authorities.register",
        "certificates.setOperator",
        "certificates.setMaximumLifetime",
        "certificates.lift",
        "watchdogs.setWatch",
        "domain.acceptGovernor",
        "watchdogs.setWatch",
        "council.addMember",
        "council.setRole",
        "council.setParameters",
    )
    REMOVES = (
        "certificates.close",
        "certificates.suspend",
        "certificates.retire",
        "certificates.revoke",
        "certificates.revokeBelow",
        "council.removeMember",
    )

    @pytest.fixture
    def parts(self, world, council):
        return {
            "domain": world.domain,
            "authorities": world.authorities,
            "certificates": world.certificates,
            "devices": world.devices,
            "watchdogs": world.watchdogs,
            "council": council.contract,
        }

    def test_of_every_function_of_every_part(self, parts, council):
        """I1: nothing else, views included, and nothing of the council's open functions."""
        found = {}
        for part, contract in parts.items():
            kind = contract.contract_type
            for method in [*kind.mutable_methods, *kind.view_methods]:
                selector = bytes.fromhex(method_id(method))
                effect = council.contract.effectOf(contract, selector + b"\xff" * 32 * 5)
                found.setdefault(f"{part}.{method.name}", set()).add(Effect(effect))
        adds = {name for name, effects in found.items() if effects == {Effect.ADDS}}
        removes = {name for name, effects in found.items() if effects == {Effect.REMOVES}}
        assert adds == {*self.ADDS, *EITHER}
        assert removes == set(self.REMOVES)

    @pytest.mark.parametrize("function", EITHER)
    def test_of_what_gives_or_takes(self, parts, council, function):
        part, name = function.split(".")
        method = next(m for m in parts[part].contract_type.mutable_methods if m.name == name)
        selector, last = bytes.fromhex(method_id(method)), EITHER[function]
        full = b"\xff" * 32 * last
        ask = council.contract.effectOf
        for argument in (b"\0" * 31 + b"\x01", b"\x01" + b"\0" * 31):
            assert ask(parts[part], selector + full + argument) == Effect.ADDS
        assert ask(parts[part], selector + full + bytes(32)) == Effect.REMOVES
        assert ask(parts[part], selector + full + bytes(31)) == Effect.UNKNOWN
        assert ask(parts[part], selector) == Effect.UNKNOWN

    def test_of_other_places(self, world, parts, council):
        """A function's name is nothing without its contract."""
        data = bytes(world.certificates.suspend.encode_input(world.ca))
        for target in (world.stranger, parts["domain"], parts["devices"], parts["authorities"]):
            assert council.contract.effectOf(target, data) == Effect.UNKNOWN

    @pytest.mark.parametrize("length", range(4))
    def test_of_too_little(self, world, council, length):
        data = bytes(world.certificates.suspend.encode_input(world.ca))[:length]
        assert council.contract.effectOf(world.certificates, data) == Effect.UNKNOWN


def method_id(method):
    return keccak(method.selector.encode())[:4].hex()


class TestForbiddenCalls:
    """I1, I9."""

    @pytest.mark.parametrize("function", ["propose", "vote", "relay", "execute", "settle"])
    def test_a_round_calls_no_round(self, council, errors, function):
        """A round that calls itself, another one, or anything that the council lets others do."""
        other = council.propose(council.removing(), by=1)
        arguments = {
            "propose": [other.proposal],
            "vote": [other.id, 1],
            "relay": [other.id, []],
            "execute": [other.proposal, []],
            "settle": [other.id],
        }[function]
        target, data = council.own(function, *arguments)
        with reverts(errors.RootCouncilForbiddenCall, index=1, target=target, selector=data[:4]):
            council.propose(council.removing(), (target, data))

    def test_a_view_a_stranger_and_nothing(self, world, council, errors):
        calls = [
            council.call(world.domain.governor),
            (str(world.stranger.address), b""),
            (str(world.certificates.address), b"\x01\x02"),
            council.call(world.certificates.issue, world.ca, 1, [world.entries(1)[0].abi]),
            council.call(world.devices.retire, world.device),
        ]
        for target, data in calls:
            selector = data[:4].ljust(4, b"\0")
            with reverts(
                errors.RootCouncilForbiddenCall, index=0, target=target, selector=selector
            ):
                council.propose((target, data))


class TestVote:
    """Direct votes. Those by file: test_council_votes.py."""

    def test_counts(self, world, council):
        opened = council.propose(council.removing())
        receipt = council.approve(opened, 1)
        assert events(receipt) == [
            event("VoteCast", round=opened.id, voter=council.members[1].address, choice=1, nonce=0)
        ]
        round = council.round(opened)
        assert (round.approvals, round.approvalWeight, round.approvalHeads) == (0b10, 100, 1)
        assert (round.rejections, round.rejectionWeight, round.rejectionHeads) == (0, 0, 0)
        assert slots_of(world, receipt) == (3, set())
        assert council.contract.voteOf(opened.id, council.members[1].address) == (1, 1)

    def test_can_be_changed(self, council):
        """I4."""
        opened = council.propose(council.removing())
        council.approve(opened, 1)
        council.reject(opened, 1)
        round = council.round(opened)
        assert (round.approvals, round.approvalWeight, round.approvalHeads) == (0, 0, 0)
        assert (round.rejections, round.rejectionWeight, round.rejectionHeads) == (0b10, 100, 1)
        council.approve(opened, 1)
        assert council.round(opened).approvals == 0b10
        assert council.contract.voteOf(opened.id, council.members[1].address) == (1, 3)

    def test_can_be_withdrawn(self, council):
        """I4."""
        opened = council.propose(council.removing())
        council.reject(opened, 1)
        receipt = council.withdraw(opened, 1)
        assert events(receipt) == [
            event("VoteCast", round=opened.id, voter=council.members[1].address, choice=0, nonce=1)
        ]
        round = council.round(opened)
        assert (round.rejections, round.rejectionWeight, round.rejectionHeads) == (0, 0, 0)

    def test_approves(self, council):
        """Three of four: strictly more than two thirds."""
        opened = council.propose(council.adding())
        council.approve(opened, 0, 1)
        assert council.state(opened) == RoundState.OPEN
        receipt = council.approve(opened, 3)
        until = receipt.timestamp + DAY
        assert events(receipt)[1:] == [
            event("RoundApproved", round=opened.id, executableFrom=until)
        ]
        assert council.round(opened).approvedAt == receipt.timestamp
        # A fourth changes nothing about since when it is.
        assert len(events(council.approve(opened, 2))) == 1
        assert council.round(opened).approvedAt == receipt.timestamp

    def test_a_withdrawal_reopens(self, council):
        opened = council.propose(council.removing())
        council.approve(opened, 0, 1, 3)
        receipt = council.withdraw(opened, 3)
        assert events(receipt)[1:] == [event("RoundReopened", round=opened.id)]
        assert council.state(opened) == RoundState.OPEN
        assert council.round(opened).approvedAt == 0

    def test_rejects_for_ever(self, council):
        """I7: two of four rejections leave two, who are not enough."""
        opened = council.propose(council.removing())
        council.approve(opened, 0, 3)
        council.reject(opened, 1)
        assert council.state(opened) == RoundState.OPEN
        receipt = council.reject(opened, 2)
        assert events(receipt)[1:] == [event("RoundRejected", round=opened.id)]
        council.approve(opened, 1, 2)
        assert council.state(opened) == RoundState.REJECTED

    def test_an_approved_one_can_be_rejected_at_once(self, council):
        opened = council.propose(council.adding())
        council.approve(opened, 0, 1, 2)
        council.reject(opened, 3)
        receipt = council.reject(opened, 2)
        assert events(receipt)[1:] == [
            event("RoundReopened", round=opened.id),
            event("RoundRejected", round=opened.id),
        ]

    def test_refuses_a_stranger(self, world, council, errors):
        opened = council.propose(council.removing())
        with reverts(errors.RootCouncilNotAVoter, round=opened.id, account=world.stranger):
            council.contract.vote(opened.id, 1, sender=world.stranger)

    @pytest.mark.parametrize("choice", [0, 1, 2])
    def test_refuses_what_changes_nothing(self, council, errors, choice):
        opened = council.propose(council.removing())
        if choice:
            council.vote(opened, choice, 1)
        voter = council.members[1].address
        with reverts(errors.RootCouncilNothingChanged, round=opened.id, voter=voter):
            council.vote(opened, choice, 1)

    def test_refuses_in_no_round(self, council, errors):
        with reverts(errors.RootCouncilUnexpectedState, round=ANOTHER_CA, state=0):
            council.contract.vote(ANOTHER_CA, 1, sender=council.members[0].account)

    def test_refuses_in_an_executed_round(self, council, errors):
        """I2, I7."""
        opened = council.propose(council.removing())
        council.approve(opened, 0, 1, 2)
        council.execute(opened)
        state = RoundState.EXECUTED
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.approve(opened, 3)

    def test_refuses_from_the_deadline_on(self, world, council, errors):
        opened = council.propose(council.removing(), lasts=HOUR)
        world.chain.pending_timestamp = opened.proposal[2] - 1
        council.approve(opened, 0)
        world.chain.pending_timestamp = opened.proposal[2]
        state = RoundState.EXPIRED
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.approve(opened, 1)

    def test_refuses_in_a_settled_round(self, council, errors):
        opened = council.propose(council.removing())
        council.reject(opened, 0, 1, 2)
        council.settle(opened)
        state = RoundState.REJECTED
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.reject(opened, 3)

    def test_ends_with_the_nonces(self, council, errors):
        """I5: 255 votes, and the last one stays."""
        opened = council.propose(council.removing())
        votes = [council.signed(opened, 1, (1, 2)[n % 2], n) for n in range(255)]
        council.relay(opened, *votes)
        assert council.contract.voteOf(opened.id, council.members[1].address) == (1, 255)
        voter = council.members[1].address
        with reverts(errors.RootCouncilNoncesExhausted, round=opened.id, voter=voter):
            council.withdraw(opened, 1)
        receipt = council.relay(opened, council.signed(opened, 1, 0, 255))
        assert events(receipt) == [event("VoteSkipped", round=opened.id, voter=voter, reason=5)]


class TestExecute:
    def test_makes_the_calls_in_order(self, world, council):
        """I3."""
        opened = council.propose(
            council.call(world.certificates.close, world.ca),
            council.call(world.certificates.suspend, world.ca),
        )
        council.approve(opened, 0, 1, 2)
        receipt = council.execute(opened)
        by = council.contract
        assert events(receipt) == [
            event("StateChanged", ca=world.ca, **{"from": 1}, to=State.CLOSED, by=by),
            event("StateChanged", ca=world.ca, **{"from": 2}, to=State.CLOSED_SUSPENDED, by=by),
            event("RoundExecuted", round=opened.id, by=world.stranger),
            event("RoundSettled", round=opened.id, outcome=RoundState.EXECUTED, moved=False),
        ]
        assert council.state(opened) == RoundState.EXECUTED
        assert council.round(opened).settled
        assert council.contract.openRoundsOf(council.members[0].address) == (ZERO, ZERO)

    def test_registers_an_authority(self, world, council):
        """One stolen key adds none; three of four keys, after a day, do."""
        register = world.authorities.register
        key = world.fresh_key()
        arguments = (AuthorityKind.TLS, key, ISSUER_KEY, ZERO, world.operator, LIFETIME)
        before = world.authorities.count()
        council.decide(council.call(register, *arguments))
        assert world.authorities.count() == before + 1

    def test_brings_votes_along(self, world, council):
        opened = council.propose(council.removing())
        votes = [council.signed(opened, n) for n in range(3)]
        receipt = council.execute(opened, *votes)
        names = [name for name, _ in events(receipt)]
        assert names == [
            *["VoteCast"] * 3,
            "RoundApproved",
            "RegistrarChanged",
            "RoundExecuted",
            "RoundSettled",
        ]

    def test_votes_that_do_not_suffice_are_undone(self, council, errors):
        opened = council.propose(council.removing())
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=RoundState.OPEN):
            council.execute(opened, council.signed(opened, 0), council.signed(opened, 1))
        assert council.round(opened).approvals == 0

    def test_waits_for_the_delay(self, world, council, errors):
        """I2."""
        opened = council.propose(council.adding())
        council.approve(opened, 0, 1, 2)
        ready = council.round(opened).approvedAt + DAY
        world.chain.pending_timestamp = ready - 1
        with reverts(errors.RootCouncilTooEarly, round=opened.id, **{"from": ready}):
            council.execute(opened)
        world.chain.pending_timestamp = ready
        council.execute(opened)
        assert world.devices.isRegistrar(world.newcomer)

    def test_what_removes_waits_for_nothing(self, world, council):
        opened = council.propose(council.call(world.certificates.retire, world.ca))
        council.execute(opened, *[council.signed(opened, n) for n in (0, 1, 2)])
        assert world.certificates.issuer(world.ca).state == State.RETIRED

    def test_a_withdrawal_during_the_delay_stops_it(self, council, errors):
        opened = council.propose(council.adding())
        council.approve(opened, 0, 1, 2)
        council.wait(DAY // 2)
        council.withdraw(opened, 1)
        council.wait(DAY)
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=RoundState.OPEN):
            council.execute(opened)

    def test_the_delay_begins_again_with_approval(self, council, errors):
        """I2: since the votes last came to suffice."""
        opened = council.propose(council.adding())
        council.approve(opened, 0, 1, 2)
        council.wait(DAY)
        council.withdraw(opened, 1)
        again = council.approve(opened, 1).timestamp
        with reverts(errors.RootCouncilTooEarly, round=opened.id, **{"from": again + DAY}):
            council.execute(opened)

    def test_approved_and_late_is_over(self, world, council, errors):
        """The deadline also ends an approved round."""
        opened = council.propose(council.removing(), lasts=HOUR)
        council.approve(opened, 0, 1, 2)
        assert council.state(opened) == RoundState.APPROVED
        world.chain.pending_timestamp = opened.proposal[2]
        state = RoundState.EXPIRED
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.execute(opened)
        council.settle(opened)

    def test_happens_once(self, council, errors):
        """I2."""
        opened = council.propose(council.removing())
        council.approve(opened, 0, 1, 2)
        council.execute(opened)
        state = RoundState.EXECUTED
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.execute(opened)

    @pytest.mark.parametrize("change", ["calls", "deadline", "salt", "kind"])
    def test_other_contents_are_another_round(self, council, errors, change):
        """I3: nobody puts other calls under the votes."""
        opened = council.propose(council.removing())
        council.approve(opened, 0, 1, 2)
        kind, calls, deadline, salt = opened.proposal
        other = {
            "calls": (kind, [council.adding()], deadline, salt),
            "deadline": (kind, calls, deadline + 1, salt),
            "salt": (kind, calls, deadline, b"\x01" * 32),
            "kind": (Kind.LIFT, calls, deadline, salt),
        }[change]
        id = round_id(other)
        with reverts(errors.RootCouncilUnexpectedState, round=id, state=RoundState.UNKNOWN):
            council.contract.execute(other, [], sender=council.members[0].account)

    def test_all_calls_or_none(self, world, council, errors):
        """I3."""
        opened = council.propose(
            council.call(world.certificates.close, world.ca),
            council.call(world.certificates.close, world.ca),
        )
        council.approve(opened, 0, 1, 2)
        reason = revert_data(
            world.certificates.CertificateRegistryInvalidTransition, world.ca, State.CLOSED
        )
        with reverts(errors.RootCouncilCallFailed, round=opened.id, index=1, reason=reason):
            council.execute(opened)
        assert world.certificates.issuer(world.ca).state == State.ACTIVE
        assert council.state(opened) == RoundState.APPROVED

    def test_refuses_no_round(self, council, errors):
        proposal = council.proposal(council.removing())
        with reverts(errors.RootCouncilUnexpectedState, round=round_id(proposal), state=0):
            council.contract.execute(proposal, [], sender=council.members[0].account)

    def test_hands_the_domain_over(self, world, council):
        """It can leave, too."""
        council.decide(council.call(world.domain.offerGovernor, world.newcomer))
        world.domain.acceptGovernor(sender=world.newcomer)
        assert world.domain.governor() == world.newcomer


class TestSettle:
    def test_of_an_expired_round(self, world, council):
        """I8."""
        opened = council.propose(council.removing(), lasts=HOUR)
        council.wait(HOUR)
        receipt = council.settle(opened)
        assert events(receipt) == [
            event("RoundSettled", round=opened.id, outcome=RoundState.EXPIRED, moved=False)
        ]
        assert council.state(opened) == RoundState.EXPIRED
        assert slots_of(world, receipt) == (2, set())
        assert council.contract.openRoundsOf(council.members[0].address) == (ZERO, ZERO)

    def test_of_one_that_most_rejected(self, council):
        opened = council.propose(council.removing())
        council.reject(opened, 0, 1, 2)
        assert events(council.settle(opened)) == [
            event("RoundSettled", round=opened.id, outcome=RoundState.REJECTED, moved=False)
        ]

    def test_of_one_that_less_rejected_waits(self, world, council, errors):
        """Half is not most: so long as the others had no time to vote it stays."""
        opened = council.propose(council.removing())
        council.reject(opened, 0, 1)
        until = council.round(opened).openedAt + STILL.attendance
        world.chain.pending_timestamp = until - 1
        with reverts(errors.RootCouncilTooEarly, round=opened.id, **{"from": until}):
            council.settle(opened)
        world.chain.pending_timestamp = until
        council.settle(opened)

    def test_at_its_deadline_at_the_latest(self, world, council):
        opened = council.propose(council.removing(), lasts=HOUR)
        council.reject(opened, 0, 1)
        world.chain.pending_timestamp = opened.proposal[2]
        assert events(council.settle(opened)) == [
            event("RoundSettled", round=opened.id, outcome=RoundState.REJECTED, moved=False)
        ]

    @pytest.mark.parametrize("approvals", [0, 3])
    def test_refuses_what_goes_on(self, council, errors, approvals):
        opened = council.propose(council.removing())
        council.approve(opened, *range(approvals))
        state = RoundState.APPROVED if approvals else RoundState.OPEN
        with reverts(errors.RootCouncilUnexpectedState, round=opened.id, state=state):
            council.settle(opened)

    def test_refuses_no_round(self, world, council, errors):
        with reverts(errors.RootCouncilUnexpectedState, round=ANOTHER_CA, state=0):
            council.contract.settle(ANOTHER_CA, sender=world.stranger)

    @pytest.mark.parametrize("end", ["executed", "expired", "rejected"])
    def test_happens_once(self, council, errors, end):
        """I8."""
        opened = council.propose(council.removing(), lasts=HOUR)
        if end == "executed":
            council.execute(opened, *[council.signed(opened, n) for n in range(3)])
        else:
            if end == "rejected":
                council.reject(opened, 0, 1, 2)
            council.wait(HOUR)
            council.settle(opened)
        with reverts(errors.RootCouncilAlreadySettled, round=opened.id):
            council.settle(opened)


class TestRemovedMembers:
    """What becomes of their votes, seats and rounds. I4, I6."""

    @pytest.fixture
    def newcomer(self, world):
        return make_member(world, 1000)

    def remove(self, council, seat, *more, by=0):
        """Remove a member by the three others, at once."""
        others = [n for n in range(4) if n != seat]
        opened = council.propose(council.own("removeMember", council.members[seat]), *more, by=by)
        votes = [council.signed(opened, n) for n in others]
        if not more:
            return council.execute(opened, *votes)
        council.relay(opened, *votes)
        council.wait(DAY)
        return council.execute(opened)

    def test_votes_are_struck_and_the_denominator_stays(self, council):
        opened = council.propose(council.removing(), by=1)
        council.approve(opened, 1, 2, 3)
        receipt = self.remove(council, 3)
        voter = council.members[3].address
        assert event("VoteStruck", round=opened.id, voter=voter) in events(receipt)
        assert event("RoundReopened", round=opened.id) in events(receipt)
        round = council.round(opened)
        assert (round.approvals, round.approvalWeight, round.approvalHeads) == (0b0110, 200, 2)
        assert (round.struck, round.struckWeight, round.struckHeads) == (0b1000, 100, 1)
        assert council.contract.table(round.table).total == 400
        council.approve(opened, 0)
        assert council.state(opened) == RoundState.APPROVED

    def test_rejections_too(self, council):
        opened = council.propose(council.removing(), by=1)
        council.reject(opened, 3)
        self.remove(council, 3)
        round = council.round(opened)
        assert (round.rejections, round.rejectionWeight, round.rejectionHeads) == (0, 0, 0)
        assert (round.struck, round.struckWeight) == (0b1000, 100)

    def test_striking_can_end_a_round(self, council):
        """One against and one gone: two of four are left, and no two suffice."""
        opened = council.propose(council.removing(), by=1)
        council.reject(opened, 2)
        receipt = self.remove(council, 3)
        assert event("RoundRejected", round=opened.id) in events(receipt)
        assert council.state(opened) == RoundState.REJECTED

    def test_a_removed_member_votes_no_more(self, council, errors):
        opened = council.propose(council.removing(), by=1)
        gone = council.members[3]
        self.remove(council, 3)
        with reverts(errors.RootCouncilNotAVoter, round=opened.id, account=gone.address):
            council.approve(opened, 3)
        receipt = council.relay(opened, council.signed(opened, 3))
        assert events(receipt) == [
            event("VoteSkipped", round=opened.id, voter=gone.address, reason=0)
        ]

    def test_who_takes_the_seat_has_no_vote_in_older_rounds(self, council, errors, newcomer):
        """I4: nor does the seat's weight count again."""
        opened = council.propose(council.removing(), by=1)
        council.approve(opened, 3)
        self.remove(council, 3, council.own("addMember", newcomer, Role.ROOT))
        assert council.contract.seatOf(newcomer.address) == 3
        with reverts(errors.RootCouncilNotAVoter, round=opened.id, account=newcomer.address):
            council.approve(opened, newcomer)
        assert council.contract.voteOf(opened.id, newcomer.address) == (0, 0)
        later = council.propose(council.removing(), by=2)
        council.approve(later, newcomer)
        assert council.round(later).approvals == 0b1000

    def test_who_takes_the_seat_is_not_taken_for_who_voted(self, council, newcomer):
        """In a round that was settled before, too."""
        opened = council.propose(council.removing(), by=1)
        council.execute(opened, *[council.signed(opened, n) for n in (1, 2, 3)])
        council.wait(1)
        self.remove(council, 3, council.own("addMember", newcomer, Role.ROOT))
        assert council.round(opened).approvals == 0b1110
        assert council.contract.voteOf(opened.id, newcomer.address) == (0, 0)
        assert council.contract.voteOf(opened.id, council.members[2].address) == (1, 1)

    def test_who_comes_back_has_none_either(self, council, errors):
        """I4: removed and added again, in one round, is no second vote."""
        opened = council.propose(council.removing(), by=1)
        back = council.members[3]
        self.remove(council, 3, council.own("addMember", back, Role.ROOT))
        assert council.contract.seatOf(back.address) == 3
        with reverts(errors.RootCouncilNotAVoter, round=opened.id, account=back.address):
            council.approve(opened, 3)

    def test_who_joins_tips_no_open_round(self, council, errors, newcomer):
        """I6."""
        opened = council.propose(council.removing(), by=1)
        council.decide(council.own("addMember", newcomer, Role.ROOT))
        with reverts(errors.RootCouncilNotAVoter, round=opened.id, account=newcomer.address):
            council.approve(opened, newcomer)
        assert council.contract.table(council.round(opened).table).heads == 4

    def test_who_is_weighted_anew_weighs_the_same_in_open_rounds(self, council):
        """I6."""
        opened = council.propose(council.removing(), by=1)
        council.decide(council.own("setRole", council.members[3], Role.ORDINARY))
        assert council.weights()[3] == 20
        council.approve(opened, 3)
        assert council.round(opened).approvalWeight == 100

    def test_a_removed_proposer_s_rounds_end(self, council, errors):
        """Both of them, and they move nothing."""
        decision = council.propose(council.removing(), by=3)
        alarm = council.alarm(Kind.SUSPENSION, by=3)
        council.approve(decision, 0, 1, 2)
        receipt = self.remove(council, 3)
        for opened in (decision, alarm):
            assert [e for e in events(receipt) if e[1].get("round") == opened.id] == [
                event("RoundRejected", round=opened.id),
                event("RoundSettled", round=opened.id, outcome=RoundState.REJECTED, moved=False),
            ]
            assert council.round(opened).settled
        state = RoundState.REJECTED
        with reverts(errors.RootCouncilUnexpectedState, round=decision.id, state=state):
            council.execute(decision)

    def test_a_removed_proposer_s_expired_round_stays_expired(self, council):
        opened = council.propose(council.removing(), by=3, lasts=HOUR)
        council.wait(HOUR)
        receipt = self.remove(council, 3)
        assert [e for e in events(receipt) if e[1].get("round") == opened.id] == [
            event("RoundSettled", round=opened.id, outcome=RoundState.EXPIRED, moved=False)
        ]

    def test_the_seat_s_next_member_can_propose(self, council, newcomer):
        """I8: not held up by what another one opened."""
        council.propose(council.removing(), by=3)
        self.remove(council, 3, council.own("addMember", newcomer, Role.ROOT))
        assert council.contract.openRoundsOf(newcomer.address) == (ZERO, ZERO)
        council.propose(council.removing(), by=newcomer)

    def test_a_round_can_remove_its_proposer(self, council):
        opened = council.propose(council.own("removeMember", council.members[0]))
        receipt = council.execute(opened, *[council.signed(opened, n) for n in range(3)])
        assert council.state(opened) == RoundState.EXECUTED
        names = [name for name, _ in events(receipt)]
        assert "RoundRejected" not in names
        assert names.count("RoundSettled") == 1
        assert council.round(opened).struck == 0b0001
