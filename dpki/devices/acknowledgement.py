"""What a device says that it has installed, signed and sealed (docs/formats.md, Acknowledgement).

Signed with its identity, over a digest that no contract takes for anything; sealed for the home
that collects it, with a key of its own kind: a CA's issuer key unmasks locators, and nothing else.
It names a certificate as only who has it can, and it comes in a bundle sealed for the device alone:
so it also shows that the device has the whole of its sealing key.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.seal import SealingKeys, SealingSecrets, open_sealed, seal
from dpki.devices.keys import DeviceKeys
from dpki.errors import MalformedInput, NotForThisDevice, SignatureInvalid, WrongDomain
from dpki.model import Address, AuthorityId, DomainId, Hash32
from dpki.secp256k1 import SIGNATURE_BYTES, recover_signer, sign_digest

MAXIMUM_CERTIFICATES = 16
SEALED_LIMIT = 64 << 10
"""Bytes of a sealed acknowledgement, at most."""

_VERSION = 2
_WHAT = "acknowledgement"
_SIGNED = b"dpki acknowledgement v2\0"
_OPENED = b"dpki opened certificate v2\0"
_CONTEXT = Hash32(hashlib.sha256(b"dpki acknowledgement seal v1").digest())
_OUTER = {"v": int, "statement": bytes, "signature": bytes}
_STATEMENT = {
    "v": int,
    "domain": str,
    "device": bytes,
    "sequence": int,
    "block": int,
    "block_hash": bytes,
    "mode": str,
    "prekeys": int,
    "certificates": list,
}
_MODES = frozenset({"strict", "files"})
_HIGHEST = (1 << 53) - 1


class Stage(enum.Enum):
    """How far a certificate has come on the device; the value is the word in the message."""

    FETCHED = "fetched"
    """Its bundle was opened, and it counts; neither sshd nor ssh uses it."""
    INSTALLED = "installed"


@dataclass(frozen=True)
class AcknowledgedCertificate:
    """A certificate that a device has.

    Attributes:
        opening: See `opening_of`.
    """

    authority: AuthorityId
    serial: int
    opening: Hash32
    stage: Stage


@dataclass(frozen=True)
class Statement:
    """What a device says.

    Attributes:
        sequence: Of all that it ever said, rising.
        block: Number of the block that it decided from, in which this came to be so.
        mode: Who decides a login at its sshd: `strict` or `files`.
        prekeys: How many one-time keys it has left.
    """

    domain: DomainId
    device: Address
    sequence: int
    block: int
    block_hash: Hash32
    mode: str
    prekeys: int
    certificates: tuple[AcknowledgedCertificate, ...]

    @property
    def digest(self) -> Hash32:
        """What is signed: SHA-256, where contracts take keccak-256 of typed data."""
        return Hash32(hashlib.sha256(_SIGNED + encode_statement(self)).digest())


def opening_of(device: Address, certificate: bytes) -> Hash32:
    """Return what a device names a certificate by: its hash on chain is known to everybody.

    Args:
        certificate: The blob.
    """
    return Hash32(hashlib.sha256(_OPENED + device + certificate).digest())


def make_acknowledgement(keys: DeviceKeys, statement: Statement, reader: bytes) -> bytes:
    """Sign a statement, and seal it for whoever collects it.

    Args:
        reader: The collector's X25519 public key, 32 bytes.

    Raises:
        MalformedInput: That is no usable key.
    """
    signature = sign_digest(keys.identity, statement.digest)
    signed = {"v": _VERSION, "statement": encode_statement(statement), "signature": signature}
    return seal(dumps(signed), SealingKeys(reader), _CONTEXT)


def verify_acknowledgement(data: bytes, secret: SealingSecrets, domain: DomainId) -> Statement:
    """Return what a sealed acknowledgement says, when the device that it names has signed it.

    Whether that device is one of ours, and whether it said something newer already, is the caller's
    to find out.

    Raises:
        MalformedInput: It is no acknowledgement.
        NotForThisDevice: It is sealed for another home, or altered.
        SignatureInvalid: The device that it names has not signed it.
        WrongDomain: It is of another trust domain.
    """
    if len(data) > SEALED_LIMIT:
        raise MalformedInput(f"an acknowledgement has at most {SEALED_LIMIT} bytes")
    try:
        plaintext = open_sealed(data, secret, _CONTEXT)
    except NotForThisDevice as error:
        raise NotForThisDevice(
            "the acknowledgement is sealed for another home, or altered",
            hint="see `key` in the table [acknowledge] of its device.toml: dpki device collect-key",
        ) from error
    except MalformedInput as error:
        raise MalformedInput(f"this is no sealed acknowledgement: {error.message}") from error
    statement, signature = parse_acknowledgement(plaintext)
    if recover_signer(signature, statement.digest) != statement.device:
        raise SignatureInvalid(f"device {statement.device} has not signed this acknowledgement")
    if statement.domain != domain:
        raise WrongDomain(f"the acknowledgement is of the trust domain {statement.domain}")
    return statement


def encode_statement(statement: Statement) -> bytes:
    """Return the statement's one encoding."""
    return dumps(
        {
            "v": _VERSION,
            "domain": str(statement.domain),
            "device": bytes(statement.device),
            "sequence": statement.sequence,
            "block": statement.block,
            "block_hash": bytes(statement.block_hash),
            "mode": statement.mode,
            "prekeys": statement.prekeys,
            "certificates": [
                [bytes(one.authority), one.serial, bytes(one.opening), one.stage.value]
                for one in statement.certificates
            ],
        }
    )


def parse_acknowledgement(data: bytes) -> tuple[Statement, bytes]:
    """Parse what was sealed: the statement, and a signature that nobody has checked.

    Raises:
        MalformedInput: It is anything else than what `make_acknowledgement` seals.
    """
    value = loads_strict(data, SEALED_LIMIT)
    verify_version(value, _WHAT, _VERSION)
    outer = fields_of(value, _WHAT, required=_OUTER, optional={})
    if len(outer["signature"]) != SIGNATURE_BYTES:
        raise MalformedInput("the acknowledgement's signature does not have 65 bytes")
    inner = loads_strict(outer["statement"], SEALED_LIMIT)
    verify_version(inner, _WHAT, _VERSION)
    fields = fields_of(inner, _WHAT, required=_STATEMENT, optional={})
    if fields["mode"] not in _MODES:
        raise MalformedInput("the acknowledgement's mode is neither strict nor files")
    if (
        not 1 <= fields["sequence"] <= _HIGHEST
        or max(fields["block"], fields["prekeys"]) > _HIGHEST
    ):
        raise MalformedInput("a number in the acknowledgement is out of range")
    statement = Statement(
        domain=DomainId.parse(fields["domain"]),
        device=Address(fields["device"]),
        sequence=fields["sequence"],
        block=fields["block"],
        block_hash=Hash32(fields["block_hash"]),
        mode=fields["mode"],
        prekeys=fields["prekeys"],
        certificates=_parse_certificates(fields["certificates"]),
    )
    return statement, outer["signature"]


def _parse_certificates(items: Sequence[object]) -> tuple[AcknowledgedCertificate, ...]:
    if len(items) > MAXIMUM_CERTIFICATES:
        raise MalformedInput(f"the acknowledgement names more than {MAXIMUM_CERTIFICATES}")
    found = []
    for item in items:
        if not isinstance(item, list) or [type(p) for p in item] != [bytes, int, bytes, str]:
            raise MalformedInput("a certificate in the acknowledgement is none")
        authority, serial, opening, word = item
        if not 1 <= serial < 1 << 32 or word not in {stage.value for stage in Stage}:
            raise MalformedInput("a certificate in the acknowledgement is none")
        found.append(
            AcknowledgedCertificate(AuthorityId(authority), serial, Hash32(opening), Stage(word))
        )
    return tuple(found)
