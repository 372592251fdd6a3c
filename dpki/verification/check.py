"""`dpki verify`: from a certificate, a domain id and an endpoint to a finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.connect import Connection, connect_agreed
from dpki.chain.domain import Domain
from dpki.chain.events import batch_path, fetch_batches, fetch_issued
from dpki.chain.excerpt import Excerpt, extend_excerpt, fetch_excerpt
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.snapshot import (
    Snapshot,
    extend_snapshot,
    fetch_domain_block,
    fetch_snapshot,
)
from dpki.errors import CouldNotCheck, MalformedInput, WrongContext
from dpki.model import Address, DomainId, Hash32
from dpki.verification.policies import Anchoring, find_authority, judge
from dpki.verification.proof import CertificateProof, parse_proof
from dpki.verification.proof_bundle import Position
from dpki.verification.verdict import Finding, Verdict

BACKDATING = timedelta(hours=1)
"""A certificate is anchored no earlier than this before it becomes valid, or the search is long."""


def verify_certificate(
    certificate: bytes,
    *,
    domain_id: DomainId,
    rpc: Sequence[str],
    quorum: int | None = None,
    proof: bytes | None = None,
    now: datetime | None = None,
    connect: Callable[[], AbstractContextManager[Connection]] | None = None,
) -> Finding:
    """Return the verdict on an SSH certificate, from the chain alone.

    Args:
        certificate: The content of a `-cert.pub` file, or the blob.
        rpc: Endpoints.
        quorum: How many of them must agree; None for half, rounded up. Where it is one, the first
            that answers for the domain is believed.
        proof: The content of the `-cert.proof` file beside it. Without one, or where it does not
            fit, the chain's events are searched.
        now: The verifier's clock; the system's by default.
        connect: Another way to the chain than endpoints that must agree.

    Returns:
        A finding for whatever the certificate is, COULD_NOT_CHECK included.

    Raises:
        WrongDomain: The endpoints are on another chain.
        WrongContext: The proof is for another domain or certificate.
        MalformedInput: The proof is no proof file.
    """
    parsed_proof = None if proof is None else parse_proof(proof)
    try:
        parsed = parse_ssh_certificate(certificate)
    except MalformedInput as error:
        return Finding(Verdict.REFUSED, error.message)
    if parsed_proof is not None:
        verify_proof_fits(parsed_proof, parsed, domain_id)
    try:
        way = connect_agreed(rpc, domain_id, quorum) if connect is None else connect()
        with way as chain:
            moment = now if now is not None else datetime.now(UTC)
            # One endpoint that is trusted has at least to add up: to show all revocations.
            whole = chain.evidence().quorum == 1
            finding = check(chain.reader, chain.domain, parsed, parsed_proof, moment, whole=whole)
            return replace(finding, evidence=chain.evidence())
    except CouldNotCheck as error:
        return Finding(Verdict.COULD_NOT_CHECK, error.message, serial=parsed.serial)


def check(
    reader: Reader,
    domain: Domain,
    certificate: SshCertificate,
    proof: CertificateProof | None,
    now: datetime,
    *,
    whole: bool = True,
) -> Finding:
    """Return the verdict at the newest block.

    Args:
        whole: Whether to read the domain's whole state, which is held against its own counts, or
            only what this certificate needs: enough where each word is proven or agreed on.

    Raises:
        CouldNotCheck: The chain could not be read.
    """
    state: Snapshot | Excerpt
    if whole:
        state = fetch_snapshot(reader, domain)
    else:
        block = fetch_domain_block(reader, domain, "latest")
        state = fetch_excerpt(reader, domain, block, certificate.authority_spki, certificate.serial)
    if proof is not None:
        # A proof speaks for no device: an engineer's certificate has none.
        anchoring = Anchoring(Address.zero(), proof.path)
        finding = _judge_at(reader, state, certificate, anchoring, now)
        if finding.verdict is not Verdict.NOT_ANCHORED:
            return finding
    authority = find_authority(certificate, state)
    searched = None
    if authority is not None and authority.is_issued(certificate.serial):
        found = search_position(reader, domain, state.block.number, certificate)
        searched = Anchoring(found.entry.device, found.path)
    return _judge_at(reader, state, certificate, searched, now)


def _judge_at(
    reader: Reader,
    state: Snapshot | Excerpt,
    certificate: SshCertificate,
    anchoring: Anchoring | None,
    now: datetime,
) -> Finding:
    if anchoring is not None:
        devices = [] if anchoring.device == Address.zero() else [anchoring.device]
        batches = [(certificate.authority_id, anchoring.path.first_serial)]
        if isinstance(state, Snapshot):
            state = extend_snapshot(reader, state, devices=devices, batches=batches)
        else:
            state = extend_excerpt(reader, state, devices=devices, batches=batches)
    return judge(certificate, anchoring, state, now)


def search_position(
    reader: Reader, domain: Domain, head: int, certificate: SshCertificate
) -> Position:
    """Find what was anchored under a certificate's serial, from when it became valid on.

    Args:
        head: The number of the last block to look at.

    Returns:
        What the events say: an entry that may be another certificate's, and its place. That the
        chain committed to it is for the caller to find.

    Raises:
        CouldNotCheck: The reader does not show where. That the serial was issued is known.
    """
    ca, serial = certificate.authority_id, certificate.serial
    likely = _first_block_since(
        reader, domain.block.number, head, certificate.valid_after - BACKDATING
    )
    for start, end in ((likely, head), (domain.block.number, likely - 1)):
        for event in fetch_issued(reader, domain, start, end, ca=ca, serial=serial):
            block = event.block_number
            for batch in fetch_batches(reader, domain, block, block, ca=ca):
                if batch.holds(serial):
                    entry = replace(batch.entry(serial), locator=Hash32.zero())
                    return Position(entry, batch_path(batch, domain, serial))
    raise CouldNotCheck(
        f"serial {serial} was issued, but {reader.name} does not show in which batch",
        hint="ask another RPC endpoint; this one lacks or withholds events",
    )


def _first_block_since(reader: Reader, low: int, high: int, time: datetime) -> int:
    """Return the number of the first block at or after the time, by bisection; `high` if none."""
    while low < high:
        middle = (low + high) // 2
        block = fetch_block(reader, middle)
        if block is None:
            raise CouldNotCheck(
                f"{reader.name} lacks block {middle}", hint="ask another RPC endpoint"
            )
        low, high = (middle + 1, high) if block.time < time else (low, middle)
    return low


def verify_proof_fits(
    proof: CertificateProof, certificate: SshCertificate, domain_id: DomainId
) -> None:
    """Check that a proof file is this certificate's, before it is used.

    Raises:
        WrongContext: It is another's.
    """
    if proof.domain != domain_id:
        raise WrongContext(f"the proof is for another trust domain, {proof.domain}")
    if (proof.authority, proof.serial) != (certificate.authority_id, certificate.serial):
        raise WrongContext(
            "the proof is for another certificate",
            hint="give the -cert.proof file that was written with this certificate, or none",
        )
