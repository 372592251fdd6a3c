"""Certificates that an auditor was given, each held against what stands on chain under its serial.

The chain can't see inside a certificate; whoever holds one can.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpki.audit.evidence import Contradiction, HistoryContradicted
from dpki.audit.index import Index
from dpki.audit.state import State
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate, verify_ssh_signature
from dpki.errors import DpkiError
from dpki.model import AuthorityId, Block, to_timestamp


@dataclass(frozen=True)
class Given:
    """A certificate and what to call it.

    Attributes:
        name: The file's.
    """

    name: str
    data: bytes


def verify_given(given: Given, state: State, index: Index, block: Block) -> bool:
    """Check a certificate against its anchor; return whether it is of this domain at all.

    Raises:
        HistoryContradicted: It is not what was anchored, or breaks its CA's rules.
        MalformedInput: It is no certificate.
    """
    certificate = parse_ssh_certificate(given.data)
    authority = state.authorities.get(AuthorityId(certificate.authority_id))
    if authority is None:
        return False

    def contradicts(what: str, expected: object, found: object) -> HistoryContradicted:
        return HistoryContradicted(
            Contradiction(
                what, block.number, None, f"certificate {given.name}", str(expected), str(found)
            )
        )

    try:
        verify_ssh_signature(certificate)
    except DpkiError as error:
        raise contradicts("a CA's key signed it", "a good signature", error.message) from error
    if certificate.kind is not authority.kind:
        raise contradicts(
            "a CA signs certificates of its kind", authority.kind.label, certificate.kind.label
        )
    serial = certificate.serial
    anchored = index.certificate(authority.number, serial)
    batch = index.batch_of(authority.number, serial)
    if anchored is None or batch is None:
        raise contradicts(
            "what a CA's key signed was anchored",
            f"serials 1 to {authority.next_serial - 1} of CA {authority.id}",
            f"serial {serial}",
        )
    if anchored.hash != certificate.hash:
        raise contradicts(
            "a serial is of one certificate",
            f"{anchored.hash} under serial {serial}",
            certificate.hash,
        )
    end = to_timestamp(certificate.valid_before)
    if end != anchored.not_after:
        raise contradicts("it expires when its anchor says", anchored.not_after, end)
    length = _seconds(certificate)
    if length > 60 * batch.lifetime:
        raise contradicts(
            "it lives at most as long as its CA allowed when it was anchored",
            f"{60 * batch.lifetime} s",
            f"{length} s",
        )
    return True


def _seconds(certificate: SshCertificate) -> int:
    return to_timestamp(certificate.valid_before) - to_timestamp(certificate.valid_after)
