"""Contracts in the roles: nothing may assume that whoever holds one is an account."""

import pytest

from tests.contracts.conftest import (
    ISSUER_KEY,
    LIFETIME,
    NOBODY,
    Kind,
    State,
    deploy_world,
    event,
    events,
)
from tests.contracts.fresh import compiled
from tests.contracts.reference import ENROLLMENT, ZERO
from tests.contracts.reverting import reverts

DELAY = 86_400
DOCUMENT = b"\x11" * 32


@pytest.fixture(scope="module")
def forwarder_type():
    return compiled("tests/contracts/Forwarder.sol", "Forwarder")


@pytest.fixture(scope="module")
def timelock_type():
    path = "@openzeppelin/contracts/governance/TimelockController.sol"
    return compiled(path, "TimelockController")


class TestForwarder:
    """A contract can hold every role, one after the other."""

    @pytest.fixture
    def forwarder(self, world, forwarder_type):
        return forwarder_type.deploy(sender=world.stranger)

    @pytest.fixture
    def governed(self, world, forwarder):
        """Let the forwarder govern; return what makes it call a function."""

        def act(method, *arguments):
            data = method.encode_input(*arguments)
            return forwarder.forward(method.contract.address, data, sender=world.stranger)

        world.domain.offerGovernor(forwarder, sender=world.governor)
        act(world.domain.acceptGovernor)
        return act

    def test_governs_everything(self, world, forwarder, governed):
        registry = world.certificates
        assert world.domain.governor() == forwarder
        governed(
            world.authorities.register, Kind.TLS, b"a key", ISSUER_KEY, ZERO, forwarder, LIFETIME
        )
        ca = world.authorities.authorityAt(world.authorities.count() - 1)
        governed(registry.issue, ca, 1, [world.entries(1)[0].abi])
        governed(registry.revoke, ca, [1])
        for step, state in (
            ("suspend", State.SUSPENDED),
            ("lift", State.ACTIVE),
            ("close", State.CLOSED),
            ("retire", State.RETIRED),
        ):
            governed(getattr(registry, step), ca)
            assert registry.issuer(ca).state == state
        governed(registry.setOperator, world.ca, forwarder)
        governed(registry.setRevoker, world.ca, forwarder, True)
        governed(registry.setMaximumLifetime, world.ca, 5)
        governed(world.domain.setGuardian, forwarder)
        governed(world.devices.setRegistrar, forwarder, True)
        governed(world.devices.enroll, *world.signed(ENROLLMENT, world.device, DOCUMENT, 0))
        governed(world.devices.retire, world.device)
        governed(world.domain.offerGovernor, world.newcomer)
        world.domain.acceptGovernor(sender=world.newcomer)
        assert world.domain.governor() == world.newcomer

    def test_is_refused_like_anybody(self, world, forwarder):
        data = world.domain.setGuardian.encode_input(world.stranger)
        with reverts(world.domain.TrustDomainUnauthorized, caller=forwarder):
            forwarder.forward(world.domain, data, sender=world.stranger)

    def test_who_sends_the_transaction_does_not_matter(self, world, forwarder):
        """The caller counts, not the origin: a governor tricked into a call loses nothing."""
        data = world.domain.setGuardian.encode_input(world.stranger)
        with reverts(world.domain.TrustDomainUnauthorized, caller=forwarder):
            forwarder.forward(world.domain, data, sender=world.governor)


class TestTimelock:
    """OpenZeppelin's TimelockController governs: adding trust waits, suspending doesn't."""

    @pytest.fixture
    def timelock(self, world, timelock_type):
        return timelock_type.deploy(
            DELAY, [world.governor], [world.governor], NOBODY, sender=world.governor
        )

    @pytest.fixture
    def timed(self, world, timelock):
        """Deploy a domain that the timelock governs."""
        accounts = [timelock, *list(world.roles.values())[1:]]
        return deploy_world(world.project, world.chain, accounts)

    @pytest.fixture
    def schedule(self, world, timelock):
        def schedule(method, *arguments):
            call = (
                method.contract.address,
                0,
                method.encode_input(*arguments),
                ZERO,
                ZERO,
            )
            timelock.schedule(*call, DELAY, sender=world.governor)
            return lambda: timelock.execute(*call, sender=world.governor)

        return schedule

    def test_adding_trust_waits(self, world, timed, timelock, schedule):
        execute = schedule(
            timed.authorities.register,
            Kind.SSH_USER,
            b"a key",
            ISSUER_KEY,
            ZERO,
            world.operator,
            LIFETIME,
        )
        with reverts(timelock.TimelockUnexpectedOperationState):
            execute()
        assert timed.authorities.count() == 0
        world.chain.pending_timestamp += DELAY
        execute()
        assert timed.authorities.count() == 1

    def test_suspending_does_not(self, world, timed, schedule):
        execute = schedule(
            timed.authorities.register,
            Kind.SSH_USER,
            b"a key",
            ISSUER_KEY,
            ZERO,
            world.operator,
            LIFETIME,
        )
        world.chain.pending_timestamp += DELAY
        execute()
        ca = timed.authorities.authorityAt(0)
        receipt = timed.certificates.suspend(ca, sender=world.guardian)
        assert events(receipt) == [
            event(
                "StateChanged",
                ca=ca,
                **{"from": State.ACTIVE},
                to=State.SUSPENDED,
                by=world.guardian,
            )
        ]

    def test_it_can_hand_over(self, world, timed, schedule):
        execute = schedule(timed.domain.offerGovernor, world.newcomer)
        world.chain.pending_timestamp += DELAY
        execute()
        timed.domain.acceptGovernor(sender=world.newcomer)
        assert timed.domain.governor() == world.newcomer
