"""Contracts around a council: as members, and in the place of its domain. I9."""

from dataclasses import replace

import pytest

from tests.contracts.conftest import State
from tests.contracts.council import (
    STILL,
    Kind,
    Member,
    Opened,
    Role,
    found,
    govern,
    make_member,
    revert_data,
    round_id,
)
from tests.contracts.fresh import compiled
from tests.contracts.reverting import reverts


@pytest.fixture(scope="module")
def forwarder_type():
    return compiled("tests/contracts/Forwarder.sol", "Forwarder")


class TestContractWallet:
    """A member may be a contract: it proposes and votes directly."""

    @pytest.fixture(scope="class")
    def wallet(self, world, forwarder_type):
        return forwarder_type.deploy(sender=world.stranger)

    @pytest.fixture(scope="class")
    def council(self, world, wallet):
        members = [make_member(world, n) for n in range(3)]
        members.append(Member(world, str(wallet.address)))
        return govern(found(world, [Role.ROOT] * 4, STILL, members=members), voters=range(3))

    @pytest.fixture
    def act(self, world, council, wallet):
        def act(method, *arguments):
            return wallet.forward(
                council.contract, method.encode_input(*arguments), sender=world.stranger
            )

        return act

    def test_proposes_and_votes(self, world, council, wallet, act):
        proposal = council.proposal(council.call(world.certificates.close, world.ca))
        act(council.contract.propose, proposal)
        opened = Opened(round_id(proposal), proposal)
        assert council.round(opened).proposer == 3
        act(council.contract.vote, opened.id, 1)
        assert council.contract.voteOf(opened.id, wallet.address) == (1, 1)
        council.execute(opened, council.signed(opened, 0), council.signed(opened, 1))
        assert world.certificates.issuer(world.ca).state == State.CLOSED

    def test_changes_its_mind(self, council, wallet, act):
        opened = council.propose(council.removing())
        act(council.contract.vote, opened.id, 1)
        act(council.contract.vote, opened.id, 0)
        assert council.contract.voteOf(opened.id, wallet.address) == (0, 2)

    def test_is_refused_like_anybody(self, council, wallet, act):
        opened = council.propose(council.removing())
        act(council.contract.vote, opened.id, 1)
        error = council.contract.RootCouncilNothingChanged
        with reverts(error, round=opened.id, voter=wallet.address):
            act(council.contract.vote, opened.id, 1)

    def test_who_sends_the_transaction_does_not_matter(self, world, council, forwarder_type):
        """A member tricked into a call lends nobody its seat."""
        opened = council.propose(council.removing())
        data = council.contract.vote.encode_input(opened.id, 1)
        stranger = forwarder_type.deploy(sender=world.stranger)
        with reverts(
            council.contract.RootCouncilNotAVoter, round=opened.id, account=stranger.address
        ):
            stranger.forward(council.contract, data, sender=council.members[0].account)


class TestHostileDomain:
    """No contract of a domain calls back; one that did would find the council locked."""

    @pytest.fixture(scope="class")
    def hostile(self, world):
        return compiled("tests/contracts/Hostile.sol", "Hostile").deploy(sender=world.stranger)

    @pytest.fixture(scope="class")
    def council(self, world, hostile):
        registry = world.project.CertificateRegistry.at(hostile.address)
        return found(replace(world, domain=hostile, certificates=registry), [Role.ROOT] * 4, STILL)

    @pytest.mark.parametrize("function", ["propose", "vote", "relay", "execute", "settle"])
    def test_calls_back_in_vain(self, world, council, hostile, function):
        """I9."""
        other = council.propose(council.own("removeMember", council.members[3]), by=1)
        arguments = {
            "propose": [other.proposal],
            "vote": [other.id, 1],
            "relay": [other.id, []],
            "execute": [other.proposal, []],
            "settle": [other.id],
        }[function]
        method = getattr(council.contract, function)
        hostile.prepare(method.encode_input(*arguments), sender=world.stranger)
        alarm = council.alarm(Kind.SUSPENSION)
        reason = revert_data(council.contract.RootCouncilReentered)
        with reverts(
            council.contract.RootCouncilCallFailed, round=alarm.id, index=0, reason=reason
        ):
            council.execute(alarm, *[council.signed(alarm, n) for n in range(3)])

    @pytest.mark.parametrize("function", ["addMember", "removeMember", "setRole", "setParameters"])
    def test_is_not_the_council_itself(self, world, council, hostile, function):
        """A round that calls a domain lends it nothing of what the council may do to itself."""
        arguments = {
            "addMember": [hostile.address, Role.ROOT],
            "removeMember": [council.members[1].address],
            "setRole": [council.members[1].address, Role.ORDINARY],
            "setParameters": [STILL.abi],
        }[function]
        method = getattr(council.contract, function)
        hostile.prepare(method.encode_input(*arguments), sender=world.stranger)
        alarm = council.alarm(Kind.SUSPENSION)
        reason = revert_data(council.contract.RootCouncilUnauthorized, str(hostile.address))
        with reverts(
            council.contract.RootCouncilCallFailed, round=alarm.id, index=0, reason=reason
        ):
            council.execute(alarm, *[council.signed(alarm, n) for n in range(3)])

    def test_the_lock_is_off_afterwards(self, world, council, hostile):
        hostile.prepare(council.contract.currentTable.encode_input(), sender=world.stranger)
        alarm = council.alarm(Kind.SUSPENSION)
        council.execute(alarm, *[council.signed(alarm, n) for n in range(3)])
        council.alarm(Kind.SUSPENSION)
