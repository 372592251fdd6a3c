"""The `-cert.proof` file: an engineer's certificate's place on chain (docs/formats.md, Path)."""

from __future__ import annotations

from dataclasses import dataclass

from dpki.bundle.codec import dumps, loads_strict
from dpki.errors import MalformedInput
from dpki.model import MAXIMUM_BATCH, AuthorityId, DomainId, Hash32, Path

VERSION = 1
SIZE_LIMIT = 4096
_KEYS = {"v", "domain", "ca", "serial", "first", "count", "path"}


@dataclass(frozen=True)
class CertificateProof:
    """Where one certificate stands on chain, and the path that shows it."""

    domain: DomainId
    authority: AuthorityId
    serial: int
    path: Path


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
    fields = loads_strict(data, SIZE_LIMIT)
    if not isinstance(fields, dict) or fields.keys() != _KEYS or fields["v"] != VERSION:
        raise MalformedInput("this is not a proof file of version 1")
    domain, authority, siblings = fields["domain"], fields["ca"], fields["path"]
    numbers = [fields["serial"], fields["first"], fields["count"]]
    if (
        not isinstance(domain, str)
        or not isinstance(authority, bytes)
        or not isinstance(siblings, list)
        or not all(isinstance(sibling, bytes) for sibling in siblings)
        or not all(type(number) is int and 0 < number < 1 << 32 for number in numbers)
    ):
        raise MalformedInput("a field of the proof file has the wrong type")
    serial, first, count = numbers
    if count > MAXIMUM_BATCH or not first <= serial < first + count:
        raise MalformedInput("the proof file's serial is not in its batch")
    return CertificateProof(
        DomainId.parse(domain),
        AuthorityId(authority),
        serial,
        Path(first, count, tuple(Hash32(sibling) for sibling in siblings)),
    )
