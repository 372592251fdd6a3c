"""Requests that a device signs: to be enrolled, and to have its key document replaced.

The signature is the one that the DeviceRegistry checks, over an EIP-712 message
(https://eips.ethereum.org/EIPS/eip-712), so a device needs no gas and whoever relays can't alter
anything. The hashing is done here, in a few lines, because a device carries no eth-account.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.devices.document import (
    KeyDocument,
    document_digest,
    encode_key_document,
    parse_key_document,
)
from dpki.devices.keys import DeviceKeys
from dpki.devices.possession import PROOF_BYTES, prove_possession, verify_possession
from dpki.devices.request_text import as_line, as_parts, fingerprint, from_text
from dpki.errors import (
    Expired,
    MalformedInput,
    SignatureInvalid,
    UsageError,
    WrongDomain,
)
from dpki.keccak import keccak
from dpki.model import Address, DomainId, Hash32, from_timestamp, to_timestamp
from dpki.secp256k1 import SIGNATURE_BYTES, recover_signer, sign_digest
from dpki.typed_data import struct_hash, typed_digest

REQUEST_LIMIT = 128 << 10
"""Bytes of a request; as text it has up to `request_text.TEXT_LIMIT`."""

_VERSION = 2
_WHAT = "enrolment request"
_FIELDS = {
    "v": int,
    "type": str,
    "domain": str,
    "device": bytes,
    "document": bytes,
    "nonce": int,
    "deadline": int,
    "signature": bytes,
    "proofs": list,
}
_LATEST = 253402300799
_CONTRACT = "dpki DeviceRegistry"
_MEMBERS = "(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)"


class RequestKind(enum.Enum):
    """What a request asks for; the value is the word in the file."""

    ENROLL = "enroll"
    UPDATE = "update"

    @property
    def primary_type(self) -> str:
        """The EIP-712 type that is signed."""
        return "Enrollment" if self is RequestKind.ENROLL else "KeyDocumentUpdate"


@dataclass(frozen=True)
class EnrollmentRequest:
    """A request as it travels; nothing in it is checked but its form.

    Attributes:
        document: The key document's encoding.
        nonce: 0 to be enrolled, the device's nonce on chain for an update.
        deadline: Until when the contract takes it, whole seconds.
        signature: r ‖ s ‖ v, 65 bytes.
        proofs: One signature for each key of the document (`devices.possession`).
    """

    kind: RequestKind
    domain: DomainId
    device: Address
    document: bytes
    nonce: int
    deadline: datetime
    signature: bytes
    proofs: tuple[bytes, ...]

    @property
    def fingerprint(self) -> str:
        """What two people read to each other."""
        return fingerprint(encode_request(self))


@dataclass(frozen=True)
class VerifiedRequest:
    """A request whose signature is the device's, for this domain, in time.

    Attributes:
        key_document: The digest that goes on chain.
    """

    kind: RequestKind
    device: Address
    document: KeyDocument
    key_document: Hash32
    nonce: int
    deadline: datetime
    signature: bytes


def make_enrollment_request(
    keys: DeviceKeys,
    domain: DomainId,
    registry: Address,
    document: KeyDocument,
    deadline: datetime,
    nonce: int = 0,
) -> EnrollmentRequest:
    """Sign a request with the device's identity: to be enrolled (nonce 0), or an update.

    Every other key of the document signs that it is the device's.

    Args:
        registry: The domain's DeviceRegistry.
        document: Its sequence must be the nonce.
        nonce: The device's nonce on chain.

    Raises:
        UsageError: Sequence and nonce differ.
        MalformedInput: The document lists a key that is not the device's.
    """
    if document.sequence != nonce:
        raise UsageError(
            f"the key document's sequence is {document.sequence}, the device's nonce {nonce}",
            hint="make a document with that sequence",
        )
    kind = RequestKind.ENROLL if nonce == 0 else RequestKind.UPDATE
    encoded = encode_key_document(document)
    digest = request_digest(
        kind, domain.chain_id, registry, keys.address, document_digest(encoded), nonce, deadline
    )
    signature = sign_digest(keys.identity, digest)
    whole = from_timestamp(to_timestamp(deadline))
    proofs = prove_possession(keys, document, digest)
    return EnrollmentRequest(kind, domain, keys.address, encoded, nonce, whole, signature, proofs)


def encode_request(request: EnrollmentRequest) -> bytes:
    """Return the request file's bytes."""
    return dumps(
        {
            "v": _VERSION,
            "type": request.kind.value,
            "domain": str(request.domain),
            "device": bytes(request.device),
            "document": request.document,
            "nonce": request.nonce,
            "deadline": to_timestamp(request.deadline),
            "signature": request.signature,
            "proofs": list(request.proofs),
        }
    )


def request_line(request: EnrollmentRequest) -> str:
    """Return the request as one line of text, for a terminal, a message or a large QR code."""
    return as_line(encode_request(request))


def request_parts(request: EnrollmentRequest, count: int) -> tuple[str, ...]:
    """Return the request as this many lines or a few less, each for a QR code."""
    return as_parts(encode_request(request), count)


def parse_request(data: bytes) -> EnrollmentRequest:
    """Parse a request: a file, a line of text, or the lines of its QR codes.

    Raises:
        MalformedInput: It is anything else than what `encode_request`, `request_line` or
            `request_parts` writes.
    """
    value = loads_strict(from_text(data), REQUEST_LIMIT)
    if isinstance(value, dict) and value.get("v") == 1:
        raise MalformedInput(
            "this enrolment request is of version 1, which does not prove that the device has its"
            " keys",
            hint="bring dpki on the device up to date, and let it make a new request",
        )
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    try:
        kind = RequestKind(fields["type"])
    except ValueError as error:
        raise MalformedInput("the enrolment request is neither enroll nor update") from error
    proofs = fields["proofs"]
    if not all(type(proof) is bytes and len(proof) == PROOF_BYTES for proof in proofs):
        raise MalformedInput("a proof of the enrolment request does not have 64 bytes")
    if len(fields["signature"]) != SIGNATURE_BYTES:
        raise MalformedInput("the enrolment request's signature does not have 65 bytes")
    if (kind is RequestKind.ENROLL) != (fields["nonce"] == 0):
        raise MalformedInput("the enrolment request's nonce is 0 for enroll, and only then")
    if fields["deadline"] > _LATEST:
        raise MalformedInput("the enrolment request's deadline is beyond the year 9999")
    return EnrollmentRequest(
        kind=kind,
        domain=_parse_domain(fields["domain"]),
        device=Address(fields["device"]),
        document=fields["document"],
        nonce=fields["nonce"],
        deadline=from_timestamp(fields["deadline"]),
        signature=fields["signature"],
        proofs=tuple(proofs),
    )


def verify_request(
    request: EnrollmentRequest, domain: DomainId, registry: Address
) -> VerifiedRequest:
    """Check what a request says, and that it is the device's; not whether it still is in time.

    Args:
        domain: The trust domain that it should be for.
        registry: That domain's DeviceRegistry, as read from the chain.

    Raises:
        WrongDomain: It is for another trust domain.
        SignatureInvalid: The signature is not the device's over exactly this, or a key of the
            document has not signed.
        MalformedInput: The key document is malformed, or not the one for this nonce.
    """
    if request.domain != domain:
        raise WrongDomain(
            f"the request is for the trust domain {request.domain}, not {domain}",
            hint="the device was set up for another domain",
        )
    digest = document_digest(request.document)
    message = request_digest(
        request.kind,
        domain.chain_id,
        registry,
        request.device,
        digest,
        request.nonce,
        request.deadline,
    )
    _verify_signature(request.signature, message, request.device)
    document = parse_key_document(request.document)
    if document.sequence != request.nonce:
        raise MalformedInput("the key document's sequence is not the request's nonce")
    verify_possession(document, message, request.proofs)
    return VerifiedRequest(
        kind=request.kind,
        device=request.device,
        document=document,
        key_document=digest,
        nonce=request.nonce,
        deadline=request.deadline,
        signature=request.signature,
    )


def verify_in_time(request: EnrollmentRequest | VerifiedRequest, now: datetime) -> None:
    """Check that the contract would still take a request.

    Raises:
        Expired: The deadline has passed.
    """
    if now >= request.deadline:
        raise Expired(
            f"the request was good until {request.deadline:%Y-%m-%d %H:%M:%S} UTC",
            hint="let the device make a new one (dpki device request), and check both clocks",
        )


def request_digest(
    kind: RequestKind,
    chain_id: int,
    registry: Address,
    device: Address,
    key_document: Hash32,
    nonce: int,
    deadline: datetime,
) -> bytes:
    """Return the EIP-712 hash that the device signs and the DeviceRegistry checks."""
    type_hash = keccak((kind.primary_type + _MEMBERS).encode())
    struct = struct_hash(type_hash, device, key_document, nonce, to_timestamp(deadline))
    return typed_digest(_CONTRACT, chain_id, registry, struct)


def _verify_signature(signature: bytes, message: bytes, device: Address) -> None:
    if recover_signer(signature, message) != device:
        raise SignatureInvalid(
            f"the request is not signed by device {device}",
            hint="it was altered, or made for another domain; let the device make a new one",
        )


def _parse_domain(text: str) -> DomainId:
    domain = DomainId.parse(text)
    if str(domain) != text:
        raise MalformedInput("the enrolment request's domain id is not in its printed form")
    return domain
