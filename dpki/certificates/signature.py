"""Signatures as SSH spells them (RFC 4253, 5656, 8332, 8709), made and checked.

`cryptography` builds no certificates for FIDO keys, so the bytes that a CA signs are put together
here, for every type of key alike, and signed through the private key's own `sign`: in memory or in
a token.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from dpki.certificates.keys import is_security_key, load_subject_key
from dpki.certificates.wire import WireReader, string
from dpki.errors import MalformedInput, SignatureInvalid, UsageError

AuthorityPrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey
"""What signs: `cryptography`'s own classes, or adapters to a token that subclass them."""

_WHAT = "signature"
_CURVES: dict[str, tuple[str, type[HashAlgorithm]]] = {
    "secp256r1": ("ecdsa-sha2-nistp256", SHA256),
    "secp384r1": ("ecdsa-sha2-nistp384", SHA384),
    "secp521r1": ("ecdsa-sha2-nistp521", SHA512),
}
_RSA_HASHES: dict[str, type[HashAlgorithm]] = {"rsa-sha2-256": SHA256, "rsa-sha2-512": SHA512}
_SHA1 = "ssh-rsa"


def sign_ssh(private_key: AuthorityPrivateKey, data: bytes) -> bytes:
    """Return the SSH signature blob of `data`.

    Raises:
        UsageError: The key is of a curve that SSH does not know.
        TokenError: The token that holds the key failed.
    """
    if isinstance(private_key, Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(private_key.sign(data))
    if isinstance(private_key, EllipticCurvePrivateKey):
        kind, hashing = _curve(private_key.curve)
        r, s = decode_dss_signature(private_key.sign(data, ECDSA(hashing())))
        return string(kind.encode()) + string(_mpint(r) + _mpint(s))
    return string(b"rsa-sha2-512") + string(private_key.sign(data, PKCS1v15(), SHA512()))


def signature_type(signature: bytes, public_key: bytes) -> str:
    """Return the algorithm that an SSH signature blob names, which the key must be able to.

    Args:
        signature: Untrusted bytes.
        public_key: The signer's SSH public key blob.

    Raises:
        MalformedInput: It is not one signature, or of an algorithm that is not the key's.
    """
    kind, _ = _split(signature)
    key_type = WireReader(public_key, "SSH public key").string().decode("ascii", "replace")
    if is_security_key(key_type) or kind not in {"ssh-rsa": {_SHA1, *_RSA_HASHES}}.get(
        key_type, {key_type}
    ):
        raise MalformedInput(
            f"the signature is damaged: a key of type {key_type[:60]!r} makes no {kind[:60]!r}"
        )
    return kind


def verify_ssh(signature: bytes, public_key: bytes, data: bytes) -> None:
    """Verify an SSH signature blob over `data`.

    Args:
        public_key: The signer's SSH public key blob; not a FIDO key's.

    Raises:
        MalformedInput: Signature or key is malformed, or they don't belong together.
        SignatureInvalid: It does not verify, or is made with SHA-1.
    """
    kind = signature_type(signature, public_key)
    if kind == _SHA1:
        raise SignatureInvalid(
            "the signature is made with SHA-1", hint="SHA-1 signatures can be forged"
        )
    _, value = _split(signature)
    key = load_subject_key(public_key)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(value, data)
        elif isinstance(key, EllipticCurvePublicKey):
            _, hashing = _curve(key.curve)
            key.verify(_der(value), data, ECDSA(hashing()))
        else:
            key.verify(value, data, PKCS1v15(), _RSA_HASHES[kind]())
    except InvalidSignature as error:
        raise SignatureInvalid("the signature does not verify") from error


def _split(signature: bytes) -> tuple[str, bytes]:
    reader = WireReader(signature, _WHAT)
    kind, value = reader.string().decode("ascii", "replace"), reader.string()
    reader.end()
    return kind, value


def _curve(curve: EllipticCurve) -> tuple[str, type[HashAlgorithm]]:
    if curve.name not in _CURVES:
        raise UsageError(f"SSH has no signatures by keys of curve {curve.name}")
    return _CURVES[curve.name]


def _der(value: bytes) -> bytes:
    """Return r and s as DER, from the two mpints of RFC 5656, section 3.1.2."""
    reader = WireReader(value, _WHAT)
    r, s = (int.from_bytes(reader.string()) for _ in range(2))
    reader.end()
    if _mpint(r) + _mpint(s) != value:
        raise MalformedInput("the signature is not in its canonical encoding")
    return encode_dss_signature(r, s)


def _mpint(number: int) -> bytes:
    """Encode a number that is not negative (RFC 4251, section 5)."""
    return string(number.to_bytes((number.bit_length() + 8) // 8)) if number else string(b"")
