"""Locators: the chain points at a bundle without saying to the world which one (docs/formats.md).

The digest is masked with a key that only the CA's issuer and the device can derive: X25519, then
HKDF-SHA256 (RFC 5869). A locator that was tampered with leads to content that isn't there, which
delays; everything that it leads to is checked all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dpki.bundle.seal import SealingSecrets
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityId, Hash32

_INFO = b"dpki locator v1"


@dataclass(frozen=True)
class IssuerKey:
    """A CA's X25519 key for locators, fixed for the CA's life; it can unmask them, nothing else.

    Attributes:
        private: 32 bytes.
    """

    private: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> IssuerKey:
        """Make one from the system's randomness."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, data: bytes) -> IssuerKey:
        """Parse what `dump` wrote.

        Raises:
            MalformedInput: It does not have 32 bytes.
        """
        if len(data) != Hash32.size:
            raise MalformedInput(f"an issuer key file has 32 bytes, not {len(data)}")
        return cls(data)

    def dump(self) -> bytes:
        """Return the secret content of the issuer key file."""
        return self.private

    @property
    def public(self) -> Hash32:
        """The public key, as it stands in the AuthorityRegistry."""
        key = X25519PrivateKey.from_private_bytes(self.private).public_key()
        return Hash32(key.public_bytes_raw())


def locator_for(
    issuer: IssuerKey,
    device_public: bytes,
    ca: AuthorityId,
    device: Address,
    certificate_hash: Hash32,
    digest: Hash32,
) -> Hash32:
    """Return the locator that leads this device to the bundle with this digest.

    Args:
        device_public: The `x25519` sealing key of its key document.

    Raises:
        MalformedInput: The device's key is unusable.
    """
    return _xor(digest, _mask(issuer.private, device_public, ca, device, certificate_hash))


def digest_from_locator(
    device_secrets: SealingSecrets,
    issuer_public: bytes,
    ca: AuthorityId,
    device: Address,
    certificate_hash: Hash32,
    locator: Hash32,
) -> Hash32:
    """Return the digest of the bundle that the locator leads to.

    Args:
        issuer_public: The CA's issuer key, from the AuthorityRegistry.

    Raises:
        MalformedInput: The issuer's key is unusable.
    """
    mask = _mask(device_secrets.x25519, issuer_public, ca, device, certificate_hash)
    return _xor(locator, mask)


def _mask(
    private: bytes, public: bytes, ca: AuthorityId, device: Address, certificate_hash: Hash32
) -> bytes:
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        # OpenSSL refuses an all-zero secret by itself (RFC 7748, section 6.1).
        raise MalformedInput("an X25519 key for a locator is malformed or of low order") from error
    info = _INFO + device + certificate_hash
    return HKDF(algorithm=SHA256(), length=32, salt=bytes(ca), info=info).derive(shared)


def _xor(left: bytes, right: bytes) -> Hash32:
    return Hash32(bytes(a ^ b for a, b in zip(left, right, strict=True)))
