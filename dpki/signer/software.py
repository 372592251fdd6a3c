"""A signer whose key is in memory: the fake that tests use where a token is not the point.

It keeps every promise of a token's signer (tests/conformance/test_signers.py) but the one that
matters in production: the key is in this process. Nothing outside the tests makes one.
"""

from __future__ import annotations

from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.errors import TokenError
from dpki.signer.adapters import adapt, key_type_of
from dpki.signer.base import KeyType
from dpki.signer.uri import Pkcs11Uri


class SoftwareSigner:
    """A signer in memory; see `dpki.signer.base.Signer` for what it promises.

    Args:
        key: The key itself.
        label: What its URI calls it.
    """

    def __init__(
        self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, label: str = "ca"
    ) -> None:
        self._key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | None = key
        self._uri = Pkcs11Uri(token="memory", object=label)
        self._public_key = key.public_key()
        self._private_key = adapt(self._public_key, self._sign)

    @classmethod
    def generate(cls, key_type: KeyType, label: str = "ca") -> SoftwareSigner:
        """Return a signer with a new key."""
        if key_type is KeyType.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate(), label)
        return cls(ec.generate_private_key(ec.SECP256R1()), label)

    @property
    def uri(self) -> Pkcs11Uri:
        """A URI that no token answers to."""
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
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(Prehashed(SHA256()))))
        return r.to_bytes(32) + s.to_bytes(32)
