"""Content identifiers: a bundle is one raw IPFS block, so its CID is its SHA-256 in other letters.

Only CIDv1, codec raw (0x55), sha2-256, base32 lower case exists here
(https://github.com/multiformats/cid): 59 characters that start with `bafkrei`.
"""

from __future__ import annotations

import base64
import hashlib
import re

from dpki.errors import MalformedInput
from dpki.model import Hash32

_PREFIX = bytes([0x01, 0x55, 0x12, 0x20])
_BASE32 = "b"


def digest_of(data: bytes) -> Hash32:
    """Return the SHA-256 that names this content."""
    return Hash32(hashlib.sha256(data).digest())


def cid_of(digest: Hash32) -> str:
    """Return the CID of the raw block with this SHA-256."""
    text = base64.b32encode(_PREFIX + digest).decode().rstrip("=").lower()
    return _BASE32 + text


def digest_of_cid(cid: str) -> Hash32:
    """Return the SHA-256 in a CID.

    Raises:
        MalformedInput: It is not a CIDv1 of a raw block with sha2-256, in base32 lower case.
    """
    if re.fullmatch(r"b[a-z2-7]{58}", cid):
        # 36 bytes are 58 digits; base64 wants the padding up to a multiple of 8.
        decoded = base64.b32decode(cid[1:].upper() + "=" * 6)
        if decoded[:4] == _PREFIX:
            digest = Hash32(decoded[4:])
            # Two spare bits in the last digit allow four spellings; one is right.
            if cid_of(digest) == cid:
                return digest
    raise MalformedInput(
        f"{cid[:80]!r} is not the CID of a dpki bundle",
        hint="it has 59 characters and starts with bafkrei (CIDv1, raw, sha2-256, base32)",
    )
