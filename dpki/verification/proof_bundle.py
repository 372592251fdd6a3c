"""The proof bundle: one certificate, and all that its verdict needs of a domain's state, proven.

docs/formats.md, Proof bundle. Reading one says nothing yet about what it proves; `offline` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.chain import merkle
from dpki.chain.domain import Contracts
from dpki.errors import DpkiError, MalformedInput
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    DomainId,
    Entry,
    Hash32,
    Path,
    from_timestamp,
    to_timestamp,
)

VERSION = 1
SIZE_LIMIT = 1 << 20
"""Bytes of a bundle. A domain among hundreds of millions of accounts comes to a tenth of that."""

_TYPE = "proof bundle"
_MAXIMUM_CERTIFICATE = 64 * 1024
_MAXIMUM_HEADER = 4096
_MAXIMUM_NODES = 4096
_REQUIRED = {
    "v": int,
    "type": str,
    "domain": str,
    "certificate": bytes,
    "header": bytes,
    "nodes": list,
}
_POSITION = {
    "hash": bytes,
    "device": bytes,
    "until": int,
    "first": int,
    "count": int,
    "path": list,
}


@dataclass(frozen=True)
class Position:
    """What stands on chain under a serial, be it a certificate's own entry or another.

    Attributes:
        entry: Without its locator, which no leaf holds.
        path: From its leaf to the batch's root.
    """

    entry: Entry
    path: Path

    def leads_to(
        self, commitment: Hash32, contracts: Contracts, ca: AuthorityId, serial: int
    ) -> bool:
        """Whether the commitment is of a batch that holds this entry under this serial."""
        context = merkle.leaf_context(contracts.id.chain_id, contracts.certificates, ca)
        try:
            root = merkle.verify_path(merkle.leaf(context, serial, self.entry), serial, self.path)
        except DpkiError:
            return False
        return merkle.commitment(root, self.path.count) == commitment


@dataclass(frozen=True)
class ProofBundle:
    """What stands in the file, unchecked.

    Attributes:
        certificate: The SSH certificate blob.
        position: What the CA's operator anchored under its serial; None where nothing.
        header: The block's header in RLP.
        nodes: Nodes of the block's state and storage tries, in RLP, sorted.
    """

    domain: DomainId
    certificate: bytes
    position: Position | None
    header: bytes
    nodes: tuple[bytes, ...]


def is_proof_bundle(data: bytes) -> bool:
    """Whether a file may be a proof bundle, and is no SSH certificate in any case.

    A map in CBOR begins with a byte that begins neither text nor a certificate's blob.
    """
    return b"\xa0" <= data[:1] <= b"\xbb"


def encode_proof_bundle(bundle: ProofBundle) -> bytes:
    """Return the file's bytes."""
    value: dict[str, object] = {
        "v": VERSION,
        "type": _TYPE,
        "domain": str(bundle.domain),
        "certificate": bundle.certificate,
        "header": bundle.header,
        "nodes": list(bundle.nodes),
    }
    if bundle.position is not None:
        entry, path = bundle.position.entry, bundle.position.path
        value["position"] = {
            "hash": bytes(entry.certificate_hash),
            "device": bytes(entry.device),
            "until": to_timestamp(entry.not_after),
            "first": path.first_serial,
            "count": path.count,
            "path": [bytes(sibling) for sibling in path.siblings],
        }
    return dumps(value)


def parse_proof_bundle(data: bytes) -> ProofBundle:
    """Parse a proof bundle.

    Raises:
        MalformedInput: It is anything else than what `encode_proof_bundle` writes.
    """
    value = loads_strict(data, SIZE_LIMIT)
    verify_version(value, _TYPE, VERSION)
    fields = fields_of(value, _TYPE, required=_REQUIRED, optional={"position": dict})
    domain, nodes = DomainId.parse(fields["domain"]), fields["nodes"]
    if fields["type"] != _TYPE or str(domain) != fields["domain"]:
        raise MalformedInput("the proof bundle's type or domain is spelled otherwise")
    if len(fields["certificate"]) > _MAXIMUM_CERTIFICATE or len(fields["header"]) > _MAXIMUM_HEADER:
        raise MalformedInput("the proof bundle's certificate or header is too long")
    if len(nodes) > _MAXIMUM_NODES or not all(type(node) is bytes for node in nodes):
        raise MalformedInput("the proof bundle's nodes are no list of bytes, or too many")
    if any(one >= other for one, other in pairwise(nodes)):
        raise MalformedInput("the proof bundle's nodes are not sorted, or one stands there twice")
    position = _parse_position(fields["position"]) if "position" in fields else None
    return ProofBundle(domain, fields["certificate"], position, fields["header"], tuple(nodes))


def _parse_position(value: object) -> Position:
    fields = fields_of(value, "proof bundle's position", required=_POSITION, optional={})
    first, count, siblings = fields["first"], fields["count"], fields["path"]
    if not (1 <= count <= MAXIMUM_BATCH and first >= 1 and first + count <= 1 << 32):
        raise MalformedInput("the proof bundle's batch is empty, too large, or beyond all serials")
    if not all(type(sibling) is bytes for sibling in siblings):
        raise MalformedInput("the proof bundle's path is no list of hashes")
    try:
        not_after = from_timestamp(fields["until"])
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedInput("the proof bundle's position is beyond the calendar") from error
    entry = Entry(Hash32(fields["hash"]), Address(fields["device"]), not_after, Hash32.zero())
    return Position(entry, Path(first, count, tuple(Hash32(sibling) for sibling in siblings)))
