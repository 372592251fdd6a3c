"""CertificateRegistry.verify: what the chain can say about a certificate."""

import dataclasses

import pytest

from tests.contracts import reference
from tests.contracts.conftest import NOBODY, WAY_INTO, State, Verdict
from tests.contracts.reference import ENROLLMENT, ZERO, Entry

#: Small trees of every shape, a batch of the usual size, and one past a power of two.
COUNTS = [*range(1, 18), 100, 257]
FIRST = 4


@pytest.fixture
def registry(world):
    """A registry where `ca` issued 1 to 3 already, so that serials and positions differ."""
    world.issue(world.entries(FIRST - 1))
    return world.certificates


@pytest.fixture
def anchored(world, registry):
    """Anchor a batch, and return a function that asks for the verdict on one of it."""
    batch = world.entries(5, device=str(world.device.address))
    world.issue(batch, FIRST)
    leaves = world.leaves(batch, FIRST)

    def verdict(position=2, **instead):
        asked = {
            "ca": world.ca,
            "first": FIRST,
            "count": len(batch),
            "serial": FIRST + position,
            "entry": batch[position],
            "path": reference.tree_path(position, leaves),
        } | instead
        return Verdict(
            registry.verify(
                asked["ca"],
                asked["first"],
                asked["count"],
                asked["serial"],
                asked["entry"].abi,
                asked["path"],
            )
        )

    verdict.batch, verdict.leaves = batch, leaves
    return verdict


class TestAnchored:
    @pytest.mark.parametrize("count", COUNTS)
    def test_every_position_and_none_other(self, world, registry, count):
        """Each position with its own path; with one too short or too long it is not."""
        batch = world.entries(count)
        world.issue(batch, FIRST)
        leaves = world.leaves(batch, FIRST)
        # Of a large tree the edges and the middle, which meet every number of siblings.
        positions = (
            range(count) if count <= 17 else sorted({0, 1, count // 2, count - 2, count - 1})
        )
        for i in positions:
            path = reference.tree_path(i, leaves)

            def ask(path, serial=FIRST + i, size=count, entry=batch[i].abi):
                return registry.verify(world.ca, FIRST, size, serial, entry, path)

            assert ask(path) == Verdict.VALID
            assert ask([*path, ZERO]) == Verdict.NOT_ANCHORED
            if path:
                assert ask(path[:-1]) == Verdict.NOT_ANCHORED
                assert ask(path[::-1] if path != path[::-1] else [ZERO]) == Verdict.NOT_ANCHORED
            assert ask(path, serial=FIRST + i + 1) == Verdict.NOT_ANCHORED
            assert ask(path, serial=FIRST + i - 1) == Verdict.NOT_ANCHORED
            assert ask(path, size=count + 1) == Verdict.NOT_ANCHORED
            assert ask(path, size=count - 1) == Verdict.NOT_ANCHORED

    def test_each_bit_of_the_entry_counts(self, world, anchored):
        good = anchored.batch[2]
        for other in (
            dataclasses.replace(good, certificate_hash=b"\x09" * 32),
            dataclasses.replace(good, device=NOBODY),
            dataclasses.replace(good, device=str(world.stranger.address)),
            dataclasses.replace(good, not_after=good.not_after + 1),
            dataclasses.replace(good, not_after=0),
        ):
            assert anchored(entry=other) == Verdict.NOT_ANCHORED
        assert anchored() == Verdict.VALID

    def test_the_locator_does_not(self, anchored):
        """It is not in the leaf: a forged one only delays."""
        entry = dataclasses.replace(anchored.batch[2], locator=b"\x09" * 32)
        assert anchored(entry=entry) == Verdict.VALID

    def test_each_sibling_counts(self, anchored):
        path = reference.tree_path(2, anchored.leaves)
        for i in range(len(path)):
            changed = [*path[:i], b"\x09" * 32, *path[i + 1 :]]
            assert anchored(path=changed) == Verdict.NOT_ANCHORED

    def test_of_another_authority_it_is_not(self, world, anchored):
        assert anchored(ca=world.other_ca) == Verdict.NOT_ANCHORED
        assert anchored(ca=b"\x09" * 32) == Verdict.NOT_ANCHORED

    @pytest.mark.parametrize("first", [0, 1, 3, 5, 9])
    def test_under_another_first_serial_it_is_not(self, anchored, first):
        assert anchored(first=first) == Verdict.NOT_ANCHORED

    @pytest.mark.parametrize("serial", [0, 1, 3, 9, 2**32 - 1])
    def test_outside_the_batch_it_is_not(self, anchored, serial):
        assert anchored(serial=serial) == Verdict.NOT_ANCHORED

    @pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 8, 2**32 - 1])
    def test_of_another_count_it_is_not(self, anchored, count):
        """The commitment holds the count, so no position passes for another."""
        assert anchored(count=count) == Verdict.NOT_ANCHORED

    def test_the_root_is_no_certificate(self, world, anchored):
        """A batch of one whose leaf is a larger batch's root: nodes and leaves hash apart."""
        root = reference.tree_root(anchored.leaves)
        entry = Entry(root, NOBODY, world.now + 60)
        assert anchored(count=1, serial=FIRST, entry=entry, path=[]) == Verdict.NOT_ANCHORED

    def test_no_commitment_is_not_zero(self, anchored):
        """Where no batch begins nothing is anchored, not even with an empty path."""
        assert anchored(first=6, serial=6, count=1, path=[]) == Verdict.NOT_ANCHORED

    def test_of_another_registry_it_is_not(self, world, anchored):
        """The leaf binds the contract: the same entries in another domain have other leaves."""
        elsewhere = [
            reference.leaf(
                world.chain.chain_id, str(world.domain.address), world.ca, FIRST + i, entry
            )
            for i, entry in enumerate(anchored.batch)
        ]
        path = reference.tree_path(2, elsewhere)
        assert anchored(path=path) == Verdict.NOT_ANCHORED


class TestVerdict:
    def test_valid(self, anchored):
        assert anchored() == Verdict.VALID

    def test_revoked(self, world, registry, anchored):
        registry.revoke(world.ca, [FIRST + 2], sender=world.operator)
        assert anchored(2) == Verdict.REVOKED
        assert anchored(1) == Verdict.VALID
        assert anchored(3) == Verdict.VALID

    def test_revoked_by_the_watermark(self, world, registry, anchored):
        registry.revokeBelow(world.ca, FIRST + 2, sender=world.operator)
        assert anchored(1) == Verdict.REVOKED
        assert anchored(2) == Verdict.VALID

    def test_revoked_with_its_device(self, world, anchored):
        document = b"\x11" * 32
        world.devices.enroll(
            *world.signed(ENROLLMENT, world.device, document, 0), sender=world.registrar
        )
        assert anchored() == Verdict.VALID
        world.devices.retire(world.device, sender=world.registrar)
        assert anchored() == Verdict.REVOKED

    @pytest.mark.parametrize(
        ("state", "verdict"),
        [
            (State.ACTIVE, Verdict.VALID),
            (State.CLOSED, Verdict.VALID),
            (State.SUSPENDED, Verdict.SUSPENDED),
            (State.CLOSED_SUSPENDED, Verdict.SUSPENDED),
            (State.RETIRED, Verdict.REVOKED),
        ],
    )
    def test_by_the_state_of_its_authority(self, world, anchored, state, verdict):
        world.lead_into(state)
        assert anchored() == verdict

    def test_lifting_makes_it_valid_again(self, world, registry, anchored):
        world.lead_into(State.SUSPENDED)
        registry.lift(world.ca, sender=world.governor)
        assert anchored() == Verdict.VALID

    def test_expired_to_the_second(self, world, anchored):
        """notAfter is the first second that no longer counts, as OpenSSH reads valid-before."""
        end = anchored.batch[2].not_after
        world.chain.pending_timestamp = end - 1
        world.chain.mine()
        assert anchored() == Verdict.VALID
        world.chain.pending_timestamp = end
        world.chain.mine()
        assert anchored() == Verdict.EXPIRED

    def test_expired_never_hides_the_rest(self, world, registry, anchored):
        world.chain.pending_timestamp = anchored.batch[2].not_after + 1
        world.chain.mine()
        assert anchored() == Verdict.EXPIRED
        registry.suspend(world.ca, sender=world.governor)
        assert anchored() == Verdict.SUSPENDED
        registry.revoke(world.ca, [FIRST + 2], sender=world.operator)
        assert anchored() == Verdict.REVOKED
        assert anchored(path=[]) == Verdict.NOT_ANCHORED

    @pytest.mark.parametrize("state", list(WAY_INTO))
    def test_what_is_not_anchored_never_counts(self, world, anchored, state):
        world.lead_into(state)
        assert anchored(path=[]) == Verdict.NOT_ANCHORED

    def test_lowering_the_maximum_lifetime_is_not_retroactive(self, world, registry, anchored):
        registry.setMaximumLifetime(world.ca, 1, sender=world.governor)
        assert anchored() == Verdict.VALID
