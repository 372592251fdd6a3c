"""A verdict out of a proof bundle: the same as the chain's, and never another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.ssh import SshCertificate
from dpki.errors import (
    CouldNotCheck,
    MalformedInput,
    ProofInvalid,
    SignatureInvalid,
    UsageError,
    WrongContext,
    WrongDomain,
)
from dpki.model import Address, AuthorityState, DomainId, Hash32
from dpki.note import SignedNote, VerifierKey
from dpki.verification.check import check
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.offline import TrustedBlock, check_proof_bundle
from dpki.verification.proof_bundle import ProofBundle, parse_proof_bundle
from dpki.verification.verdict import Verdict
from tests.proving_world import DEVICE, ProvingWorld, with_nodes
from tests.world import NOW, Ca

HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> ProvingWorld:
    return ProvingWorld()


def valid(world: ProvingWorld) -> SshCertificate:
    return world.issue()


def devices(world: ProvingWorld) -> SshCertificate:
    world.chain.enroll(DEVICE, Hash32(b"\7" * 32))
    return world.issue(DEVICE)


def retired_devices(world: ProvingWorld) -> SshCertificate:
    certificate = devices(world)
    world.retire(DEVICE)
    return certificate


def unknown_devices(world: ProvingWorld) -> SshCertificate:
    return world.issue(DEVICE)


def revoked(world: ProvingWorld) -> SshCertificate:
    certificate = world.issue()
    world.chain.revoke(world.ca.id, [certificate.serial])
    return certificate


def neighbours_revoked(world: ProvingWorld) -> SshCertificate:
    certificate = world.issue()
    world.chain.revoke(world.ca.id, [certificate.serial - 1, certificate.serial + 1])
    return certificate


def below_the_watermark(world: ProvingWorld) -> SshCertificate:
    certificate = world.issue()
    world.chain.revoke_below(world.ca.id, certificate.serial + 1)
    return certificate


def of_a_suspended_ca(world: ProvingWorld) -> SshCertificate:
    certificate = world.issue()
    world.chain.set_state(world.ca.id, AuthorityState.SUSPENDED)
    return certificate


def never_issued(world: ProvingWorld) -> SshCertificate:
    world.issue()
    return world.sign()


def another_in_its_place(world: ProvingWorld) -> SshCertificate:
    return world.sign(world.issue().serial)


def a_strangers(world: ProvingWorld) -> SshCertificate:
    world.issue()
    return Ca.users().sign(2)


def awaiting_watchdogs(world: ProvingWorld) -> SshCertificate:
    world.chain.watch(world.ca.id)
    certificate = world.issue()
    world.chain.confirm(world.ca.id, certificate.serial - 1, weight=1, confirmed=False)
    return certificate


def confirmed(world: ProvingWorld) -> SshCertificate:
    world.chain.watch(world.ca.id)
    certificate = world.issue()
    world.chain.confirm(world.ca.id, certificate.serial - 1, weight=2, confirmed=True)
    return certificate


CASES: dict[Callable[[ProvingWorld], SshCertificate], Verdict] = {
    valid: Verdict.VALID,
    devices: Verdict.VALID,
    neighbours_revoked: Verdict.VALID,
    confirmed: Verdict.VALID,
    retired_devices: Verdict.REVOKED,
    unknown_devices: Verdict.REFUSED,
    revoked: Verdict.REVOKED,
    below_the_watermark: Verdict.REVOKED,
    of_a_suspended_ca: Verdict.SUSPENDED,
    never_issued: Verdict.NOT_ANCHORED,
    another_in_its_place: Verdict.NOT_ANCHORED,
    awaiting_watchdogs: Verdict.NOT_ANCHORED,
    a_strangers: Verdict.UNKNOWN,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_says_what_the_chain_says(
    world: ProvingWorld, make: Callable[[ProvingWorld], SshCertificate]
) -> None:
    for number in range(3):
        world.chain.register(bytes([number]) * 44)
    certificate = make(world)
    online = check(world.chain, world.chain.domain, certificate, None, NOW)
    found = world.check(world.bundle(certificate), NOW)
    assert online.verdict is CASES[make]
    assert replace(found.finding, evidence=None) == online
    assert found.domain == world.chain.domain.id


class TestTime:
    @pytest.mark.parametrize(
        ("at", "verdict"),
        [
            (None, Verdict.VALID),
            (NOW - timedelta(days=900), Verdict.VALID),
            (NOW + HOUR, Verdict.VALID),
            (NOW + timedelta(days=900), Verdict.EXPIRED),
        ],
    )
    def test_is_judged_for_the_time_asked_for(
        self, world: ProvingWorld, at: datetime | None, verdict: Verdict
    ) -> None:
        found = world.check(world.bundle(world.issue()), at)
        assert found.finding.verdict is verdict
        assert found.at_block.verdict is Verdict.VALID
        assert found.judged_at == max(at or world.head.time, world.head.time)

    def test_what_came_later_is_not_in_it(self, world: ProvingWorld) -> None:
        certificate = world.issue()
        before, block = world.bundle(certificate), world.head
        world.chain.revoke(world.ca.id, [certificate.serial])
        assert world.check(before, block=block).finding.verdict is Verdict.VALID
        assert world.check(world.bundle(certificate)).finding.verdict is Verdict.REVOKED
        with pytest.raises(ProofInvalid, match="the checkpoint vouches for"):
            world.check(before)

    def test_an_earlier_block_is_proven_as_it_was(self, world: ProvingWorld) -> None:
        certificate = world.issue()
        block = world.head
        world.chain.revoke(world.ca.id, [certificate.serial])
        made = world.export(certificate, block=block)
        assert made.block == block
        assert made.found.finding.verdict is Verdict.VALID

    def test_as_data(self, world: ProvingWorld) -> None:
        found = world.check(world.bundle(world.issue()), NOW + timedelta(days=900)).to_json()
        assert found["verdict"] == "expired"
        assert found["at_block"] == "valid"
        assert found["judged_at"] == (NOW + timedelta(days=900)).isoformat()
        assert found["domain"] == str(world.chain.domain.id)


class TestWhatIsTrusted:
    def test_another_domain(self, world: ProvingWorld) -> None:
        bundle = world.bundle(world.issue())
        other = replace(bundle.domain, block_hash=Hash32(b"\7" * 32))
        for trusted, domain in (
            (TrustedBlock(world.head.hash), other),
            (TrustedBlock(world.head.hash, other), None),
            (TrustedBlock(world.head.hash, other), bundle.domain),
        ):
            with pytest.raises(WrongContext, match="another trust domain"):
                check_proof_bundle(bundle, trusted, domain_id=domain)

    def test_a_hash_alone_does_not_say_which_domain(self, world: ProvingWorld) -> None:
        with pytest.raises(UsageError, match="which trust domain"):
            check_proof_bundle(world.bundle(world.issue()), TrustedBlock(world.head.hash))

    def test_a_domain_that_is_not_in_the_block(self, world: ProvingWorld) -> None:
        bundle = world.bundle(world.issue())
        stranger = DomainId(31337, Address(b"\x66" * 20), bundle.domain.block_hash)
        # Whoever says so in both places learns that the way to it is not there, or that it is not.
        with pytest.raises((WrongDomain, CouldNotCheck)):
            check_proof_bundle(
                replace(bundle, domain=stranger),
                TrustedBlock(world.head.hash),
                domain_id=stranger,
            )

    @pytest.mark.parametrize("needed", [1, 2])
    def test_a_checkpoint_of_witnesses(self, world: ProvingWorld, needed: int) -> None:
        bundle = world.bundle(world.issue())
        head = world.head
        seen = Checkpoint(bundle.domain, head.number, head.hash, Hash32(b"\5" * 32))
        keys = [Ed25519PrivateKey.generate() for _ in range(3)]
        names = ["one", "two", "three"]
        known = [
            VerifierKey(name, Hash32(key.public_key().public_bytes_raw()))
            for name, key in zip(names, keys, strict=True)
        ]
        notes = [
            SignedNote.parse(sign_checkpoint(seen, name, key))
            for name, key in zip(names[:needed], keys, strict=False)
        ]
        note = replace(notes[0], signatures=tuple(n.signatures[0] for n in notes)).dump()
        trusted = TrustedBlock.of_checkpoint(note, known, needed)
        found = check_proof_bundle(bundle, trusted)
        assert found.finding.verdict is Verdict.VALID
        evidence = found.finding.evidence
        assert evidence is not None
        assert evidence.level == "checkpoint"
        assert evidence.aside == ()
        assert evidence.to_json()["witnesses"] == names[:needed]
        assert f"{needed} of 3 witnesses vouch (one" in str(evidence)
        with pytest.raises(SignatureInvalid):
            TrustedBlock.of_checkpoint(note, known, needed + 1)

    def test_ones_own_word(self, world: ProvingWorld) -> None:
        found = world.check(world.bundle(world.issue()))
        assert "you vouch yourself" in str(found.finding.evidence)


class TestWhatIsMissingOrTooMuch:
    def test_without_any_one_node_it_could_not_be_checked(self, world: ProvingWorld) -> None:
        bundle = world.bundle(devices(world))
        for missing in bundle.nodes:
            with pytest.raises(CouldNotCheck, match="lacks a part"):
                world.check(with_nodes(bundle, [n for n in bundle.nodes if n != missing]))

    def test_a_node_that_nothing_needs(self, world: ProvingWorld) -> None:
        bundle = world.bundle(world.issue())
        other = ProvingWorld()
        foreign = other.bundle(other.issue()).nodes
        for node in set(foreign) - set(bundle.nodes):
            with pytest.raises(ProofInvalid, match="no need of"):
                world.check(with_nodes(bundle, [*bundle.nodes, node]))

    def test_something_that_is_no_node(self, world: ProvingWorld) -> None:
        bundle = world.bundle(world.issue())
        with pytest.raises(ProofInvalid):
            world.check(with_nodes(bundle, [*bundle.nodes, b"\xff"]))

    def test_a_header_of_another_block(self, world: ProvingWorld) -> None:
        certificate = world.issue()
        older = world.bundle(certificate)
        world.chain.mine()
        bundle = world.bundle(certificate)
        with pytest.raises(ProofInvalid, match="the checkpoint vouches for"):
            world.check(replace(bundle, header=older.header))
        with pytest.raises(ProofInvalid, match="header is malformed"):
            world.check(replace(bundle, header=b"\xc0"))

    def test_a_certificate_that_is_none(self, world: ProvingWorld) -> None:
        with pytest.raises(MalformedInput):
            world.check(replace(world.bundle(world.issue()), certificate=b"none"))

    def test_without_its_position_it_could_not_be_checked(self, world: ProvingWorld) -> None:
        bundle = replace(world.bundle(world.issue()), position=None)
        with pytest.raises(CouldNotCheck, match="does not say what was anchored"):
            world.check(bundle)

    def test_a_position_that_the_chain_did_not_commit_to(self, world: ProvingWorld) -> None:
        """Else whoever damages a path would prove that nothing was anchored."""
        bundle = world.bundle(world.issue())
        position = bundle.position
        assert position is not None
        path, entry = position.path, position.entry
        siblings = (Hash32(b"\1" * 32), *path.siblings[1:])
        for changed in (
            replace(position, path=replace(path, siblings=siblings)),
            replace(position, path=replace(path, siblings=path.siblings[1:])),
            replace(position, path=replace(path, count=4)),
            replace(position, entry=replace(entry, certificate_hash=Hash32(b"\1" * 32))),
            replace(position, entry=replace(entry, not_after=entry.not_after + HOUR)),
        ):
            with pytest.raises(ProofInvalid, match="not what the chain committed to"):
                world.check(replace(bundle, position=changed))

    @pytest.mark.parametrize("make", [never_issued, a_strangers], ids=lambda make: make.__name__)
    def test_a_position_where_nothing_was_issued(
        self, world: ProvingWorld, make: Callable[[ProvingWorld], SshCertificate]
    ) -> None:
        issued = world.bundle(world.issue())
        bundle = world.bundle(make(world))
        assert bundle.position is None
        assert issued.position is not None
        nodes = [*bundle.nodes, *world.bundle(world.issue()).nodes]
        moved = replace(issued.position, path=replace(issued.position.path, first_serial=1))
        with pytest.raises((ProofInvalid, CouldNotCheck)):
            world.check(replace(with_nodes(bundle, nodes), position=moved))


def test_the_same_certificate_and_block_give_the_same_file(world: ProvingWorld) -> None:
    certificate = devices(world)
    first, again = world.export(certificate), world.export(certificate)
    assert first.bundle == again.bundle
    assert isinstance(parse_proof_bundle(first.bundle), ProofBundle)
