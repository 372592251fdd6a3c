"""The parcel: a batch's certificates on their way to the watchdogs (docs/formats.md, Parcel).

Only they can read it: the certificates are sealed once, for a key that is used once, and that key
is sealed for each watchdog. It says nothing about who sealed it; the watchdog holds what is inside
against the chain. Pure but for randomness.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.padding import LARGEST_CLASS, MAXIMUM_FRAMED, frame, is_size_class, unframe
from dpki.bundle.seal import SealingKeys, SealingSecrets
from dpki.errors import MalformedInput, NotForThisDevice, UsageError, WrongContext
from dpki.model import MAXIMUM_BATCH, MAXIMUM_PARCELS, AuthorityId, DomainId, Hash32

MAXIMUM_READERS = 32

_VERSION = 1
_WHAT = "parcel"
_FIELDS = {"v": int, "context": bytes, "part": int, "parts": int, "certificates": list}
_MAGIC = b"dpkiparcel"
_HEADER = len(_MAGIC) + 2
_KEY_BYTES = 32
_WRAPPED = _KEY_BYTES + 48
_TAG = 16
_NONCE = bytes(12)
"""The same each time: no key is used twice."""
_ROOM = 256
"""Bytes that a parcel's plaintext needs beside the certificates, at most."""

MAXIMUM_PARCEL = _HEADER + MAXIMUM_READERS * _WRAPPED + LARGEST_CLASS + _TAG
"""Bytes of a sealed parcel, at most."""


def parcel_context(
    domain: DomainId, ca: AuthorityId, first_serial: int, commitment: Hash32
) -> Hash32:
    """Return what binds a parcel to one batch as it stands on chain."""
    described = ["dpki parcel", _VERSION, str(domain), bytes(ca), first_serial, bytes(commitment)]
    return Hash32(hashlib.sha256(dumps(described)).digest())


def make_parcels(
    blobs: Sequence[bytes], context: Hash32, readers: Sequence[bytes]
) -> tuple[bytes, ...]:
    """Return the sealed parcels of a batch, each readable for every reader.

    Args:
        blobs: The certificates, in the order of their serials.
        context: From `parcel_context`.
        readers: X25519 public keys, 1 to 32.

    Raises:
        UsageError: The certificates don't fit into 16 parcels.
        MalformedInput: A reader's key is a point of low order.
    """
    for reader in readers:
        SealingKeys(reader)
    parts = _divide(blobs)
    return tuple(
        _seal(encode_parcel(context, number, len(parts), part), context, readers)
        for number, part in enumerate(parts)
    )


def open_parcels(
    parcels: Sequence[bytes], secret: SealingSecrets, context: Hash32
) -> tuple[bytes, ...]:
    """Return the certificates in a batch's parcels, in order; what they are is still unchecked.

    Raises:
        MalformedInput: One is no parcel, or they are not all of them, in order.
        NotForThisDevice: One is sealed for others, or altered.
        WrongContext: One was made for another batch.
    """
    found: list[bytes] = []
    for number, data in enumerate(parcels):
        part, parts, blobs = parse_parcel(_open(data, secret, context), context)
        if (part, parts) != (number, len(parcels)):
            raise MalformedInput(
                f"this is part {part + 1} of {parts}, where part {number + 1} of {len(parcels)}"
                " should be"
            )
        found += blobs
    if len(found) > MAXIMUM_BATCH:
        raise MalformedInput(f"the parcels hold {len(found)} certificates")
    return tuple(found)


def encode_parcel(context: Hash32, part: int, parts: int, blobs: Sequence[bytes]) -> bytes:
    """Return a parcel's plaintext."""
    return dumps(
        {
            "v": _VERSION,
            "context": bytes(context),
            "part": part,
            "parts": parts,
            "certificates": list(blobs),
        }
    )


def parse_parcel(data: bytes, context: Hash32) -> tuple[int, int, tuple[bytes, ...]]:
    """Parse a parcel's plaintext: its number from 0, the number of all, and its certificates.

    Raises:
        MalformedInput: It is anything else than what `encode_parcel` writes.
        WrongContext: It was made for another batch.
    """
    value = loads_strict(data, MAXIMUM_FRAMED)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    blobs = fields["certificates"]
    if not blobs or len(blobs) > MAXIMUM_BATCH or not all(type(b) is bytes and b for b in blobs):
        raise MalformedInput("the parcel's certificates are no list of certificates")
    if not fields["part"] < fields["parts"] <= MAXIMUM_PARCELS:
        raise MalformedInput("the parcel's number is none")
    if fields["context"] != context:
        raise WrongContext("the parcel was made for another domain, CA or batch")
    return fields["part"], fields["parts"], tuple(blobs)


def _divide(blobs: Sequence[bytes]) -> list[list[bytes]]:
    """Split into as few parts as fit, in order."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for blob in blobs:
        taken = len(blob) + 5
        if parts[-1] and size + taken > MAXIMUM_FRAMED - _ROOM:
            parts.append([])
            size = 0
        parts[-1].append(blob)
        size += taken
    if len(parts) > MAXIMUM_PARCELS:
        raise UsageError(
            f"the batch needs {len(parts)} parcels, and watchdogs take {MAXIMUM_PARCELS}",
            hint="issue smaller batches",
        )
    return parts


def _seal(plaintext: bytes, context: Hash32, readers: Sequence[bytes]) -> bytes:
    if not 1 <= len(readers) <= MAXIMUM_READERS:
        raise UsageError(f"a parcel has 1 to {MAXIMUM_READERS} readers, not {len(readers)}")
    key = secrets.token_bytes(_KEY_BYTES)
    head = _MAGIC + bytes([_VERSION, len(readers)])
    head += b"".join(SealedBox(PublicKey(reader)).encrypt(key) for reader in readers)
    return head + ChaCha20Poly1305(key).encrypt(_NONCE, frame(plaintext), head + context)


def _open(data: bytes, secret: SealingSecrets, context: Hash32) -> bytes:
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEADER:
        raise MalformedInput("this is not a parcel")
    version, readers = data[len(_MAGIC)], data[len(_MAGIC) + 1]
    if version != _VERSION:
        raise MalformedInput(
            f"this is a parcel of version {version}; only version {_VERSION} is known here",
            hint="a newer dpki may have made it",
        )
    end = _HEADER + readers * _WRAPPED
    if not 1 <= readers <= MAXIMUM_READERS or not is_size_class(len(data) - end - _TAG):
        raise MalformedInput("the parcel has a size that no parcel has: cut off?")
    box = SealedBox(PrivateKey(secret.x25519))
    for start in range(_HEADER, end, _WRAPPED):
        try:
            key = box.decrypt(data[start : start + _WRAPPED])
            framed = ChaCha20Poly1305(key).decrypt(_NONCE, data[end:], data[:end] + context)
        except (CryptoError, InvalidTag, RuntimeError, ValueError):
            # Another watchdog's; one that opens and doesn't fit is as good as none.
            continue
        return unframe(framed)
    raise NotForThisDevice(
        "this watchdog's key does not open the parcel: it is sealed for others, or altered"
    )
