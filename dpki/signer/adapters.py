"""Private keys as `cryptography` knows them, whose signatures are made somewhere else.

One small class per key type serves everything that signs through `cryptography`: SSH certificates,
X.509, requests and lists. They subclass its abstract classes, which is its documented way to bring
in hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.utils import Buffer

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.errors import NotAllowed, TokenError, UsageError
from dpki.signer.base import KeyType

SignRaw = Callable[[bytes], bytes]
"""Signs as PKCS#11 does: the message for Ed25519; the SHA-256 digest for P-256, giving r and s."""

_COORDINATE = 32


def adapt(public_key: AuthorityPublicKey, sign: SignRaw) -> AuthorityPrivateKey:
    """Return the private key that signs by calling `sign`."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return Ed25519Adapter(public_key, sign)
    return P256Adapter(public_key, sign)


def key_type_of(public_key: AuthorityPublicKey) -> KeyType:
    """Return what kind of key it is."""
    return KeyType.ED25519 if isinstance(public_key, ed25519.Ed25519PublicKey) else KeyType.P256


class Ed25519Adapter(ed25519.Ed25519PrivateKey):
    """An Ed25519 key that signs by calling `sign`, and releases only what verifies."""

    def __init__(self, public_key: ed25519.Ed25519PublicKey, sign: SignRaw) -> None:
        self._public_key = public_key
        self._sign = sign

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """Return the public half."""
        return self._public_key

    def sign(self, data: Buffer) -> bytes:
        """Sign `data`.

        Raises:
            TokenError: Signing failed, or gave a signature that does not verify; it is withheld.
        """
        message = bytes(data)
        signature = self._sign(message)
        try:
            self._public_key.verify(signature, message)
        except InvalidSignature as error:
            raise _bad_signature() from error
        return signature

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def private_bytes_raw(self) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def __copy__(self) -> Ed25519Adapter:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Ed25519Adapter:
        return self


class P256Adapter(ec.EllipticCurvePrivateKey):
    """A P-256 key that signs by calling `sign`, and releases only what verifies."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign: SignRaw) -> None:
        self._public_key = public_key
        self._sign = sign

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """256."""
        return self._public_key.key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign `data` by ECDSA with SHA-256.

        Returns:
            The signature in DER, as `cryptography` gives it.

        Raises:
            UsageError: Another algorithm is asked for.
            TokenError: Signing failed, or gave a signature that does not verify; it is withheld.
        """
        digest = _digest(bytes(data), signature_algorithm)
        raw = self._sign(digest)
        if len(raw) != 2 * _COORDINATE:
            raise _bad_signature()
        r, s = int.from_bytes(raw[:_COORDINATE]), int.from_bytes(raw[_COORDINATE:])
        signature = encode_dss_signature(r, s)
        try:
            self._public_key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))
        except InvalidSignature as error:
            raise _bad_signature() from error
        return signature

    def exchange(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a CA's key signs and does nothing else."""
        raise NotAllowed("a CA's key does not agree on keys")

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def __copy__(self) -> P256Adapter:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> P256Adapter:
        return self


def _digest(data: bytes, algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
    hashing = algorithm.algorithm
    if isinstance(hashing, Prehashed) and hashing.digest_size == _COORDINATE == len(data):
        return data
    if not isinstance(algorithm, ec.ECDSA) or not isinstance(hashing, SHA256):
        raise UsageError("a P-256 CA signs by ECDSA with SHA-256 only")
    hasher = Hash(SHA256())
    hasher.update(data)
    return hasher.finalize()


def _bad_signature() -> TokenError:
    return TokenError(
        "a signature of the token does not verify under the CA's public key; it is withheld",
        hint="the private and the public key in the token may not belong together",
    )


def _no_export() -> NotAllowed:
    return NotAllowed("a CA's private key does not leave its token")
