"""The `-cert.proof` file: an engineer's certificate's place on chain (docs/formats.md, Path)."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.errors import MalformedInput
from dpki.model import MAXIMUM_BATCH, AuthorityId, DomainId, Hash32, Path

VERSION = 1
SIZE_LIMIT = 4096
_WHAT = "proof file"
_REQUIRED = {
    "v": int,
    "domain": str,
    "ca": bytes,
    "serial": int,
    "first": int,
    "count": int,
    "path": list,
}


@dataclass(frozen=True)
class CertificateProof:
    """Where one certificate stands on chain, and the path that shows it."""

    domain: DomainId
    authority: AuthorityId
    serial: int
    path: Path


def proof_file(certificate_file: pathlib.Path) -> pathlib.Path:
    """Return the proof's file beside a certificate's: `id-cert.pub` has `id-cert.proof`."""
    return certificate_file.with_name(certificate_file.name.removesuffix(".pub") + ".proof")


def encode_proof(proof: CertificateProof) -> bytes:
    """Return the file's bytes."""
    return dumps(
        {
            "v": VERSION,
            "domain": str(proof.domain),
            "ca": bytes(proof.authority),
            "serial": proof.serial,
            "first": proof.path.first_serial,
            "count": proof.path.count,
            "path": [bytes(sibling) for sibling in proof.path.siblings],
        }
    )


def parse_proof(data: bytes) -> CertificateProof:
    """Parse a proof file.

    Raises:
        MalformedInput: It is anything else than what `encode_proof` writes.
    """
    value = loads_strict(data, SIZE_LIMIT)
    verify_version(value, _WHAT, VERSION)
    fields = fields_of(value, _WHAT, required=_REQUIRED, optional={})
    serial, first, count = fields["serial"], fields["first"], fields["count"]
    if not (1 <= count <= MAXIMUM_BATCH and 1 <= first <= serial < first + count <= 1 << 32):
        raise MalformedInput("the proof file's serial is not in its batch")
    if not all(type(sibling) is bytes for sibling in fields["path"]):
        raise MalformedInput("the proof file's path is not a list of hashes")
    domain = DomainId.parse(fields["domain"])
    if str(domain) != fields["domain"]:
        raise MalformedInput("the proof file spells its domain otherwise than dpki does")
    return CertificateProof(
        domain,
        AuthorityId(fields["ca"]),
        serial,
        Path(first, count, tuple(Hash32(sibling) for sibling in fields["path"])),
    )
