"""Making a proof bundle: reading a certificate's verdict once, and keeping what proves it.

The state is read through endpoints that prove each word, and then once more, with no network, from
nothing but the nodes that were met: what that second reading needed is what goes into the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.connect import open_panel
from dpki.chain.domain import Contracts, Domain, fetch_domain
from dpki.chain.excerpt import Excerpt, fetch_excerpt
from dpki.chain.panel import Panel
from dpki.chain.quorum import default_quorum
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.snapshot import fetch_domain_block
from dpki.chain.state_proof import StateCollector
from dpki.errors import CouldNotCheck, WrongContext
from dpki.model import Address, Block, DomainId, Entry, Hash32
from dpki.verification.check import search_position, verify_proof_fits
from dpki.verification.offline import (
    OfflineFinding,
    TrustedBlock,
    check_proof_bundle,
    is_position,
    read_excerpt,
    read_position,
)
from dpki.verification.proof import CertificateProof, parse_proof
from dpki.verification.proof_bundle import (
    Position,
    ProofBundle,
    encode_proof_bundle,
    parse_proof_bundle,
)


@dataclass(frozen=True)
class Exported:
    """A proof bundle, made and checked.

    Attributes:
        bundle: The file's bytes.
        block: The block whose state it proves.
        found: What it comes to; the evidence is that of the endpoints.
    """

    bundle: bytes
    block: Block
    found: OfflineFinding


def export_proof(
    certificate: bytes,
    *,
    domain_id: DomainId,
    rpc: Sequence[str],
    quorum: int | None = None,
    proof: bytes | None = None,
    trusted: TrustedBlock | None = None,
    at: datetime | None = None,
) -> Exported:
    """Return the proof bundle of a certificate, be its verdict what it may.

    Args:
        certificate: As for `verify_certificate`; so are `rpc`, `quorum` and `proof`.
        trusted: The block to prove at; None for the newest that enough endpoints agree on.
        at: As for `check_proof_bundle`.

    Raises:
        MalformedInput: The certificate or the proof file is none.
        WrongContext: The proof file is another certificate's, or the block another domain's.
        CouldNotCheck: The chain could not be read, or no endpoint proves that block's state.
        WrongDomain: The endpoints' chain does not hold the domain.
        UsageError: There are fewer endpoints than must agree.
    """
    parsed = parse_ssh_certificate(certificate)
    shown = None if proof is None else parse_proof(proof)
    if shown is not None:
        verify_proof_fits(shown, parsed, domain_id)
    if trusted is not None and trusted.domain not in (None, domain_id):
        raise WrongContext(f"the checkpoint is of another trust domain, {trusted.domain}")
    needed = default_quorum(len(rpc)) if quorum is None else quorum
    with open_panel(rpc, needed, domain_id.chain_id) as panel:
        domain = fetch_domain(panel, domain_id)
        return export_at(panel, domain, _block(panel, domain, trusted), parsed, shown, at)


def export_at(
    panel: Panel[Any],
    domain: Domain,
    block: Block,
    certificate: SshCertificate,
    proof: CertificateProof | None,
    at: datetime | None,
) -> Exported:
    """Return the proof bundle of a certificate at a block that was agreed on.

    Raises:
        CouldNotCheck, WrongDomain: As `export_proof` says.
    """
    reader = StateCollector(panel, block)
    excerpt = fetch_excerpt(reader, domain, block, certificate.authority_spki, certificate.serial)
    position = _position(reader, panel, domain, excerpt, certificate, proof)
    state = reader.collected()
    contracts = Contracts.of(domain.id)
    read_excerpt(state, contracts, block, certificate, position)
    bundle = encode_proof_bundle(
        ProofBundle(domain.id, certificate.blob, position, state.header.rlp, state.needed)
    )
    # What is given away is what was read back.
    found = check_proof_bundle(
        parse_proof_bundle(bundle), TrustedBlock(block.hash), domain_id=domain.id, at=at
    )
    finding = replace(found.finding, evidence=panel.evidence(proven=True))
    return Exported(bundle, block, replace(found, finding=finding))


def _block(reader: Reader, domain: Domain, trusted: TrustedBlock | None) -> Block:
    """Return the block to prove at, which enough endpoints must have on their chain."""
    if trusted is None:
        return fetch_domain_block(reader, domain, "latest")
    named = fetch_block(reader, trusted.hash)
    if named is None:
        raise CouldNotCheck(
            f"{reader.name} does not show block {trusted.hash}",
            hint="it may be behind the checkpoint; wait, or ask another RPC endpoint",
        )
    block = fetch_domain_block(reader, domain, named.number)
    if block.hash != trusted.hash:
        raise CouldNotCheck(
            f"{reader.name} has another block {block.number} than the checkpoint vouches for:"
            f" {block.hash}",
            hint="a reorg, or one of the two is not telling the truth: ask other endpoints and"
            " other witnesses",
        )
    return block


def _position(
    reader: StateCollector,
    events: Reader,
    domain: Domain,
    excerpt: Excerpt,
    certificate: SshCertificate,
    proof: CertificateProof | None,
) -> Position | None:
    """Return what was anchored under the certificate's serial; None where it was not issued."""
    authority, serial = excerpt.authority, certificate.serial
    if authority is None or not authority.is_issued(serial):
        return None
    for position in _candidates(events, domain, excerpt.block.number, certificate, proof):
        if is_position(read_position(reader, excerpt, position), serial, position):
            return position
    raise CouldNotCheck(
        f"{reader.name} shows events under serial {serial} that are not the ones that the chain"
        " committed to",
        hint="ask another RPC endpoint; this one forges events",
    )


def _candidates(
    reader: Reader,
    domain: Domain,
    head: int,
    certificate: SshCertificate,
    proof: CertificateProof | None,
) -> Iterator[Position]:
    if proof is not None:
        # A proof file speaks for no device: an engineer's certificate has none.
        own = (certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())
        yield Position(Entry(*own), proof.path)
    yield search_position(reader, domain, head, certificate)
