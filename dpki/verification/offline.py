"""Checking a proof bundle: a certificate's verdict at one block, with no network.

The bundle proves that its block's state is such, and nothing more. Whoever checks it brings what
makes that a verdict: the block, which must be the chain's (a hash that was kept, or witnesses'
signatures), and the trust domain, which must be the one that is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.domain import Contracts
from dpki.chain.excerpt import Excerpt, extend_excerpt, fetch_excerpt
from dpki.chain.header import parse_header
from dpki.chain.rpc import Reader
from dpki.chain.state_proof import StateProof
from dpki.errors import CouldNotCheck, ProofInvalid, UsageError, WrongContext
from dpki.model import Address, Block, DomainId, Hash32
from dpki.note import SignedNote, VerifierKey
from dpki.verification.checkpoint import verify_checkpoint
from dpki.verification.policies import Anchoring, judge
from dpki.verification.proof_bundle import Position, ProofBundle
from dpki.verification.verdict import CheckpointEvidence, Finding


@dataclass(frozen=True)
class TrustedBlock:
    """A block that is believed to be the chain's, and why.

    Attributes:
        hash: Its hash.
        domain: The domain that witnesses saw in it; None where nobody but the caller vouches.
        witnesses: Who signed.
        known: How many witnesses the caller knows.
    """

    hash: Hash32
    domain: DomainId | None = None
    witnesses: tuple[str, ...] = ()
    known: int = 0

    @classmethod
    def of_checkpoint(cls, note: bytes, keys: Sequence[VerifierKey], needed: int) -> TrustedBlock:
        """Return the block of a checkpoint that enough witnesses signed.

        Raises:
            MalformedInput, SignatureInvalid, UsageError: As `verify_checkpoint` says.
        """
        checkpoint = verify_checkpoint(note, keys, needed)
        signers = SignedNote.parse(note).signers(keys)
        return cls(
            checkpoint.block_hash, checkpoint.domain, tuple(k.name for k in signers), len(keys)
        )


@dataclass(frozen=True)
class OfflineFinding:
    """What a proof bundle comes to.

    Attributes:
        domain: The trust domain that it is about.
        finding: The verdict, judged at `judged_at`.
        judged_at: The time that validity was held against; never before the block's.
        at_block: The verdict at the block's own time.
    """

    domain: DomainId
    finding: Finding
    judged_at: datetime
    at_block: Finding

    def to_json(self) -> dict[str, object]:
        """Return it as plain data for `--json`."""
        return {
            **self.finding.to_json(),
            "domain": str(self.domain),
            "judged_at": self.judged_at.isoformat(),
            "at_block": self.at_block.verdict.value,
        }


def check_proof_bundle(
    bundle: ProofBundle,
    trusted: TrustedBlock,
    *,
    domain_id: DomainId | None = None,
    at: datetime | None = None,
) -> OfflineFinding:
    """Return the verdict that a bundle proves.

    Args:
        trusted: The block that its header must be of.
        domain_id: The domain that it must be about; needed where `trusted` names none.
        at: When to judge for; the later of it and the block's time counts, since what a block holds
            says nothing of earlier times. None for the block's.

    Raises:
        UsageError: Nobody says which domain is meant.
        WrongContext: It is about another domain.
        ProofInvalid: It is of another block, holds what nothing needs, or contradicts itself.
        WrongDomain: The domain's contracts are not in that block.
        CouldNotCheck: Something is missing.
        MalformedInput: The certificate is none.
    """
    expected = {domain for domain in (domain_id, trusted.domain) if domain is not None}
    if not expected:
        raise UsageError(
            "a block's hash does not say which trust domain is meant",
            hint="name it with --domain ID",
        )
    if expected != {bundle.domain}:
        raise WrongContext(
            f"the proof bundle is about another trust domain, {bundle.domain}",
            hint="compare --domain, the checkpoint's first line, and what the bundle was made for",
        )
    header = parse_header(bundle.header)
    block = header.block
    if block.hash != trusted.hash:
        raise ProofInvalid(
            f"the proof bundle is of block {block.number} {block.hash}, and the checkpoint vouches"
            f" for {trusted.hash}",
            hint="give the checkpoint of the bundle's own block, or have the bundle made anew at"
            " the checkpoint's: --export with --checkpoint",
        )
    certificate = parse_ssh_certificate(bundle.certificate)
    state = StateProof.parse(header, bundle.nodes)
    excerpt = read_excerpt(state, Contracts.of(bundle.domain), block, certificate, bundle.position)
    _verify_position(excerpt, certificate, bundle.position)
    if state.has_more:
        raise ProofInvalid(
            "the proof bundle holds parts of the state that its certificate has no need of",
            hint="it is no bundle that dpki made; get it anew",
        )
    anchoring = None
    if bundle.position is not None:
        anchoring = Anchoring(bundle.position.entry.device, bundle.position.path)
    evidence = CheckpointEvidence(trusted.hash, trusted.witnesses, trusted.known)
    judged_at = block.time if at is None else max(at, block.time)
    then, asked = (
        replace(judge(certificate, anchoring, excerpt, time), evidence=evidence)
        for time in (block.time, judged_at)
    )
    return OfflineFinding(bundle.domain, asked, judged_at, then)


def read_excerpt(
    reader: Reader,
    contracts: Contracts,
    block: Block,
    certificate: SshCertificate,
    position: Position | None,
) -> Excerpt:
    """Read all of a block's state that a certificate's verdict needs, and nothing else.

    Raises:
        CouldNotCheck: A word is missing, or they don't add up.
    """
    excerpt = fetch_excerpt(
        reader, contracts, block, certificate.authority_spki, certificate.serial
    )
    return excerpt if position is None else read_position(reader, excerpt, position)


def read_position(reader: Reader, excerpt: Excerpt, position: Position) -> Excerpt:
    """Read what a position is held against: the batch's commitment, and the device.

    Raises:
        CouldNotCheck: A word is missing, or they don't add up.
    """
    device = position.entry.device
    return extend_excerpt(
        reader,
        excerpt,
        devices=[] if device == Address.zero() else [device],
        batches=[(excerpt.ca, position.path.first_serial)],
    )


def is_position(excerpt: Excerpt, serial: int, position: Position) -> bool:
    """Whether the chain committed to this under the serial. The position must have been read."""
    commitment = excerpt.commitments[excerpt.ca, position.path.first_serial]
    return position.leads_to(commitment, excerpt.domain, excerpt.ca, serial)


def _verify_position(
    excerpt: Excerpt, certificate: SshCertificate, position: Position | None
) -> None:
    """Check that a bundle says of its serial what the chain does.

    Without this, a bundle whose path was damaged would prove that nothing was anchored.
    """
    serial, authority = certificate.serial, excerpt.authority
    is_issued = authority is not None and authority.is_issued(serial)
    if position is None and is_issued:
        raise CouldNotCheck(
            f"serial {serial} was issued, and the proof bundle does not say what was anchored"
            " under it",
            hint="get the bundle anew",
        )
    if position is not None and not (is_issued and is_position(excerpt, serial, position)):
        raise ProofInvalid(
            f"what the proof bundle says was anchored under serial {serial} is not what the chain"
            " committed to",
            hint="get the bundle anew",
        )
