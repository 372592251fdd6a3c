"""A signer whose key is in memory: of a key in a file (`file`), and in tests.

It keeps every promise of a token's signer (tests/conformance/test_signers.py) but the one that
matters most: the key is in this process, and whoever reads its memory has it.
"""

from __future__ import annotations

from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.errors import TokenError
from dpki.signer.adapters import CURVE_HASHES, DIGEST_INFO, adapt, key_type_of
from dpki.signer.base import KeyType
from dpki.signer.uri import KeyUri, Pkcs11Uri

_RSA_BITS = 3072


def make_private_key(key_type: KeyType) -> AuthorityPrivateKey:
    """Return a new key, in memory."""
    if key_type is KeyType.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if key_type is KeyType.RSA3072:
        return rsa.generate_private_key(65537, _RSA_BITS)
    curve = ec.SECP256R1() if key_type is KeyType.P256 else ec.SECP384R1()
    return ec.generate_private_key(curve)


class SoftwareSigner:
    """A signer in memory; see `dpki.signer.base.Signer` for what it promises.

    Args:
        key: The key itself.
        uri: Where it came from; None for nowhere.
    """

    def __init__(self, key: AuthorityPrivateKey, uri: KeyUri | None = None) -> None:
        self._key: AuthorityPrivateKey | None = key
        self._uri = uri or Pkcs11Uri(token="memory", object="ca")
        self._public_key = key.public_key()
        self._private_key = adapt(self._public_key, self._sign)

    @classmethod
    def generate(cls, key_type: KeyType, label: str = "ca") -> SoftwareSigner:
        """Return a signer with a new key, under a URI that no token answers to."""
        return cls(make_private_key(key_type), Pkcs11Uri(token="memory", object=label))

    @property
    def uri(self) -> KeyUri:
        """Where the key came from."""
        return self._uri

    @property
    def key_type(self) -> KeyType:
        """What the key is."""
        return key_type_of(self._public_key)

    @property
    def public_key(self) -> AuthorityPublicKey:
        """The public half."""
        return self._public_key

    @property
    def private_key(self) -> AuthorityPrivateKey:
        """What `cryptography`'s builders take to sign."""
        return self._private_key

    def close(self) -> None:
        """Forget the key."""
        self._key = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SoftwareSigner({str(self._uri)!r})"

    def _sign(self, data: bytes) -> bytes:
        key = self._key
        if key is None:
            raise TokenError(f"the signer {self._uri} is closed")
        return raw_signature(key, data)


def raw_signature(key: AuthorityPrivateKey, data: bytes) -> bytes:
    """Sign as a token does; see `adapters.SignRaw`."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        hashing = CURVE_HASHES[key.curve.name]()
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(Prehashed(hashing))))
        return r.to_bytes(hashing.digest_size) + s.to_bytes(hashing.digest_size)
    prefix, hashing = next(
        (prefix, known()) for known, prefix in DIGEST_INFO.items() if data.startswith(prefix)
    )
    return key.sign(data[len(prefix) :], PKCS1v15(), Prehashed(hashing))
