"""Proof bundles: whatever is done to one, it never says anything that the chain did not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.errors import DpkiError
from dpki.model import AuthorityState, Block, DomainId, Hash32
from dpki.verification.check import check
from dpki.verification.offline import TrustedBlock, check_proof_bundle
from dpki.verification.proof_bundle import ProofBundle, encode_proof_bundle, parse_proof_bundle
from dpki.verification.verdict import Verdict
from tests.fakes.proving import ProvingChain
from tests.proving_world import DEVICE, ProvingWorld, with_nodes
from tests.world import NOW


@dataclass(frozen=True)
class Material:
    """Bundles of one domain, and of another one that looks alike, at several blocks.

    Attributes:
        worlds: Both; what the first one's chain says at its last block is the truth.
        bundles: Of many certificates, made at the last block, and one block before.
    """

    worlds: tuple[ProvingWorld, ProvingWorld]
    true: tuple[ProofBundle, ...]
    foreign: tuple[ProofBundle, ...]

    @property
    def block(self) -> Block:
        return self.worlds[0].head

    @property
    def domain(self) -> DomainId:
        return self.worlds[0].chain.domain.id


@cache
def material() -> Material:
    world = ProvingWorld()
    other = ProvingWorld(ProvingChain(salt=b"other"), world.ca)
    certificates = []
    for each in (world, other):
        each.chain.enroll(DEVICE, Hash32(b"\7" * 32))
        each.ca.next_serial = 1
        certificates += [each.issue(), each.issue(DEVICE), each.issue()]
    before = tuple(world.bundle(certificate) for certificate in certificates[:2])
    world.chain.revoke(world.ca.id, [certificates[0].serial])
    certificates.append(world.sign(world.ca.next_serial + 5))
    true = tuple(world.bundle(certificate) for certificate in certificates)
    other.chain.set_state(world.ca.id, AuthorityState.RETIRED)
    foreign = tuple(other.bundle(certificate) for certificate in certificates)
    return Material((world, other), true, (*before, *foreign))


def mutate(bundle: ProofBundle, data: st.DataObject) -> ProofBundle:
    """Change one thing: to another bundle's, to nothing, or by a bit."""
    given = material()
    source = data.draw(st.sampled_from((*given.true, *given.foreign)))
    nodes, position = list(bundle.nodes), bundle.position
    match data.draw(st.integers(0, 8)):
        case 0:
            return replace(bundle, certificate=source.certificate)
        case 1:
            return replace(bundle, position=source.position)
        case 2:
            return replace(bundle, header=source.header)
        case 3:
            return with_nodes(bundle, [*nodes, *source.nodes])
        case 4 if nodes:
            nodes.pop(data.draw(st.integers(0, len(nodes) - 1)))
            return with_nodes(bundle, nodes)
        case 5 if nodes:
            place = data.draw(st.integers(0, len(nodes) - 1))
            node = bytearray(nodes[place])
            node[data.draw(st.integers(0, len(node) - 1))] ^= data.draw(st.integers(1, 255))
            nodes[place] = bytes(node)
            return with_nodes(bundle, nodes)
        case 6 if position is not None:
            device = data.draw(st.binary(min_size=20, max_size=20))
            entry = replace(position.entry, device=type(position.entry.device)(device))
            return replace(bundle, position=replace(position, entry=entry))
        case 7 if position is not None and position.path.siblings:
            path = replace(position.path, siblings=position.path.siblings[::-1][1:])
            return replace(bundle, position=replace(position, path=path))
        case _:
            return replace(bundle, domain=source.domain)


@given(st.data())
@settings(max_examples=300)
def test_no_mutation_gives_another_verdict(data: st.DataObject) -> None:
    """It is refused, could not be checked, or says of its certificate what the chain says."""
    given = material()
    bundle = data.draw(st.sampled_from(given.true))
    for _ in range(data.draw(st.integers(1, 3))):
        bundle = mutate(bundle, data)
    try:
        reread = parse_proof_bundle(encode_proof_bundle(bundle))
        found = check_proof_bundle(
            reread, TrustedBlock(given.block.hash), domain_id=given.domain, at=NOW
        )
    except DpkiError:
        return
    world = given.worlds[0]
    certificate = parse_ssh_certificate(bundle.certificate)
    truth = check(world.chain, world.chain.domain, certificate, None, NOW)
    assert replace(found.finding, evidence=None) == truth


@given(st.data())
@settings(max_examples=200)
def test_no_bytes_give_another_verdict(data: st.DataObject) -> None:
    given = material()
    encoded = bytearray(encode_proof_bundle(data.draw(st.sampled_from(given.true))))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                encoded[place] ^= data.draw(st.integers(1, 255))
            case 1:
                del encoded[place : place + data.draw(st.integers(1, 40))]
            case _:
                encoded[place:place] = data.draw(st.binary(min_size=1, max_size=40))
    try:
        bundle = parse_proof_bundle(bytes(encoded))
        found = check_proof_bundle(
            bundle, TrustedBlock(given.block.hash), domain_id=given.domain, at=NOW
        )
    except DpkiError:
        return
    # Bytes of the certificate alone may change and still be read: it is another one then.
    assert found.finding.verdict is Verdict.REFUSED or bundle in given.true
