"""Councils of one to 128: the whole life of a round, and what it costs. Gas is deterministic."""

import pytest

from tests.contracts.conftest import events
from tests.contracts.council import (
    DAY,
    Choice,
    Kind,
    Parameters,
    Role,
    RoundState,
    another,
    found,
    govern,
)
from tests.contracts.test_gas import CODE_LIMIT, INIT_CODE_LIMIT, TRANSACTION_LIMIT

#: How many approve a decision, and how many suspend, of so many equals.
ENOUGH = {1: (1, 1), 2: (2, 1), 3: (3, 2), 4: (3, 2), 20: (14, 7), 100: (67, 34), 128: (86, 43)}
#: What a whole round of so many costs at most, all of them voting: by file, and one by one.
GAS = {4: (460_000, 580_000), 20: (800_000, 1_610_000), 50: (1_460_000, 3_550_000)}


class TestLife:
    @pytest.mark.parametrize("members", ENOUGH)
    def test_of_a_round(self, world, members):
        """Opened, one vote short, approved, executed, settled, and the weights moved."""
        enough, _ = ENOUGH[members]
        council = govern(found(another(world), [Role.ROOT] * members, Parameters()))
        council.wait(DAY)
        before = council.weights()
        opened = council.propose(council.removing(), by=members - 1)
        council.relay(opened, *[council.signed(opened, n) for n in range(enough - 1)])
        assert council.state(opened) == RoundState.OPEN
        council.relay(opened, council.signed(opened, enough - 1))
        assert council.state(opened) == RoundState.APPROVED
        council.execute(opened)
        assert council.state(opened) == RoundState.EXECUTED
        assert council.weights() == [weight + (n < enough) for n, weight in enumerate(before)]
        council.propose(council.removing(), by=members - 1)

    @pytest.mark.parametrize("members", [1, 2, 3, 4, 20])
    def test_of_a_rejected_round(self, world, members):
        """So many against that the others are not enough; and one less does not do it."""
        least = members - ENOUGH[members][0] + 1
        council = found(world, [Role.ROOT] * members)
        opened = council.propose(council.own("removeMember", council.members[0]))
        votes = [council.signed(opened, n, Choice.REJECT) for n in range(least)]
        council.relay(opened, *votes[:-1])
        assert council.state(opened) == RoundState.OPEN
        council.relay(opened, votes[-1])
        assert council.state(opened) == RoundState.REJECTED

    @pytest.mark.parametrize("members", [1, 2, 3, 4, 20])
    def test_of_an_alarm(self, world, members):
        enough = ENOUGH[members][1]
        council = govern(found(another(world), [Role.ROOT] * members))
        alarm = council.alarm(Kind.SUSPENSION)
        council.relay(alarm, *[council.signed(alarm, n) for n in range(enough - 1)])
        assert council.state(alarm) == RoundState.OPEN
        council.execute(alarm, council.signed(alarm, enough - 1))

    def test_the_last_seat_is_a_seat(self, world):
        """Seat 127: its bit, its weight and its nonce are its own."""
        council = found(world, [Role.ROOT] * 128)
        opened = council.propose(council.own("removeMember", council.members[127]), by=127)
        council.relay(opened, council.signed(opened, 127), council.signed(opened, 0, 2))
        assert council.round(opened).approvals == 1 << 127
        assert council.contract.voteOf(opened.id, council.members[127].address) == (1, 1)
        assert council.contract.voteOf(opened.id, council.members[126].address) == (0, 0)


class TestGas:
    """A whole round: proposed, voted on by all, executed and settled, the weights moved."""

    @pytest.fixture
    def council(self, world):
        def found_and_wait(members):
            council = govern(found(another(world), [Role.ROOT] * members))
            council.wait(DAY)
            return council

        return found_and_wait

    def relayed(self, council):
        members = len(council.members)
        opened = council.propose(council.removing())
        votes = [council.signed(opened, n) for n in range(members)]
        receipts = [opened.receipt, council.relay(opened, *votes), council.execute(opened)]
        assert events(receipts[-1])[-1][0] == "WeightsChanged"
        return [receipt.gas_used for receipt in receipts]

    @pytest.mark.parametrize("members", GAS)
    def test_relayed(self, council, members):
        assert sum(self.relayed(council(members))) <= GAS[members][0]

    def test_relayed_by_a_hundred(self, council):
        """The goal."""
        gas = self.relayed(council(100))
        assert sum(gas) <= 3_000_000

    @pytest.mark.parametrize("members", GAS)
    def test_direct(self, council, members):
        council = council(members)
        opened = council.propose(council.removing())
        gas = [opened.receipt.gas_used]
        gas += [council.approve(opened, n).gas_used for n in range(members)]
        gas.append(council.execute(opened).gas_used)
        assert sum(gas) <= GAS[members][1]


def test_code_sizes(world):
    council = found(world, [Role.ROOT] * 128)
    init = bytes(world.project.RootCouncil.contract_type.deployment_bytecode.to_bytes())
    assert len(init) + 32 * (2 * 128 + 30) < INIT_CODE_LIMIT
    assert len(world.chain.provider.get_code(council.contract.address)) < CODE_LIMIT
    assert council.contract.creation_metadata.receipt.gas_used < TRANSACTION_LIMIT
