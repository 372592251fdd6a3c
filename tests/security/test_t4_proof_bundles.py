"""T4: a proof bundle, whoever made or kept it, says nothing but what its block's state says.

Its maker asked endpoints of years ago, which may have lied, and whoever kept the file may have
changed it. What is trusted is the block's hash (or its witnesses) and the domain's id, which
whoever checks brings along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.chain.domain import Contracts
from dpki.chain.excerpt import fetch_excerpt
from dpki.chain.rpc import Call
from dpki.errors import DpkiError, ProofInvalid, SignatureInvalid, WrongContext
from dpki.model import AuthorityState, Entry, Hash32
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.offline import TrustedBlock, check_proof_bundle
from dpki.verification.proof_bundle import (
    Position,
    ProofBundle,
    encode_proof_bundle,
    parse_proof_bundle,
)
from dpki.verification.revocations import revocation_list
from dpki.verification.verdict import Verdict
from tests.fakes.proving import ProvingChain, truth
from tests.proving_world import DEVICE, ProvingWorld, with_nodes
from tests.world import Ca


@pytest.fixture
def world() -> ProvingWorld:
    return ProvingWorld()


def swallowed(world: ProvingWorld, bundle: ProofBundle, block: Hash32 | None = None) -> str:
    """Return what comes of a bundle: the verdict, or the error's name."""
    try:
        reread = parse_proof_bundle(encode_proof_bundle(bundle))
        trusted = TrustedBlock(block or world.head.hash)
        found = check_proof_bundle(reread, trusted, domain_id=world.chain.domain.id)
    except DpkiError as error:
        return type(error).__name__
    return found.finding.verdict.value


def test_every_byte_counts(world: ProvingWorld) -> None:
    """One flipped bit anywhere: refused, or could not be checked; never another verdict."""
    certificate = world.issue()
    world.chain.revoke(world.ca.id, [certificate.serial])
    data = encode_proof_bundle(world.bundle(certificate))
    seen = set()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        try:
            found = check_proof_bundle(
                parse_proof_bundle(bytes(flipped)),
                TrustedBlock(world.head.hash),
                domain_id=world.chain.domain.id,
            )
        except DpkiError as error:
            seen.add(type(error).__name__)
        else:
            seen.add(found.finding.verdict.value)
    # "refused" is of the certificate, whose signature the bit broke; it was revoked.
    assert seen == {
        "MalformedInput",
        "ProofInvalid",
        "CouldNotCheck",
        "WrongContext",
        Verdict.REFUSED.value,
    }


def test_a_revocation_is_not_hidden_by_an_older_proof(world: ProvingWorld) -> None:
    """Of the block before; of words of both blocks; under the header of the one before."""
    certificate = world.issue()
    before = world.bundle(certificate)
    world.chain.revoke(world.ca.id, [certificate.serial])
    after = world.bundle(certificate)
    assert swallowed(world, after) == "revoked"
    assert swallowed(world, before) == "ProofInvalid"
    assert swallowed(world, replace(before, header=after.header)) == "CouldNotCheck"
    together = with_nodes(after, [*before.nodes, *after.nodes])
    assert swallowed(world, together) == "ProofInvalid"
    assert swallowed(world, replace(together, header=before.header)) == "ProofInvalid"


def test_another_contracts_words_do_not_count(world: ProvingWorld) -> None:
    """The same CA in a domain of the thief's own, where nothing of it is revoked."""
    certificate = world.issue()
    world.chain.revoke(world.ca.id, [certificate.serial])
    thief = ProvingWorld(ProvingChain(salt=b"thief"), world.ca)
    thief.anchor(world.sign(1), certificate, world.sign(3))
    forged = thief.bundle(certificate)
    assert swallowed(thief, forged) == "valid"
    assert swallowed(world, forged) == "WrongContext"
    claimed = replace(forged, domain=world.chain.domain.id)
    assert swallowed(world, claimed) == "ProofInvalid"
    header = world.bundle(certificate).header
    assert swallowed(world, replace(claimed, header=header)) == "CouldNotCheck"


def test_a_stolen_ca_key_alone_makes_no_proof(world: ProvingWorld) -> None:
    """Signed with the CA's own key, never anchored, in the place of one that was."""
    world.issue()
    forged = world.sign(2)
    honest = world.bundle(forged)
    assert swallowed(world, honest) == "not anchored"
    assert honest.position is not None
    entry = Entry(forged.hash, honest.position.entry.device, forged.valid_before, Hash32.zero())
    claimed = replace(honest, position=Position(entry, honest.position.path))
    assert swallowed(world, claimed) == "ProofInvalid"


def test_a_good_certificate_is_not_slandered(world: ProvingWorld) -> None:
    """By a damaged path, none at all, or a device that is not its own."""
    world.chain.enroll(DEVICE, Hash32(b"\7" * 32))
    bundle = world.bundle(world.issue(DEVICE))
    position = bundle.position
    assert position is not None
    assert swallowed(world, bundle) == "valid"
    assert swallowed(world, replace(bundle, position=None)) == "CouldNotCheck"
    path = replace(position.path, siblings=position.path.siblings[1:])
    assert swallowed(world, replace(bundle, position=Position(position.entry, path))) == (
        "ProofInvalid"
    )
    other = replace(position.entry, device=type(DEVICE)(b"\xee" * 20))
    assert swallowed(world, replace(bundle, position=Position(other, position.path))) in (
        "ProofInvalid",
        "CouldNotCheck",
    )


def test_absence_is_proven_and_not_assumed(world: ProvingWorld) -> None:
    """A CA is unknown only where the way to its record ends; not where the record is left out."""
    stranger = world.bundle(Ca.users().sign(1))
    assert swallowed(world, stranger) == "unknown"
    known = world.bundle(world.issue())
    for nodes in (stranger.nodes, (), known.nodes[1:]):
        assert swallowed(world, with_nodes(known, nodes)) == "CouldNotCheck"


def test_the_bundle_vouches_for_no_block(world: ProvingWorld) -> None:
    """A thief's chain of his own proves whatever he likes, to nobody."""
    thief = ProvingWorld(ProvingChain(salt=b"thief"))
    forged = thief.bundle(thief.issue())
    claimed = replace(forged, domain=world.chain.domain.id)
    assert swallowed(world, claimed) == "ProofInvalid"


def test_a_checkpoint_of_strangers_vouches_for_nothing(world: ProvingWorld) -> None:
    bundle = world.bundle(world.issue())
    known, strangers = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    key = VerifierKey("witness", Hash32(known.public_key().public_bytes_raw()))
    seen = Checkpoint(bundle.domain, world.head.number, world.head.hash, Hash32.zero())
    with pytest.raises(SignatureInvalid):
        TrustedBlock.of_checkpoint(sign_checkpoint(seen, "witness", strangers), [key], 1)
    elsewhere = replace(seen, domain=replace(bundle.domain, chain_id=1))
    trusted = TrustedBlock.of_checkpoint(sign_checkpoint(elsewhere, "witness", known), [key], 1)
    with pytest.raises(WrongContext):
        check_proof_bundle(bundle, trusted)
    earlier = replace(seen, block_hash=world.chain.domain.block.hash)
    trusted = TrustedBlock.of_checkpoint(sign_checkpoint(earlier, "witness", known), [key], 1)
    with pytest.raises(ProofInvalid):
        check_proof_bundle(bundle, trusted)


Lie = Callable[[Call, Callable[[], object]], object]


def test_no_liar_gets_a_lie_into_a_bundle(world: ProvingWorld) -> None:
    """What an endpoint served while the bundle was made is proven, or the bundle isn't made."""
    certificate = world.issue()
    world.chain.revoke(world.ca.id, [certificate.serial])
    honest = ProvingWorld(ProvingChain(), world.ca)
    honest.anchor(world.sign(1), certificate, world.sign(3))

    def of_another_chain(call: Call, answer: Callable[[], object]) -> object:
        if call.method != "eth_getProof":
            return answer()
        at = {"blockHash": str(honest.head.hash)}
        return honest.chain.call(call.method, [*call.params[:2], at])

    def zeros(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getProof":
            assert isinstance(told, dict)
            told["storageProof"] = [
                {**entry, "value": "0x0", "proof": []} for entry in told["storageProof"]
            ]
        return told

    lies: list[Lie] = [of_another_chain, zeros]
    for lie in lies:
        made = world.export(certificate, panel=world.panel(lie, truth, lie))
        assert made.found.finding.verdict is Verdict.REVOKED


def test_what_a_bundle_knows_of_a_ca_is_no_list_of_its_revocations(world: ProvingWorld) -> None:
    """A KRL made of one word would let in everybody that the others name."""
    certificate = world.issue()
    world.chain.set_state(world.ca.id, AuthorityState.CLOSED)
    excerpt = fetch_excerpt(
        world.chain,
        Contracts.of(world.chain.domain.id),
        world.head,
        world.ca.spki,
        certificate.serial,
    )
    with pytest.raises(AttributeError):
        revocation_list(excerpt)  # type: ignore[arg-type]
    assert excerpt.authority is not None
    assert not hasattr(excerpt.authority, "revoked")
