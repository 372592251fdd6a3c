"""CertificateRegistry.revoke, .revokeBelow and .isRevoked: I4 to I7, I10."""

import pytest

from tests.contracts.conftest import WAY_INTO, event, events
from tests.contracts.reference import mapping_slot
from tests.contracts.reverting import reverts

ISSUED = 600


@pytest.fixture(scope="module")
def certificates(world):
    """The registry, where authority `ca` has issued 1 to 600."""
    world.issue(world.entries(ISSUED))
    return world.certificates


@pytest.fixture(params=["operator", "revoker", "governor"])
def allowed(world, request):
    return getattr(world, request.param)


def bits(certificates, ca, words=4):
    """Return the serials whose bits are set."""
    found = set()
    for index in range(words):
        value = certificates.revocationWord(ca, index)
        found |= {256 * index + bit for bit in range(256) if value >> bit & 1}
    return found


class TestRevoke:
    def test_sets_the_bits(self, world, certificates, allowed):
        """I4."""
        serials = [1, 255, 256, 257, 511, 512, 600]
        certificates.revoke(world.ca, serials, sender=allowed)
        assert bits(certificates, world.ca) == set(serials)
        assert certificates.issuer(world.ca).revokedCount == len(serials)
        assert all(certificates.isRevoked(world.ca, serial) for serial in serials)
        assert not any(certificates.isRevoked(world.ca, s) for s in (2, 254, 258, 510, 513, 599))

    def test_announces_each(self, world, certificates, allowed):
        receipt = certificates.revoke(world.ca, [9, 3], sender=allowed)
        assert events(receipt) == [
            event("CertificateRevoked", ca=world.ca, serial=9, by=allowed),
            event("CertificateRevoked", ca=world.ca, serial=3, by=allowed),
        ]

    def test_changes_nothing_else(self, world, certificates):
        receipt = certificates.revoke(world.ca, [3, 5, 256], sender=world.operator)
        words = mapping_slot(world.ca, 3)
        assert world.changed_storage(receipt) == {
            ("certificates", mapping_slot(world.ca, 0)),
            ("certificates", mapping_slot(0, words)),
            ("certificates", mapping_slot(1, words)),
        }

    def test_counts_and_announces_only_what_is_new(self, world, certificates):
        """I6."""
        certificates.revoke(world.ca, [3, 4], sender=world.operator)
        receipt = certificates.revoke(world.ca, [4, 5, 5, 3], sender=world.operator)
        assert events(receipt) == [
            event("CertificateRevoked", ca=world.ca, serial=5, by=world.operator)
        ]
        assert certificates.issuer(world.ca).revokedCount == 3
        assert bits(certificates, world.ca) == {3, 4, 5}

    def test_the_count_is_the_number_of_bits(self, world, certificates):
        """I6."""
        for serials in ([1], [2, 3], [600, 1, 599], list(range(200, 300))):
            certificates.revoke(world.ca, serials, sender=world.operator)
            assert certificates.issuer(world.ca).revokedCount == len(bits(certificates, world.ca))

    @pytest.mark.parametrize("state", list(WAY_INTO))
    def test_stays_possible_in_every_state(self, world, certificates, state):
        """I4."""
        world.lead_into(state)
        certificates.revoke(world.ca, [7], sender=world.operator)
        certificates.revoke(world.ca, [8], sender=world.revoker)
        certificates.revoke(world.ca, [9], sender=world.governor)
        assert bits(certificates, world.ca) == {7, 8, 9}

    def test_below_the_watermark_a_bit_is_new(self, world, certificates):
        certificates.revokeBelow(world.ca, 100, sender=world.operator)
        certificates.revoke(world.ca, [5], sender=world.operator)
        assert bits(certificates, world.ca) == {5}

    def test_leaves_other_authorities_alone(self, world, certificates):
        certificates.revoke(world.ca, [1], sender=world.operator)
        assert certificates.issuer(world.other_ca).revokedCount == 0
        assert not certificates.isRevoked(world.other_ca, 1)

    @pytest.mark.parametrize("serial", [0, ISSUED + 1, 2**32 - 1])
    def test_refuses_what_was_never_issued(self, world, certificates, serial):
        """I5."""
        with reverts(
            certificates.CertificateRegistryNotIssued,
            ca=world.ca,
            serial=serial,
            nextSerial=ISSUED + 1,
        ):
            certificates.revoke(world.ca, [1, serial], sender=world.operator)
        assert bits(certificates, world.ca) == set()

    @pytest.mark.parametrize("serials", [[], [3], [3, 4], [4, 4]])
    def test_refuses_when_nothing_is_new(self, world, certificates, serials):
        certificates.revoke(world.ca, [3, 4], sender=world.operator)
        with reverts(certificates.CertificateRegistryNothingRevoked, ca=world.ca):
            certificates.revoke(world.ca, serials, sender=world.operator)

    def test_refuses_an_unknown_authority(self, world, certificates):
        with reverts(certificates.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
            certificates.revoke(b"\x09" * 32, [1], sender=world.governor)

    def test_a_revoker_no_longer_named_may_not(self, world, certificates):
        """I4."""
        certificates.setRevoker(world.ca, world.revoker, False, sender=world.governor)
        with reverts(certificates.CertificateRegistryUnauthorized, caller=world.revoker):
            certificates.revoke(world.ca, [1], sender=world.revoker)

    def test_a_former_operator_may_not(self, world, certificates):
        """I4."""
        certificates.setOperator(world.ca, world.newcomer, sender=world.governor)
        with reverts(certificates.CertificateRegistryUnauthorized, caller=world.operator):
            certificates.revoke(world.ca, [1], sender=world.operator)

    @pytest.mark.parametrize("role", ["operator", "revoker"])
    def test_calls_no_other_contract(self, world, certificates, role):
        """I10: what the operator and revokers do costs no call."""
        receipt = certificates.revoke(world.ca, [1], sender=getattr(world, role))
        trace = world.chain.provider.make_request(
            "debug_traceTransaction", [receipt.txn_hash, {"tracer": "callTracer"}]
        )
        assert not trace.get("calls")


class TestRevokeBelow:
    def test_raises_the_watermark(self, world, certificates, allowed):
        """I4."""
        certificates.revokeBelow(world.ca, 100, sender=allowed)
        assert certificates.revokedBelow(world.ca) == 100
        assert certificates.isRevoked(world.ca, 99)
        assert not certificates.isRevoked(world.ca, 100)

    def test_announces_it(self, world, certificates, allowed):
        receipt = certificates.revokeBelow(world.ca, 100, sender=allowed)
        assert events(receipt) == [event("RevokedBelow", ca=world.ca, serial=100, by=allowed)]

    def test_writes_one_word(self, world, certificates):
        """I6: in particular not the count, which is of bits alone."""
        receipt = certificates.revokeBelow(world.ca, ISSUED + 1, sender=world.operator)
        assert world.changed_storage(receipt) == {("certificates", mapping_slot(world.ca, 1))}

    def test_up_to_the_next_serial(self, world, certificates):
        """I7."""
        certificates.revokeBelow(world.ca, ISSUED + 1, sender=world.operator)
        assert certificates.isRevoked(world.ca, ISSUED)
        world.issue(world.entries(1), ISSUED + 1)
        assert not certificates.isRevoked(world.ca, ISSUED + 1)

    @pytest.mark.parametrize("serial", [ISSUED + 2, 2**32 - 1])
    def test_refuses_to_revoke_the_future(self, world, certificates, serial):
        """I7: what is issued later would be born revoked."""
        with reverts(
            certificates.CertificateRegistryNotIssued,
            ca=world.ca,
            serial=serial,
            nextSerial=ISSUED + 1,
        ):
            certificates.revokeBelow(world.ca, serial, sender=world.operator)

    @pytest.mark.parametrize("given", [0, 1, 99, 100])
    def test_refuses_to_fall_or_stay(self, world, certificates, given):
        """I5."""
        certificates.revokeBelow(world.ca, 100, sender=world.operator)
        with reverts(
            certificates.CertificateRegistryWatermarkNotRaised,
            ca=world.ca,
            current=100,
            given=given,
        ):
            certificates.revokeBelow(world.ca, given, sender=world.operator)

    def test_refuses_zero_at_first(self, world, certificates):
        with reverts(
            certificates.CertificateRegistryWatermarkNotRaised, ca=world.ca, current=0, given=0
        ):
            certificates.revokeBelow(world.ca, 0, sender=world.operator)

    @pytest.mark.parametrize("state", list(WAY_INTO))
    def test_stays_possible_in_every_state(self, world, certificates, state):
        """I4."""
        world.lead_into(state)
        certificates.revokeBelow(world.ca, 2, sender=world.operator)
        certificates.revokeBelow(world.ca, 3, sender=world.revoker)
        certificates.revokeBelow(world.ca, 4, sender=world.governor)
        assert certificates.revokedBelow(world.ca) == 4

    def test_refuses_an_unknown_authority(self, world, certificates):
        with reverts(certificates.CertificateRegistryUnknownAuthority, ca=b"\x09" * 32):
            certificates.revokeBelow(b"\x09" * 32, 1, sender=world.governor)


def test_nothing_brings_a_certificate_back(world, certificates):
    """I5: whatever else happens, revoked stays revoked."""
    certificates.revoke(world.ca, [300], sender=world.revoker)
    certificates.revokeBelow(world.ca, 10, sender=world.revoker)
    governor = {"sender": world.governor}
    certificates.suspend(world.ca, **governor)
    certificates.lift(world.ca, **governor)
    certificates.setRevoker(world.ca, world.revoker, False, **governor)
    certificates.setOperator(world.ca, world.newcomer, **governor)
    certificates.setMaximumLifetime(world.ca, 1, **governor)
    certificates.issue(
        world.ca, ISSUED + 1, [world.entries(1, not_after=1)[0].abi], sender=world.newcomer
    )
    certificates.close(world.ca, **governor)
    certificates.retire(world.ca, **governor)
    assert certificates.isRevoked(world.ca, 300)
    assert certificates.isRevoked(world.ca, 9)
    assert certificates.issuer(world.ca).revokedCount == 1
