"""Private keys as `cryptography` knows them, whose signatures are made somewhere else.

One small class per key type serves everything that signs through `cryptography`: SSH certificates,
X.509, requests and lists. They subclass its abstract classes, which is its documented way to bring
in hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.utils import Buffer

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.errors import NotAllowed, TokenError, UsageError
from dpki.signer.base import KeyType

SignRaw = Callable[[bytes], bytes]
"""Signs as PKCS#11 does: the message for Ed25519 (CKM_EDDSA); the digest for ECDSA, giving r and s
(CKM_ECDSA); the DigestInfo for RSA (CKM_RSA_PKCS). Every module has these."""

CURVE_HASHES: dict[str, type[HashAlgorithm]] = {"secp256r1": SHA256, "secp384r1": SHA384}
"""The hash that goes with a curve (RFC 5656, section 6.2.1)."""

DIGEST_INFO: dict[type[HashAlgorithm], bytes] = {
    SHA256: bytes.fromhex("3031300d060960864801650304020105000420"),
    SHA384: bytes.fromhex("3041300d060960864801650304020205000430"),
    SHA512: bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What stands before a digest in a PKCS#1 v1.5 signature (RFC 8017, section 9.2, note 1)."""


def adapt(public_key: AuthorityPublicKey, sign: SignRaw) -> AuthorityPrivateKey:
    """Return the private key that signs by calling `sign`."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return Ed25519Adapter(public_key, sign)
    if isinstance(public_key, rsa.RSAPublicKey):
        return RsaAdapter(public_key, sign)
    return EcdsaAdapter(public_key, sign)


def key_type_of(public_key: AuthorityPublicKey) -> KeyType:
    """Return what kind of key it is."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return KeyType.ED25519
    if isinstance(public_key, rsa.RSAPublicKey):
        return KeyType.RSA3072
    return KeyType.P256 if public_key.key_size == 256 else KeyType.P384


class _Kept:
    """What no key does that is kept elsewhere."""

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def private_bytes_raw(self) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        raise _no_export()

    def exchange(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a CA's key signs and does nothing else."""
        raise NotAllowed("a CA's key does not agree on keys")

    def decrypt(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a CA's key signs and does nothing else."""
        raise NotAllowed("a CA's key does not decrypt")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class Ed25519Adapter(_Kept, ed25519.Ed25519PrivateKey):
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


class EcdsaAdapter(_Kept, ec.EllipticCurvePrivateKey):
    """A P-256 or P-384 key that signs by calling `sign`, and releases only what verifies."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign: SignRaw) -> None:
        self._public_key = public_key
        self._sign = sign
        self._hashing = CURVE_HASHES[public_key.curve.name]()

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256 or P-384."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """256 or 384."""
        return self._public_key.key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign `data` by ECDSA with the hash of the curve: SHA-256, or SHA-384.

        Returns:
            The signature in DER, as `cryptography` gives it.

        Raises:
            UsageError: Another algorithm is asked for.
            TokenError: Signing failed, or gave a signature that does not verify; it is withheld.
        """
        hashing = signature_algorithm.algorithm
        if not isinstance(signature_algorithm, ec.ECDSA) or not _is(hashing, self._hashing):
            raise UsageError(
                f"a CA with a {self.curve.name} key signs by ECDSA with"
                f" {self._hashing.name.upper()} only"
            )
        digest = _digest(bytes(data), hashing, self._hashing)
        raw = self._sign(digest)
        size = self._hashing.digest_size
        if len(raw) != 2 * size:
            raise _bad_signature()
        signature = encode_dss_signature(int.from_bytes(raw[:size]), int.from_bytes(raw[size:]))
        try:
            self._public_key.verify(signature, digest, ec.ECDSA(Prehashed(self._hashing)))
        except InvalidSignature as error:
            raise _bad_signature() from error
        return signature


class RsaAdapter(_Kept, rsa.RSAPrivateKey):
    """An RSA key that signs by calling `sign`, and releases only what verifies."""

    def __init__(self, public_key: rsa.RSAPublicKey, sign: SignRaw) -> None:
        self._public_key = public_key
        self._sign = sign

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return self._public_key.key_size

    def sign(
        self,
        data: Buffer,
        padding: AsymmetricPadding,
        algorithm: Prehashed | HashAlgorithm | NoDigestInfo,
    ) -> bytes:
        """Sign `data` by RSASSA-PKCS1-v1_5 with SHA-256, SHA-384 or SHA-512.

        Raises:
            UsageError: Another algorithm is asked for.
            TokenError: Signing failed, or gave a signature that does not verify; it is withheld.
        """
        hashing = next((h for h in DIGEST_INFO if _is(algorithm, h())), None)
        if hashing is None or not isinstance(padding, PKCS1v15):
            raise UsageError("a CA with an RSA key signs by PKCS#1 v1.5 with SHA-2 only")
        digest = _digest(bytes(data), algorithm, hashing())
        signature = self._sign(DIGEST_INFO[hashing] + digest)
        try:
            self._public_key.verify(signature, digest, PKCS1v15(), Prehashed(hashing()))
        except InvalidSignature as error:
            raise _bad_signature() from error
        return signature


def _is(asked: object, hashing: HashAlgorithm) -> bool:
    if isinstance(asked, Prehashed):
        return asked.digest_size == hashing.digest_size
    return isinstance(asked, HashAlgorithm) and asked.name == hashing.name


def _digest(data: bytes, asked: object, hashing: HashAlgorithm) -> bytes:
    """Return the digest: of the data, or the data itself where it is one.

    Raises:
        UsageError: It is said to be a digest, and has not its length.
    """
    if isinstance(asked, Prehashed):
        if len(data) != hashing.digest_size:
            raise UsageError("what is to be signed is no digest of the hash that is named")
        return data
    hasher = Hash(hashing)
    hasher.update(data)
    return hasher.finalize()


def _bad_signature() -> TokenError:
    return TokenError(
        "a signature of the token does not verify under the CA's public key; it is withheld",
        hint="the private and the public key in the token may not belong together",
    )


def _no_export() -> NotAllowed:
    return NotAllowed("a CA's private key does not leave its token")
