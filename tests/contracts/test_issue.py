"""CertificateRegistry.open and .issue: I1 to I3, I9."""

import ape
import pytest

from tests.contracts import reference
from tests.contracts.conftest import (
    LIFETIME,
    NOBODY,
    WAY_INTO,
    State,
    event,
    events,
)
from tests.contracts.reference import ZERO, Entry, mapping_slot
from tests.contracts.reverting import reverts

#: Every count up to 17 meets every shape of a small tree; the others the edges of larger ones.
COUNTS = [*range(1, 18), 100, 255, 256, 257, 1000]
LAST_SERIAL = 2**32 - 2


@pytest.fixture
def registry(world):
    return world.certificates


def set_next_serial(world, serial):
    """Write the next serial into the issuer's word."""
    slot = mapping_slot(world.ca, 0)
    word = world.storage_at(world.certificates, slot)
    mask = (2**32 - 1) << 160
    world.set_storage(world.certificates, slot, word & ~mask | serial << 160)


class TestOpen:
    def test_refuses_every_caller_but_the_authority_registry(self, world, registry):
        for role in world.roles.values():
            with reverts(registry.CertificateRegistryUnauthorized, caller=role):
                registry.open(b"\1" * 32, world.operator, 1, sender=role)

    def test_opens_nothing_twice(self, world, registry, accounts):
        """I2: opening anew would begin at serial 1 again."""
        world.issue(world.entries(3))
        world.chain.provider.set_balance(world.authorities.address, 10**18)
        caller = accounts[world.authorities.address]
        with reverts(
            registry.CertificateRegistryInvalidTransition, ca=world.ca, **{"from": State.ACTIVE}
        ):
            registry.open(world.ca, world.operator, 1, sender=caller)


class TestIssue:
    def test_anchors_a_batch(self, world, registry):
        entries = world.entries(3)
        world.issue(entries)
        root = reference.tree_root(world.leaves(entries))
        assert registry.commitment(world.ca, 1) == reference.commitment(root, 3)
        assert registry.issuer(world.ca).nextSerial == 4

    def test_announces_each_certificate_then_the_batch(self, world):
        entries = [
            Entry(b"\1" * 32, str(world.device.address), world.now + 60, b"\2" * 32),
            Entry(b"\3" * 32, NOBODY, world.now + 120),
        ]
        receipt = world.issue(entries)
        assert events(receipt) == [
            *(
                event(
                    "CertificateIssued",
                    ca=world.ca,
                    device=e.device,
                    serial=1 + i,
                    certificateHash=e.certificate_hash,
                    notAfter=e.not_after,
                    locator=e.locator,
                )
                for i, e in enumerate(entries)
            ),
            event(
                "BatchIssued",
                ca=world.ca,
                firstSerial=1,
                count=2,
                root=reference.tree_root(world.leaves(entries)),
            ),
        ]

    @pytest.mark.parametrize("count", [1, 2, 100])
    def test_writes_two_words_and_no_more(self, world, count):
        """I3: nothing is stored per certificate."""
        receipt = world.issue(world.entries(count))
        of_ca = mapping_slot(world.ca, 2)
        assert world.changed_storage(receipt) == {
            ("certificates", mapping_slot(world.ca, 0)),
            ("certificates", mapping_slot(1, of_ca)),
        }

    @pytest.mark.parametrize("count", COUNTS)
    def test_golden_vectors(self, world, registry, count):
        """I3: root and commitment are the reference implementation's."""
        entries = world.entries(count, device=str(world.device.address))
        receipt = world.issue(entries)
        root = reference.tree_root(world.leaves(entries))
        assert events(receipt, [registry.BatchIssued.abi]) == [
            event("BatchIssued", ca=world.ca, firstSerial=1, count=count, root=root)
        ]
        assert registry.commitment(world.ca, 1) == reference.commitment(root, count)

    def test_serials_go_on_where_they_stopped(self, world, registry):
        """I2."""
        first = 1
        for count in (1, 5, 2, 1):
            receipt = world.issue(world.entries(count), first)
            serials = [a["serial"] for n, a in events(receipt) if n == "CertificateIssued"]
            assert serials == list(range(first, first + count))
            first += count
        assert registry.issuer(world.ca).nextSerial == first

    def test_authorities_count_for_themselves(self, world, registry):
        world.issue(world.entries(2))
        assert registry.issuer(world.other_ca).nextSerial == 1
        entry = world.entries(1)[0].abi
        registry.issue(world.other_ca, 1, [entry], sender=world.other_operator)
        assert registry.commitment(world.ca, 1) != registry.commitment(world.other_ca, 1)

    def test_later_batches_leave_earlier_commitments(self, world, registry):
        """I3."""
        world.issue(world.entries(2))
        before = registry.commitment(world.ca, 1)
        world.issue(world.entries(3), 3)
        assert registry.commitment(world.ca, 1) == before
        assert registry.commitment(world.ca, 2) == ZERO
        assert registry.commitment(world.ca, 3) != ZERO
        assert registry.commitment(world.ca, 4) == ZERO

    def test_refuses_an_unknown_authority(self, world, registry):
        unknown = b"\x09" * 32
        with reverts(registry.CertificateRegistryUnknownAuthority, ca=unknown):
            world.issue(world.entries(1), ca=unknown)

    @pytest.mark.parametrize("state", [s for s in WAY_INTO if s != State.ACTIVE])
    def test_refuses_every_state_but_active(self, world, registry, state):
        """I1."""
        world.lead_into(state)
        with reverts(registry.CertificateRegistryNotActive, ca=world.ca, state=state):
            world.issue(world.entries(1))

    @pytest.mark.parametrize("given", [0, 1, 2, 4, 2**32 - 1])
    def test_refuses_every_serial_but_the_next(self, world, registry, given):
        """I2: also the batch that is anchored already."""
        world.issue(world.entries(2))
        with reverts(
            registry.CertificateRegistryUnexpectedSerial, ca=world.ca, given=given, expected=3
        ):
            world.issue(world.entries(2), given)

    @pytest.mark.parametrize("count", [0, 1001])
    def test_refuses_other_sizes(self, world, registry, count):
        with reverts(registry.CertificateRegistryInvalidBatchSize, count=count):
            world.issue(world.entries(count))

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_refuses_a_certificate_without_hash(self, world, registry, position):
        entries = world.entries(3)
        bad = entries[position]
        entries[position] = Entry(ZERO, bad.device, bad.not_after, bad.locator)
        with reverts(registry.CertificateRegistryZeroCertificateHash, serial=1 + position):
            world.issue(entries)
        assert registry.issuer(world.ca).nextSerial == 1

    @pytest.mark.parametrize("position", [0, 2])
    def test_refuses_what_lives_too_long(self, world, registry, position):
        entries = world.entries(3)
        latest = world.now + LIFETIME * 60
        world.chain.pending_timestamp = world.now
        bad = entries[position]
        entries[position] = Entry(bad.certificate_hash, NOBODY, 2**96 - 1)
        with pytest.raises(ape.exceptions.ContractLogicError) as refused:
            world.issue(entries)
        assert type(refused.value).__name__ == "CertificateRegistryLifetimeExceeded"
        assert refused.value.inputs["serial"] == 1 + position
        assert refused.value.inputs["notAfter"] == 2**96 - 1
        assert latest <= refused.value.inputs["latest"] <= latest + 5

    @pytest.mark.parametrize("minutes", [1, LIFETIME, 2**24 - 1])
    def test_the_maximum_lifetime_to_the_second(self, world, registry, minutes):
        registry.setMaximumLifetime(world.ca, minutes, sender=world.governor)
        moment = world.now + 100
        latest = moment + minutes * 60
        world.chain.pending_timestamp = moment
        with reverts(
            registry.CertificateRegistryLifetimeExceeded,
            serial=1,
            notAfter=latest + 1,
            latest=latest,
        ):
            world.issue(world.entries(1, not_after=latest + 1))
        world.chain.pending_timestamp = moment + 1
        world.issue(world.entries(1, not_after=latest + 1))
        assert registry.issuer(world.ca).nextSerial == 2

    def test_an_end_in_the_past_is_allowed(self, world, registry):
        world.issue(world.entries(1, not_after=1))
        assert registry.issuer(world.ca).nextSerial == 2

    def test_neither_device_nor_locator_is_needed(self, world, registry):
        world.issue([Entry(b"\1" * 32, NOBODY, world.now + 60)])
        assert registry.issuer(world.ca).nextSerial == 2

    def test_the_last_serial(self, world, registry):
        """I2: serials end; they never begin again."""
        set_next_serial(world, LAST_SERIAL)
        with reverts(registry.CertificateRegistrySerialsExhausted, ca=world.ca):
            world.issue(world.entries(2), LAST_SERIAL)
        world.issue(world.entries(1), LAST_SERIAL)
        assert registry.issuer(world.ca).nextSerial == LAST_SERIAL + 1
        registry.revoke(world.ca, [LAST_SERIAL], sender=world.operator)
        assert registry.isRevoked(world.ca, LAST_SERIAL)
        registry.revokeBelow(world.ca, LAST_SERIAL + 1, sender=world.operator)
        with reverts(registry.CertificateRegistrySerialsExhausted, ca=world.ca):
            world.issue(world.entries(1), LAST_SERIAL + 1)

    def test_a_full_batch_at_the_very_end(self, world, registry):
        """I2."""
        first = LAST_SERIAL - 9
        set_next_serial(world, first)
        with reverts(registry.CertificateRegistrySerialsExhausted, ca=world.ca):
            world.issue(world.entries(11), first)
        world.issue(world.entries(10), first)


class TestStorage:
    def test_an_issuer_is_one_word(self, world, registry):
        """Readers prove this word: operator lowest, then serial, count, lifetime, state."""
        world.issue(world.entries(7))
        registry.revoke(world.ca, [2, 5], sender=world.operator)
        registry.close(world.ca, sender=world.governor)
        word = world.storage_at(registry, mapping_slot(world.ca, 0))
        assert word == (
            int(str(world.operator.address), 16)
            | 8 << 160
            | 2 << 192
            | LIFETIME << 224
            | State.CLOSED << 248
        )

    def test_where_the_rest_is(self, world, registry):
        entries = world.entries(300)
        world.issue(entries)
        registry.revoke(world.ca, [1, 256, 299], sender=world.operator)
        registry.revokeBelow(world.ca, 9, sender=world.operator)
        at = world.storage_at
        assert at(registry, mapping_slot(world.ca, 1)) == 9
        commitment = at(registry, mapping_slot(1, mapping_slot(world.ca, 2)))
        root = reference.tree_root(world.leaves(entries))
        assert commitment == int.from_bytes(reference.commitment(root, 300), "big")
        words = mapping_slot(world.ca, 3)
        assert at(registry, mapping_slot(0, words)) == 1 << 1
        assert at(registry, mapping_slot(1, words)) == 1 << 0 | 1 << 43
        assert (
            at(registry, mapping_slot(str(world.revoker.address), mapping_slot(world.ca, 4))) == 1
        )
