"""`dpki verify`: from a certificate, a domain id and an endpoint to a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.connect import connect_agreed
from dpki.chain.domain import Domain
from dpki.chain.events import batch_path, fetch_batches, fetch_issued
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.snapshot import Snapshot, extend_snapshot, fetch_snapshot
from dpki.errors import CouldNotCheck, MalformedInput, WrongContext
from dpki.model import Address, DomainId
from dpki.verification.policies import Anchoring, find_authority, judge
from dpki.verification.proof import CertificateProof, parse_proof
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
        _verify_proof_fits(parsed_proof, parsed, domain_id)
    try:
        with connect_agreed(rpc, domain_id, quorum) as chain:
            moment = now if now is not None else datetime.now(UTC)
            finding = check(chain.reader, chain.domain, parsed, parsed_proof, moment)
            return replace(finding, evidence=chain.evidence())
    except CouldNotCheck as error:
        return Finding(Verdict.COULD_NOT_CHECK, error.message, serial=parsed.serial)


def check(
    reader: Reader,
    domain: Domain,
    certificate: SshCertificate,
    proof: CertificateProof | None,
    now: datetime,
) -> Finding:
    """Return the verdict at the newest block.

    Raises:
        CouldNotCheck: The chain could not be read.
    """
    snapshot = fetch_snapshot(reader, domain)
    if proof is not None:
        # A proof speaks for no device: an engineer's certificate has none.
        anchoring = Anchoring(Address.zero(), proof.path)
        finding = _judge_at(reader, snapshot, certificate, anchoring, now)
        if finding.verdict is not Verdict.NOT_ANCHORED:
            return finding
    return _judge_at(reader, snapshot, certificate, _search(reader, snapshot, certificate), now)


def _judge_at(
    reader: Reader,
    snapshot: Snapshot,
    certificate: SshCertificate,
    anchoring: Anchoring | None,
    now: datetime,
) -> Finding:
    if anchoring is not None:
        devices = [] if anchoring.device == Address.zero() else [anchoring.device]
        batch = (certificate.authority_id, anchoring.path.first_serial)
        snapshot = extend_snapshot(reader, snapshot, devices=devices, batches=[batch])
    return judge(certificate, anchoring, snapshot, now)


def _search(reader: Reader, snapshot: Snapshot, certificate: SshCertificate) -> Anchoring | None:
    """Find the batch that holds the certificate's serial, from when it became valid on.

    Returns:
        Its claimed place, whatever the entry says: that it is this certificate is `judge`'s to
        find. None where the serial was never issued.

    Raises:
        CouldNotCheck: The serial was issued, and the endpoint does not show where.
    """
    authority = find_authority(certificate, snapshot)
    if authority is None or not authority.is_issued(certificate.serial):
        return None
    domain, head = snapshot.domain, snapshot.block.number
    likely = _first_block_since(
        reader, domain.block.number, head, certificate.valid_after - BACKDATING
    )
    for start, end in ((likely, head), (domain.block.number, likely - 1)):
        for event in fetch_issued(
            reader, domain, start, end, ca=authority.id, serial=certificate.serial
        ):
            block = event.block_number
            for batch in fetch_batches(reader, domain, block, block, ca=authority.id):
                if batch.holds(certificate.serial):
                    path = batch_path(batch, domain, certificate.serial)
                    return Anchoring(batch.entry(certificate.serial).device, path)
    raise CouldNotCheck(
        f"serial {certificate.serial} was issued, but {reader.name} does not show in which batch",
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


def _verify_proof_fits(
    proof: CertificateProof, certificate: SshCertificate, domain_id: DomainId
) -> None:
    if proof.domain != domain_id:
        raise WrongContext(f"the proof is for another trust domain, {proof.domain}")
    if (proof.authority, proof.serial) != (certificate.authority_id, certificate.serial):
        raise WrongContext(
            "the proof is for another certificate",
            hint="give the -cert.proof file that was written with this certificate, or none",
        )
