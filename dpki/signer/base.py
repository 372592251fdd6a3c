"""What a signer is, wherever its key lives."""

from __future__ import annotations

import enum
from typing import Protocol, Self

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.signer.uri import KeyUri


class KeyType(enum.Enum):
    """What a CA's key can be; the value is what people write.

    RSA3072 is made with 3,072 bits; a key that was made elsewhere may have up to 4,096.
    """

    ED25519 = "ed25519"
    P256 = "p256"
    P384 = "p384"
    RSA3072 = "rsa3072"


class Signer(Protocol):
    """A CA's key, opened for signing; to be closed after use, best by `with`.

    Every signature of `private_key` has been verified under `public_key` before it is released, and
    any number of threads may sign at once. After `close`, signing raises `TokenError`.
    """

    @property
    def uri(self) -> KeyUri:
        """Where the key is."""
        ...

    @property
    def key_type(self) -> KeyType:
        """What it is."""
        ...

    @property
    def public_key(self) -> AuthorityPublicKey:
        """Its public half."""
        ...

    @property
    def private_key(self) -> AuthorityPrivateKey:
        """What `cryptography`'s builders take to sign; it signs and does nothing else."""
        ...

    def close(self) -> None:
        """Let go of the key; doing it twice does nothing."""
        ...

    def __enter__(self) -> Self:
        """Return the signer."""
        ...

    def __exit__(self, *_: object) -> None:
        """Close it."""
        ...
