"""What the governor and the guardian do to an authority: I8, I9."""

import pytest

from tests.contracts.conftest import NOBODY, WAY_INTO, State, event, events
from tests.contracts.reference import mapping_slot
from tests.contracts.reverting import reverts

#: (function, from) -> to; what is missing is refused.
TRANSITIONS = {
    ("suspend", State.ACTIVE): State.SUSPENDED,
    ("suspend", State.CLOSED): State.CLOSED_SUSPENDED,
    ("lift", State.SUSPENDED): State.ACTIVE,
    ("lift", State.CLOSED_SUSPENDED): State.CLOSED,
    ("close", State.ACTIVE): State.CLOSED,
    ("close", State.SUSPENDED): State.CLOSED_SUSPENDED,
    ("retire", State.ACTIVE): State.RETIRED,
    ("retire", State.CLOSED): State.RETIRED,
    ("retire", State.SUSPENDED): State.RETIRED,
    ("retire", State.CLOSED_SUSPENDED): State.RETIRED,
}
FUNCTIONS = ["suspend", "lift", "close", "retire"]


@pytest.fixture
def registry(world):
    return world.certificates


@pytest.mark.parametrize("start", list(WAY_INTO))
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_transition(world, registry, function, start):
    """I8: the whole table, what is in it and what is not."""
    world.lead_into(start)
    act = getattr(registry, function)
    target = TRANSITIONS.get((function, start))
    if target is None:
        with reverts(registry.CertificateRegistryInvalidTransition, ca=world.ca, **{"from": start}):
            act(world.ca, sender=world.governor)
        assert registry.issuer(world.ca).state == start
        return
    before = registry.issuer(world.ca)
    receipt = act(world.ca, sender=world.governor)
    after = registry.issuer(world.ca)
    assert after.state == target
    assert tuple(after)[:4] == tuple(before)[:4]
    assert events(receipt) == [
        event("StateChanged", ca=world.ca, **{"from": start}, to=target, by=world.governor)
    ]
    assert world.changed_storage(receipt) == {("certificates", mapping_slot(world.ca, 0))}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_authority_has_no_state(world, registry, function):
    with reverts(registry.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
        getattr(registry, function)(b"\x09" * 32, sender=world.governor)


class TestSuspend:
    @pytest.mark.parametrize("start", [State.ACTIVE, State.CLOSED])
    def test_by_the_guardian(self, world, registry, start):
        """I8."""
        world.lead_into(start)
        receipt = registry.suspend(world.ca, sender=world.guardian)
        target = TRANSITIONS["suspend", start]
        assert registry.issuer(world.ca).state == target
        assert events(receipt) == [
            event("StateChanged", ca=world.ca, **{"from": start}, to=target, by=world.guardian)
        ]

    def test_leaves_other_authorities_alone(self, world, registry):
        registry.suspend(world.ca, sender=world.guardian)
        assert registry.issuer(world.other_ca).state == State.ACTIVE


class TestLift:
    def test_issuing_goes_on(self, world, registry):
        world.issue(world.entries(2))
        registry.suspend(world.ca, sender=world.governor)
        registry.lift(world.ca, sender=world.governor)
        world.issue(world.entries(1), 3)
        assert registry.issuer(world.ca).nextSerial == 4

    def test_what_was_closed_stays_closed(self, world, registry):
        """I8."""
        world.lead_into(State.CLOSED_SUSPENDED)
        registry.lift(world.ca, sender=world.governor)
        assert registry.issuer(world.ca).state == State.CLOSED


class TestSetOperator:
    def test_replaces_the_operator(self, world, registry):
        receipt = registry.setOperator(world.ca, world.newcomer, sender=world.governor)
        assert registry.issuer(world.ca).operator == world.newcomer
        assert events(receipt) == [
            event(
                "OperatorChanged",
                ca=world.ca,
                previous=world.operator,
                current=world.newcomer,
            )
        ]
        assert world.changed_storage(receipt) == {("certificates", mapping_slot(world.ca, 0))}

    def test_only_the_new_one_issues(self, world, registry):
        """Invariant I1."""
        registry.setOperator(world.ca, world.newcomer, sender=world.governor)
        with reverts(registry.CertificateRegistryUnauthorized, caller=world.operator):
            world.issue(world.entries(1))
        registry.issue(world.ca, 1, [world.entries(1)[0].abi], sender=world.newcomer)

    def test_keeps_the_rest_of_the_word(self, world, registry):
        world.issue(world.entries(5))
        registry.revoke(world.ca, [2], sender=world.operator)
        before = registry.issuer(world.ca)
        registry.setOperator(world.ca, world.newcomer, sender=world.governor)
        assert tuple(registry.issuer(world.ca))[1:] == tuple(before)[1:]

    @pytest.mark.parametrize("state", [s for s in WAY_INTO if s != State.RETIRED])
    def test_in_every_state_but_retired(self, world, registry, state):
        world.lead_into(state)
        registry.setOperator(world.ca, world.newcomer, sender=world.governor)
        assert registry.issuer(world.ca).state == state

    def test_refuses_a_retired_authority(self, world, registry):
        world.lead_into(State.RETIRED)
        with reverts(registry.CertificateRegistryNotActive, ca=world.ca, state=State.RETIRED):
            registry.setOperator(world.ca, world.newcomer, sender=world.governor)

    def test_refuses_nobody(self, world, registry):
        """I9."""
        with reverts(registry.CertificateRegistryZeroOperator, ca=world.ca):
            registry.setOperator(world.ca, NOBODY, sender=world.governor)

    def test_refuses_an_unknown_authority(self, world, registry):
        with reverts(registry.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.setOperator(b"\x09" * 32, world.newcomer, sender=world.governor)


class TestSetRevoker:
    @pytest.mark.parametrize("state", list(WAY_INTO))
    def test_names_and_unnames_in_every_state(self, world, registry, state):
        world.lead_into(state)
        for allowed in (True, True, False, False):
            receipt = registry.setRevoker(world.ca, world.newcomer, allowed, sender=world.governor)
            assert registry.isRevoker(world.ca, world.newcomer) == allowed
            assert events(receipt) == [
                event("RevokerChanged", ca=world.ca, revoker=world.newcomer, allowed=allowed)
            ]

    def test_changes_nothing_else(self, world, registry):
        receipt = registry.setRevoker(world.ca, world.newcomer, True, sender=world.governor)
        slot = mapping_slot(str(world.newcomer.address), mapping_slot(world.ca, 4))
        assert world.changed_storage(receipt) == {("certificates", slot)}
        assert not registry.isRevoker(world.other_ca, world.newcomer)
        assert registry.isRevoker(world.ca, world.revoker)

    def test_refuses_an_unknown_authority(self, world, registry):
        with reverts(registry.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.setRevoker(b"\x09" * 32, world.newcomer, True, sender=world.governor)


class TestSetMaximumLifetime:
    @pytest.mark.parametrize("minutes", [1, 2**24 - 1])
    def test_changes_it(self, world, registry, minutes):
        before = registry.issuer(world.ca)
        receipt = registry.setMaximumLifetime(world.ca, minutes, sender=world.governor)
        after = registry.issuer(world.ca)
        assert after.maximumLifetime == minutes
        assert tuple(after)[:3] == tuple(before)[:3]
        assert after.state == before.state
        assert events(receipt) == [event("MaximumLifetimeChanged", ca=world.ca, minutes_=minutes)]
        assert world.changed_storage(receipt) == {("certificates", mapping_slot(world.ca, 0))}

    @pytest.mark.parametrize("state", [s for s in WAY_INTO if s != State.RETIRED])
    def test_in_every_state_but_retired(self, world, registry, state):
        world.lead_into(state)
        registry.setMaximumLifetime(world.ca, 5, sender=world.governor)
        assert registry.issuer(world.ca).state == state

    def test_refuses_a_retired_authority(self, world, registry):
        world.lead_into(State.RETIRED)
        with reverts(registry.CertificateRegistryNotActive, ca=world.ca, state=State.RETIRED):
            registry.setMaximumLifetime(world.ca, 5, sender=world.governor)

    def test_refuses_zero(self, world, registry):
        """I9."""
        with reverts(registry.CertificateRegistryZeroLifetime, ca=world.ca):
            registry.setMaximumLifetime(world.ca, 0, sender=world.governor)

    def test_refuses_an_unknown_authority(self, world, registry):
        with reverts(registry.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.setMaximumLifetime(b"\x09" * 32, 5, sender=world.governor)
