"""TrustDomain: I1 to I4."""

import pytest

from tests.contracts.conftest import NOBODY, event, events, unauthorized
from tests.contracts.reverting import reverts

GOVERNOR, OFFERED, GUARDIAN = ("domain", 0), ("domain", 1), ("domain", 2)


class TestConstructor:
    def test_wires_the_registries_to_the_domain(self, world):
        """I1."""
        parts = {world.authorities, world.certificates, world.devices, world.watchdogs}
        assert len(parts) == 4
        for part in parts:
            assert part.domain() == world.domain.address

    def test_sets_the_roles(self, world):
        assert world.domain.governor() == world.governor
        assert world.domain.guardian() == world.guardian
        assert world.domain.offeredGovernor() == NOBODY
        assert world.devices.isRegistrar(world.registrar)

    def test_gives_the_deployer_nothing(self, world):
        deployer = world.stranger
        assert deployer not in (world.domain.governor(), world.domain.guardian())
        assert not world.devices.isRegistrar(deployer)

    def test_announces_everything(self, world):
        domain = world.project.TrustDomain.deploy(
            world.governor,
            world.guardian,
            [world.registrar, world.device],
            sender=world.stranger,
        )
        # ape knows the new domain's address, but not yet its registries'.
        announced = [
            world.devices.RegistrarChanged.abi,
            domain.DomainCreated.abi,
            domain.GuardianChanged.abi,
        ]
        assert events(domain.creation_metadata.receipt, announced) == [
            event("RegistrarChanged", registrar=world.registrar, allowed=True),
            event("RegistrarChanged", registrar=world.device, allowed=True),
            event(
                "DomainCreated",
                governor=world.governor,
                authorities=domain.authorities(),
                certificates=domain.certificates(),
                devices=domain.devices(),
                watchdogs=domain.watchdogs(),
            ),
            event("GuardianChanged", previous=NOBODY, current=world.guardian),
        ]

    def test_needs_neither_guardian_nor_registrars(self, world):
        domain = world.project.TrustDomain.deploy(world.governor, NOBODY, [], sender=world.governor)
        assert domain.guardian() == NOBODY

    def test_refuses_no_governor(self, world):
        """I2."""
        with reverts(world.project.TrustDomain.TrustDomainZeroGovernor):
            world.project.TrustDomain.deploy(NOBODY, world.guardian, [], sender=world.governor)

    def test_two_domains_share_nothing(self, world):
        """I1."""
        other = world.project.TrustDomain.deploy(world.stranger, NOBODY, [], sender=world.stranger)
        parts = {other.authorities(), other.certificates(), other.devices(), other.watchdogs()}
        assert parts.isdisjoint(
            {world.authorities, world.certificates, world.devices, world.watchdogs}
        )
        certificates = world.project.CertificateRegistry.at(other.certificates())
        assert certificates.issuer(world.ca).state == 0
        with reverts(certificates.CertificateRegistryUnknownAuthority, ca=world.ca):
            certificates.suspend(world.ca, sender=world.stranger)


class TestOfferGovernor:
    def test_offers(self, world):
        receipt = world.domain.offerGovernor(world.newcomer, sender=world.governor)
        assert world.domain.offeredGovernor() == world.newcomer
        assert events(receipt) == [
            event("GovernorOffered", current=world.governor, offered=world.newcomer)
        ]

    def test_changes_nothing_else(self, world):
        """I4: an offer alone makes nobody governor."""
        receipt = world.domain.offerGovernor(world.newcomer, sender=world.governor)
        assert world.changed_storage(receipt) == {OFFERED}
        assert world.domain.governor() == world.governor
        with reverts(world.domain.TrustDomainUnauthorized, caller=world.newcomer):
            world.domain.setGuardian(world.newcomer, sender=world.newcomer)

    def test_a_new_offer_replaces_the_one_before(self, world):
        world.domain.offerGovernor(world.newcomer, sender=world.governor)
        world.domain.offerGovernor(world.device, sender=world.governor)
        with reverts(world.domain.TrustDomainUnauthorized, caller=world.newcomer):
            world.domain.acceptGovernor(sender=world.newcomer)
        world.domain.acceptGovernor(sender=world.device)
        assert world.domain.governor() == world.device

    def test_zero_withdraws(self, world):
        world.domain.offerGovernor(world.newcomer, sender=world.governor)
        receipt = world.domain.offerGovernor(NOBODY, sender=world.governor)
        assert world.domain.offeredGovernor() == NOBODY
        assert events(receipt) == [event("GovernorOffered", current=world.governor, offered=NOBODY)]
        with reverts(world.domain.TrustDomainUnauthorized, caller=world.newcomer):
            world.domain.acceptGovernor(sender=world.newcomer)


class TestAcceptGovernor:
    def test_changes_the_governor(self, world):
        """I4."""
        world.domain.offerGovernor(world.newcomer, sender=world.governor)
        receipt = world.domain.acceptGovernor(sender=world.newcomer)
        assert world.domain.governor() == world.newcomer
        assert world.domain.offeredGovernor() == NOBODY
        assert events(receipt) == [
            event("GovernorChanged", previous=world.governor, current=world.newcomer)
        ]
        assert world.changed_storage(receipt) == {GOVERNOR, OFFERED}

    def test_an_offer_is_used_up(self, world):
        """I4: who accepted once can not take the role back later."""
        world.domain.offerGovernor(world.newcomer, sender=world.governor)
        world.domain.acceptGovernor(sender=world.newcomer)
        world.domain.offerGovernor(world.governor, sender=world.newcomer)
        world.domain.acceptGovernor(sender=world.governor)
        with reverts(world.domain.TrustDomainUnauthorized, caller=world.newcomer):
            world.domain.acceptGovernor(sender=world.newcomer)

    @pytest.mark.parametrize(
        ("part", "function", "arguments"),
        [
            ("domain", "offerGovernor", ["stranger"]),
            ("domain", "setGuardian", ["stranger"]),
            ("certificates", "suspend", ["ca"]),
            ("certificates", "retire", ["ca"]),
            ("certificates", "setOperator", ["ca", "stranger"]),
            ("certificates", "revokeBelow", ["ca", 1]),
            ("devices", "setRegistrar", ["stranger", True]),
            ("authorities", "register", [1, b"key", b"\1" * 32, bytes(32), "stranger", 1]),
        ],
    )
    def test_every_registry_obeys_the_new_governor_and_not_the_old(
        self, world, part, function, arguments
    ):
        """I3."""
        world.domain.offerGovernor(world.newcomer, sender=world.governor)
        world.domain.acceptGovernor(sender=world.newcomer)
        act = getattr(getattr(world, part), function)
        arguments = [getattr(world, a) if isinstance(a, str) else a for a in arguments]
        with reverts(unauthorized(world, part), caller=world.governor):
            act(*arguments, sender=world.governor)
        act(*arguments, sender=world.newcomer)


class TestSetGuardian:
    def test_names_the_guardian(self, world):
        receipt = world.domain.setGuardian(world.newcomer, sender=world.governor)
        assert world.domain.guardian() == world.newcomer
        assert events(receipt) == [
            event("GuardianChanged", previous=world.guardian, current=world.newcomer)
        ]
        assert world.changed_storage(receipt) == {GUARDIAN}

    def test_the_old_one_may_no_longer_suspend(self, world):
        world.domain.setGuardian(world.newcomer, sender=world.governor)
        with reverts(world.certificates.CertificateRegistryUnauthorized, caller=world.guardian):
            world.certificates.suspend(world.ca, sender=world.guardian)
        world.certificates.suspend(world.ca, sender=world.newcomer)

    def test_zero_is_nobody(self, world):
        world.domain.setGuardian(NOBODY, sender=world.governor)
        assert world.domain.guardian() == NOBODY
        with reverts(world.certificates.CertificateRegistryUnauthorized, caller=world.guardian):
            world.certificates.suspend(world.ca, sender=world.guardian)
