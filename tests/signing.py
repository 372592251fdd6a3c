"""Signing with a CA's key as `cryptography` does, apart from any certificate."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA512

from dpki.certificates.signature import AuthorityPrivateKey
from dpki.signer.adapters import CURVE_HASHES


def sign_message(key: AuthorityPrivateKey, message: bytes) -> bytes:
    """Sign with the hash that SSH takes for a key of this type (RFC 5656, 8332, 8709)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, PKCS1v15(), SHA512())
    return key.sign(message, ec.ECDSA(CURVE_HASHES[key.curve.name]()))
