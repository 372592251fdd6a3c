"""AuthorityRegistry: I1 to I6."""

import hashlib

import ape
import pytest
from eth_hash.auto import keccak

from tests.contracts.conftest import (
    ISSUER_KEY,
    LIFETIME,
    NOBODY,
    WAY_INTO,
    Kind,
    State,
    event,
    events,
)
from tests.contracts.reference import ZERO, mapping_slot, word
from tests.contracts.reverting import reverts

KEY = bytes.fromhex("302a300506032b6570032100") + b"\x11" * 32
CA = hashlib.sha256(KEY).digest()


@pytest.fixture
def register(world):
    """Call `register` with good arguments, but for those given."""

    def register(
        kind=Kind.SSH_USER,
        key=KEY,
        issuer_key=ISSUER_KEY,
        parent=ZERO,
        operator=None,
        lifetime=LIFETIME,
        sender=None,
    ):
        return world.authorities.register(
            kind,
            key,
            issuer_key,
            parent,
            world.operator if operator is None else operator,
            lifetime,
            sender=sender or world.governor,
        )

    return register


class TestRegister:
    @pytest.mark.parametrize("kind", [Kind.SSH_USER, Kind.SSH_HOST, Kind.TLS])
    def test_registers(self, world, register, kind):
        """I2, I3."""
        receipt = register(kind=kind)
        authority = world.authorities.authority(CA)
        assert authority.kind == kind
        assert authority.registeredAt == receipt.timestamp
        assert authority.issuerKey == ISSUER_KEY
        assert authority.parent == ZERO
        assert authority.publicKey == KEY

    def test_opens_it_for_issuing(self, world, register):
        """I6."""
        register(lifetime=77)
        issuer = world.certificates.issuer(CA)
        assert issuer.operator == world.operator
        assert (issuer.nextSerial, issuer.revokedCount) == (1, 0)
        assert (issuer.maximumLifetime, issuer.state) == (77, State.ACTIVE)

    def test_announces_it(self, world, register):
        receipt = register()
        assert events(receipt) == [
            event(
                "AuthorityRegistered",
                ca=CA,
                kind=Kind.SSH_USER,
                parent=ZERO,
                publicKey=KEY,
                issuerKey=ISSUER_KEY,
            ),
            event("IssuerOpened", ca=CA, operator=world.operator, maximumLifetime=LIFETIME),
        ]

    def test_returns_the_id(self, world):
        answer = world.authorities.register.call(
            Kind.TLS, KEY, ISSUER_KEY, ZERO, world.operator, 1, sender=world.governor
        )
        assert answer == CA

    def test_changes_nothing_else(self, world, register):
        """I3, I4: the list's length and new place, the new authority's words and its issuer's."""
        before = world.authorities.count()
        receipt = register()
        at = mapping_slot(CA, 0)
        tail = int.from_bytes(keccak(word(at + 3)), "big")
        place = int.from_bytes(keccak(word(1)), "big") + before
        assert world.changed_storage(receipt) == {
            ("authorities", 1),
            ("authorities", place),
            ("authorities", at),
            ("authorities", at + 1),
            ("authorities", at + 3),
            ("authorities", tail),
            ("authorities", tail + 1),
            ("certificates", mapping_slot(CA, 0)),
        }

    def test_lists_in_order(self, world):
        """I4."""
        before = world.authorities.count()
        made = [world.register() for _ in range(3)]
        assert world.authorities.count() == before + 3
        assert [world.authorities.authorityAt(before + i) for i in range(3)] == made
        assert world.authorities.authorityAt(0) == world.ca

    @pytest.mark.parametrize("kind", [Kind.SSH_USER, Kind.SSH_HOST, Kind.TLS])
    def test_takes_a_parent_of_the_same_kind(self, world, register, kind):
        """I5."""
        parent = world.register(kind=kind)
        register(kind=kind, parent=parent)
        assert world.authorities.authority(CA).parent == parent

    @pytest.mark.parametrize("length", [1, 44, 91, 1024])
    def test_takes_keys_up_to_1024_bytes(self, world, register, length):
        key = b"\x07" * length
        register(key=key)
        assert world.authorities.authority(hashlib.sha256(key).digest()).publicKey == key

    def test_refuses_no_kind(self, world, register):
        with reverts(world.authorities.AuthorityRegistryInvalidKind, kind=0):
            register(kind=Kind.UNREGISTERED)

    def test_refuses_a_kind_that_is_none(self, register):
        with pytest.raises(ape.exceptions.ContractLogicError):
            register(kind=4)

    @pytest.mark.parametrize("length", [0, 1025, 2000])
    def test_refuses_other_lengths(self, world, register, length):
        with reverts(world.authorities.AuthorityRegistryInvalidPublicKey, length=length):
            register(key=b"\x07" * length)

    def test_refuses_a_zero_issuer_key(self, world, register):
        with reverts(world.authorities.AuthorityRegistryZeroIssuerKey):
            register(issuer_key=ZERO)

    def test_refuses_an_unknown_parent(self, world, register):
        """I5."""
        with reverts(world.authorities.AuthorityRegistryInvalidParent, parent=b"\x09" * 32):
            register(parent=b"\x09" * 32)

    def test_refuses_a_parent_of_another_kind(self, world, register):
        """I5."""
        with reverts(world.authorities.AuthorityRegistryInvalidParent, parent=world.ca):
            register(kind=Kind.SSH_HOST, parent=world.ca)

    def test_refuses_itself_as_parent(self, world, register):
        """I5: there is no cycle."""
        with reverts(world.authorities.AuthorityRegistryInvalidParent, parent=CA):
            register(parent=CA)

    @pytest.mark.parametrize("state", list(WAY_INTO))
    def test_refuses_a_registered_key_in_every_state(self, world, register, state):
        """I2: once, for ever, retired included."""
        register()
        world.lead_into(state, CA)
        with reverts(world.authorities.AuthorityRegistryAlreadyRegistered, ca=CA):
            register()

    def test_refuses_a_registered_key_of_another_kind(self, world, register):
        """I2."""
        register()
        with reverts(world.authorities.AuthorityRegistryAlreadyRegistered, ca=CA):
            register(
                kind=Kind.TLS, issuer_key=b"\x43" * 32, operator=world.other_operator, lifetime=1
            )

    def test_refuses_no_operator(self, world, register):
        """I6: the reason is the certificate registry's; nothing stays behind."""
        with reverts(world.certificates.CertificateRegistryZeroOperator, ca=CA):
            register(operator=NOBODY)
        assert world.authorities.authority(CA).kind == Kind.UNREGISTERED

    def test_refuses_no_lifetime(self, world, register):
        """I6."""
        with reverts(world.certificates.CertificateRegistryZeroLifetime, ca=CA):
            register(lifetime=0)
        assert world.authorities.authority(CA).kind == Kind.UNREGISTERED


class TestViews:
    def test_an_unregistered_authority_is_all_zero(self, world):
        authority = world.authorities.authority(CA)
        assert tuple(authority) == (0, 0, ZERO, ZERO, b"")

    def test_beyond_the_list_there_is_nothing(self, world):
        with pytest.raises(ape.exceptions.ContractLogicError):
            world.authorities.authorityAt(world.authorities.count())


def test_nothing_of_an_authority_ever_changes(world):
    """I3: whatever is done to an authority, its registration stays."""
    before = tuple(world.authorities.authority(world.ca))
    world.issue(world.entries(2))
    world.certificates.setOperator(world.ca, world.newcomer, sender=world.governor)
    world.certificates.close(world.ca, sender=world.governor)
    world.certificates.retire(world.ca, sender=world.governor)
    assert tuple(world.authorities.authority(world.ca)) == before


def test_the_first_word_packs_kind_lowest(world):
    """Readers prove storage: docs/contracts.md tells where it is."""
    first = world.storage_at(world.authorities, mapping_slot(world.other_ca, 0))
    authority = world.authorities.authority(world.other_ca)
    assert first == authority.kind | authority.registeredAt << 8
