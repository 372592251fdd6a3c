"""RootCouncil.relay: votes by file, and every way in which one may not count. I4 and I5."""

import pytest

from tests.contracts.conftest import event, events
from tests.contracts.council import (
    DAY,
    HOUR,
    STILL,
    Choice,
    Kind,
    Role,
    RoundState,
    Skipped,
    found,
    govern,
    make_member,
)
from tests.contracts.reference import malleate
from tests.contracts.reverting import reverts


@pytest.fixture(scope="module")
def council(world):
    return govern(found(world, [Role.ROOT] * 4, STILL))


@pytest.fixture
def opened(council):
    return council.propose(council.removing())


def skipped(council, opened, vote, reason):
    """Check that a vote is skipped for this reason, that the one after it counts, and no more."""
    receipt = council.relay(opened, vote, council.signed(opened, 3))
    assert events(receipt) == [
        event("VoteSkipped", round=opened.id, voter=vote[0], reason=reason),
        event("VoteCast", round=opened.id, voter=council.members[3].address, choice=1, nonce=0),
    ]


class TestRelay:
    def test_counts_many(self, council, opened):
        votes = [
            council.signed(opened, 0),
            council.signed(opened, 1, Choice.REJECT),
            council.signed(opened, 2),
            council.signed(opened, 3),
        ]
        receipt = council.relay(opened, *votes)
        assert events(receipt) == [
            *[
                event(
                    "VoteCast",
                    round=opened.id,
                    voter=council.members[n].address,
                    choice=2 if n == 1 else 1,
                    nonce=0,
                )
                for n in range(4)
            ],
            event("RoundApproved", round=opened.id, executableFrom=receipt.timestamp),
        ]
        round = council.round(opened)
        assert (round.approvals, round.approvalWeight, round.approvalHeads) == (0b1101, 300, 3)
        assert (round.rejections, round.rejectionWeight, round.rejectionHeads) == (0b10, 100, 1)

    def test_judges_after_the_last(self, council, opened):
        """Approved on the way and not at the end is not approved."""
        votes = [council.signed(opened, n) for n in range(3)]
        receipt = council.relay(opened, *votes, council.signed(opened, 0, Choice.NONE, 1))
        assert {name for name, _ in events(receipt)} == {"VoteCast"}
        assert council.state(opened) == RoundState.OPEN

    def test_rejects(self, council, opened):
        votes = [council.signed(opened, n, Choice.REJECT) for n in range(2)]
        receipt = council.relay(opened, *votes)
        assert events(receipt)[2:] == [event("RoundRejected", round=opened.id)]

    def test_none_changes_nothing(self, world, council, opened):
        receipt = council.relay(opened)
        assert events(receipt) == []
        assert world.changed_storage(receipt) == set()

    def test_a_skipped_vote_changes_nothing(self, world, council, opened):
        receipt = council.relay(opened, council.signed(opened, 0, nonce=1))
        assert world.changed_storage(receipt) == set()

    def test_anyone_brings_them(self, world, council, opened):
        for role in ("stranger", "governor", "device"):
            vote = council.signed(
                opened,
                0,
                Choice.APPROVE if role != "governor" else 2,
                ("stranger", "governor", "device").index(role),
            )
            council.contract.relay(opened.id, [vote], sender=getattr(world, role))
        assert council.contract.voteOf(opened.id, council.members[0].address) == (1, 3)

    def test_signatures_up_to_their_last_second(self, world, council, opened):
        deadline = world.now + HOUR
        votes = [council.signed(opened, n, deadline=deadline) for n in (0, 1)]
        world.chain.pending_timestamp = deadline
        council.relay(opened, votes[0])
        assert council.round(opened).approvals == 0b1
        world.chain.pending_timestamp = deadline + 1
        skipped(council, opened, votes[1], Skipped.LATE)

    @pytest.mark.parametrize("state", ["unknown", "executed", "expired", "settled"])
    def test_refuses_when_there_is_nothing_to_count(self, council, state):
        opened = council.propose(council.removing(), lasts=HOUR)
        vote, id, found = council.signed(opened, 3), opened.id, RoundState.EXPIRED
        if state == "unknown":
            id, found = b"\x55" * 32, RoundState.UNKNOWN
        elif state == "executed":
            council.execute(opened, *[council.signed(opened, n) for n in range(3)])
            found = RoundState.EXECUTED
        elif state == "settled":
            council.reject(opened, 0, 1, 2)
            council.settle(opened)
            found = RoundState.REJECTED
        else:
            council.wait(HOUR)
        with reverts(council.contract.RootCouncilUnexpectedState, round=id, state=found):
            council.contract.relay(id, [vote], sender=council.world.stranger)

    def test_counts_in_a_rejected_round_until_it_is_settled(self, council, opened):
        council.reject(opened, 0, 1)
        council.relay(opened, council.signed(opened, 2, Choice.REJECT), council.signed(opened, 3))
        round = council.round(opened)
        assert (round.state, round.rejections, round.approvals) == (3, 0b0111, 0b1000)


class TestReplays:
    """I5: a signature counts at most once."""

    def test_again(self, council, opened):
        vote = council.signed(opened, 0)
        council.relay(opened, vote)
        skipped(council, opened, vote, Skipped.WRONG_NONCE)

    def test_twice_in_one_transaction(self, council, opened):
        vote = council.signed(opened, 0)
        receipt = council.relay(opened, vote, vote)
        assert [name for name, _ in events(receipt)] == ["VoteCast", "VoteSkipped"]
        assert council.round(opened).approvalWeight == 100

    def test_after_it_was_withdrawn(self, council, opened):
        vote = council.signed(opened, 0)
        council.relay(opened, vote)
        council.withdraw(opened, 0)
        skipped(council, opened, vote, Skipped.WRONG_NONCE)

    def test_after_a_direct_vote(self, council, opened):
        """A direct vote uses up what was signed before."""
        vote = council.signed(opened, 0, Choice.REJECT)
        council.approve(opened, 0)
        skipped(council, opened, vote, Skipped.WRONG_NONCE)

    def test_before_its_turn(self, council, opened):
        skipped(council, opened, council.signed(opened, 0, nonce=1), Skipped.WRONG_NONCE)

    def test_the_same_choice_with_the_next_nonce(self, council, opened):
        council.approve(opened, 0)
        vote = council.signed(opened, 0, Choice.APPROVE, 1)
        skipped(council, opened, vote, Skipped.NOTHING_CHANGED)

    def test_withdrawing_nothing(self, council, opened):
        vote = council.signed(opened, 0, Choice.NONE)
        skipped(council, opened, vote, Skipped.NOTHING_CHANGED)

    def test_in_another_round(self, council, opened):
        other = council.propose(council.adding(), by=1)
        skipped(council, other, council.signed(opened, 0), Skipped.INVALID_SIGNATURE)

    def test_in_another_council(self, world, council):
        """The same members, the same proposal, so the same round id."""
        twin = found(world, [Role.ROOT] * 4, STILL)
        proposal = council.proposal(council.removing())
        for contract in (council.contract, twin.contract):
            contract.propose(proposal, sender=council.members[0].account)
        opened = council.propose(council.removing(), by=1)
        vote = twin.signed(opened, 0)
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    def test_on_another_chain(self, council, opened):
        vote = council.signed(opened, 0, chain_id=1)
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    def test_of_another_contract(self, world, council, opened):
        vote = council.signed(opened, 0, contract=str(world.domain.address))
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)


class TestSignatures:
    """Skipped, whatever they are; nothing reverts the votes beside them."""

    def test_late(self, council, opened):
        vote = council.signed(opened, 0, deadline=council.world.now - 10)
        skipped(council, opened, vote, Skipped.LATE)

    def test_of_somebody_else(self, council, opened):
        vote = council.signed(opened, 0, signer=council.members[1])
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    def test_of_a_stranger_for_itself(self, world, council, opened):
        vote = council.signed(opened, make_member(world, 1000))
        skipped(council, opened, vote, Skipped.NOT_A_VOTER)

    def test_of_nobody(self, council, opened):
        """ecrecover answers zero for nonsense; zero has no seat."""
        vote = ("0x" + "00" * 20, 1, 0, 2**64 - 1, b"\x01" * 65)
        skipped(council, opened, vote, Skipped.NOT_A_VOTER)

    def test_malleable(self, council, opened):
        address, choice, nonce, deadline, signature = council.signed(opened, 0)
        vote = (address, choice, nonce, deadline, malleate(signature))
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    @pytest.mark.parametrize("field", ["choice", "nonce", "deadline"])
    def test_over_something_else(self, council, opened, field):
        vote = list(council.signed(opened, 0, Choice.APPROVE, 0))
        if field == "choice":
            vote[1] = Choice.REJECT
        elif field == "nonce":
            vote = list(council.signed(opened, 0, Choice.APPROVE, 1))
            vote[2] = 0
        else:
            vote[3] += 1
        skipped(council, opened, tuple(vote), Skipped.INVALID_SIGNATURE)

    @pytest.mark.parametrize("length", [0, 1, 64, 66, 1000])
    def test_of_an_odd_length(self, council, opened, length):
        vote = (*council.signed(opened, 0)[:4], b"\x1b" * length)
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    @pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
    def test_with_a_wrong_v(self, council, opened, v):
        *rest, signature = council.signed(opened, 0)
        vote = (*rest, signature[:64] + bytes([v]))
        skipped(council, opened, vote, Skipped.INVALID_SIGNATURE)

    @pytest.mark.parametrize("choice", [3, 255])
    def test_for_a_choice_that_there_is_not(self, council, opened, choice):
        """Signed well, and still no vote."""
        vote = council.signed(opened, 0, choice)
        skipped(council, opened, vote, Skipped.INVALID_CHOICE)

    def test_of_a_contract_is_none(self, world, council, opened):
        """Contract wallets vote directly; the council asks no other contract about a signature."""
        vote = (str(world.domain.address), 1, 0, 2**64 - 1, b"\x01" * 65)
        skipped(council, opened, vote, Skipped.NOT_A_VOTER)


class TestOfflineLaptop:
    def test_votes_of_weeks_ago_still_count(self, world, council):
        """Signed before the round was opened, even: its id is known from its contents."""
        proposal = council.proposal(council.removing(), lasts=25 * DAY)
        opened = type(council.propose(council.removing(), by=3))(
            bytes(council.contract.roundIdOf(proposal)), proposal
        )
        votes = [council.signed(opened, n) for n in range(3)]
        council.wait(10 * DAY)
        council.contract.propose(proposal, sender=council.members[0].account)
        council.wait(10 * DAY)
        council.execute(opened, *votes)
        assert council.state(opened) == RoundState.EXECUTED

    def test_a_suspension_in_two_transactions(self, council):
        """Propose, and execute with the votes: no other transaction is needed."""
        alarm = council.alarm(Kind.SUSPENSION)
        council.execute(alarm, council.signed(alarm, 1), council.signed(alarm, 2))
        assert council.state(alarm) == RoundState.EXECUTED
