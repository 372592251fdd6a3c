"""Signatures as Ethereum's contracts take them: secp256k1, r ‖ s ‖ v, by libsecp256k1 (coincurve).

Not through eth-keys: the libraries that it brings take 17 MB in every agent, and most of its start.
Sources: RFC 6979 for nonces, EIP-2 for the low s, the Yellow Paper's appendix F for v and address.
"""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey

from dpki.keccak import keccak
from dpki.model import Address

SIGNATURE_BYTES = 65

# Half of the curve's order: of r and s two signatures exist, and only the low one counts (EIP-2).
_MAXIMUM_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def address_of(key: PublicKey) -> Address:
    """Return the address of the account that a public key makes."""
    return Address(keccak(key.format(compressed=False)[1:])[12:])


def sign_digest(key: PrivateKey, digest: bytes) -> bytes:
    """Return the one signature of 32 bytes: r, s (low) and v (27 or 28), 65 bytes."""
    raw: bytes = key.sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


def recover_signer(signature: bytes, digest: bytes) -> Address | None:
    """Return whose signature this is; None for one that no contract would take.

    Args:
        signature: r, s and v (27 or 28), 65 bytes.
    """
    if len(signature) != SIGNATURE_BYTES:
        return None
    r, s, v = signature[:32], signature[32:64], signature[64]
    if v not in (27, 28) or int.from_bytes(s) > _MAXIMUM_S:
        return None
    try:
        key = PublicKey.from_signature_and_message(r + s + bytes([v - 27]), digest, hasher=None)
    except ValueError:
        return None
    return address_of(key)
