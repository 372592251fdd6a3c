"""Sealing: only one device can open a bundle, and its size tells little (docs/formats.md, Bundle).

Two suites. `x25519` is libsodium's sealed box. `mlkem768-x25519` is HPKE (RFC 9180) with the hybrid
KEM MLKEM768-X25519, also known as X-Wing (draft-connolly-cfrg-xwing-kem): whoever stores what
reached IPFS today must break both to read it later (claim T6). Neither authenticates who sealed;
the anchor on chain and the CA's signature do.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
)
from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.padding import MAXIMUM_FRAMED, frame, is_size_class, unframe
from dpki.errors import MalformedInput, NotForThisDevice
from dpki.model import Hash32

MAXIMUM_SEALED = 1 << 20
"""Bytes that a sealed bundle can never reach; what to ask of a store, at most."""

MAXIMUM_PLAINTEXT = MAXIMUM_FRAMED
"""Bytes that fit in the largest size class."""

_VERSION = 1
_MAGIC = b"dpki"
_HEADER = len(_MAGIC) + 2
_INFO = b"dpki bundle v1"
_X25519_BYTES = 32
_MLKEM_BYTES = 1184
_SEED_BYTES = 32
_HYBRID_BYTES = _MLKEM_BYTES + _X25519_BYTES


class Suite(enum.IntEnum):
    """How a bundle is sealed; the number is the byte in its header."""

    X25519 = 1
    MLKEM768_X25519 = 2

    @property
    def label(self) -> str:
        """The word that people see, and the key's name in key documents."""
        return self.name.lower().replace("_", "-")

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds to the padded plaintext."""
        # an ephemeral X25519 key and a tag; an encapsulated key (1,088 + 32) and a tag
        return 48 if self is Suite.X25519 else 1136


@dataclass(frozen=True)
class SealingKeys:
    """A device's public sealing keys, checked to be usable.

    Attributes:
        x25519: 32 bytes; also what locators are masked for.
        hybrid: ML-KEM-768 encapsulation key ‖ an X25519 public key of its own, 1,216 bytes; None
            where the device offers none.

    Raises:
        MalformedInput: A key has the wrong length, or is one that anybody can compute the secret
            of (X25519 points of low order) or that isn't in ML-KEM's range.
    """

    x25519: bytes
    hybrid: bytes | None = None

    def __post_init__(self) -> None:
        """Check both keys, so that sealing can't fail later in the middle of a batch."""
        _verify_point(self.x25519)
        if self.hybrid is not None:
            _hybrid_public(self.hybrid)

    @property
    def suite(self) -> Suite:
        """The strongest suite that these keys allow; the only one that is used."""
        return Suite.X25519 if self.hybrid is None else Suite.MLKEM768_X25519

    @property
    def point(self) -> bytes:
        """The X25519 public key that bundles are sealed for: the hybrid key's half, if any."""
        return self.x25519 if self.hybrid is None else self.hybrid[_MLKEM_BYTES:]

    def for_prekey(self, x25519: bytes) -> SealingKeys:
        """Return the keys to seal with so that only a one-time key opens it.

        Its X25519 key takes the lasting one's place, beside the same ML-KEM key: once it is erased
        nobody opens the bundle again who can't break X25519.

        Raises:
            MalformedInput: It is of low order, or has another length.
        """
        hybrid = None if self.hybrid is None else self.hybrid[:_MLKEM_BYTES] + x25519
        return SealingKeys(x25519, hybrid)


@dataclass(frozen=True)
class SealingSecrets:
    """A device's private sealing keys; they never leave it.

    Attributes:
        x25519: 32 bytes.
        hybrid: 32-byte seed, expanded as in draft-connolly-cfrg-xwing-kem, section 5.2; None for a
            device without the post-quantum suite.
    """

    x25519: bytes = field(repr=False)
    hybrid: bytes | None = field(repr=False)

    @classmethod
    def generate(cls) -> SealingSecrets:
        """Make both key pairs from the system's randomness."""
        return cls(
            X25519PrivateKey.generate().private_bytes_raw(), secrets.token_bytes(_SEED_BYTES)
        )

    @classmethod
    def load(cls, data: bytes) -> SealingSecrets:
        """Parse what `dump` wrote.

        Raises:
            MalformedInput: It is something else.
        """
        what = "sealing key file"
        value = loads_strict(data, 256)
        verify_version(value, what, _VERSION)
        fields = fields_of(
            value,
            what,
            required={"v": int, Suite.X25519.label: bytes},
            optional={Suite.MLKEM768_X25519.label: bytes},
        )
        x25519, hybrid = fields[Suite.X25519.label], fields.get(Suite.MLKEM768_X25519.label)
        if len(x25519) != _X25519_BYTES or (hybrid is not None and len(hybrid) != _SEED_BYTES):
            raise MalformedInput("a key in the sealing key file has the wrong length")
        return cls(x25519, hybrid)

    def dump(self) -> bytes:
        """Return the secret content of the device's sealing key file."""
        value: dict[str, object] = {"v": _VERSION, Suite.X25519.label: self.x25519}
        if self.hybrid is not None:
            value[Suite.MLKEM768_X25519.label] = self.hybrid
        return dumps(value)

    @property
    def point(self) -> bytes:
        """The X25519 private key that bundles are sealed for: the hybrid key's half, if any."""
        return self.x25519 if self.hybrid is None else _expand(self.hybrid)[1]

    @property
    def public(self) -> SealingKeys:
        """The public keys, as they stand in the key document."""
        x25519 = X25519PrivateKey.from_private_bytes(self.x25519).public_key().public_bytes_raw()
        if self.hybrid is None:
            return SealingKeys(x25519)
        mlkem, half = _expand(self.hybrid)
        point = X25519PrivateKey.from_private_bytes(half).public_key().public_bytes_raw()
        return SealingKeys(x25519, mlkem.public_key().public_bytes_raw() + point)


def seal(plaintext: bytes, keys: SealingKeys, context: Hash32) -> bytes:
    """Pad and seal for one device, with the strongest suite that it offers.

    Args:
        plaintext: At most `MAXIMUM_PLAINTEXT` bytes, not framed.
        context: What the bundle is for; the hybrid suite binds it, the other one relies on the
            plaintext's own copy (`dpki.bundle.content.open_bundle` checks it in both).

    Raises:
        MalformedInput: The plaintext is too large.
    """
    framed = frame(plaintext)
    # Nothing here can fail for the keys' sake: `SealingKeys` holds no unusable ones.
    if keys.hybrid is None:
        sealed = bytes(SealedBox(PublicKey(keys.x25519)).encrypt(framed))
    else:
        sealed = _hpke().encrypt(framed, _hybrid_public(keys.hybrid), info=_INFO + context)
    return _MAGIC + bytes([_VERSION, keys.suite]) + sealed


def open_sealed(
    data: bytes, secrets_: SealingSecrets, context: Hash32, prekey: bytes | None = None
) -> bytes:
    """Open what `seal` made for this device.

    Args:
        prekey: The X25519 private key of a one-time key, to open what was sealed for that; None for
            what was sealed for the lasting keys.

    Returns:
        The plaintext, without frame and padding.

    Raises:
        MalformedInput: Not a sealed bundle, of an unknown version or suite, of a size that no
            bundle has, padded otherwise than `seal` does, or sealed with the weaker suite although
            this device offers the stronger (such a key may have been read by others).
        NotForThisDevice: Well-formed, but this device's keys don't open it: it is somebody else's,
            altered, or (with the hybrid suite) sealed for another context.
    """
    suite = suite_of(data)
    offered = Suite.X25519 if secrets_.hybrid is None else Suite.MLKEM768_X25519
    if suite < offered:
        raise MalformedInput(
            f"the bundle is sealed with {suite.label} although this device offers {offered.label}",
            hint="issue it again; its private key, if any, should not be used",
        )
    if suite > offered:
        raise NotForThisDevice(
            f"the bundle is sealed with {suite.label}, for which this device has no key"
        )
    ciphertext = data[_HEADER:]
    try:
        point = secrets_.point if prekey is None else prekey
        if secrets_.hybrid is None:
            framed = bytes(SealedBox(PrivateKey(point)).decrypt(ciphertext))
        else:
            private = MLKEM768X25519PrivateKey(
                _expand(secrets_.hybrid)[0], X25519PrivateKey.from_private_bytes(point)
            )
            framed = _hpke().decrypt(ciphertext, private, info=_INFO + context)
    except (CryptoError, InvalidTag, RuntimeError, ValueError) as error:
        raise NotForThisDevice(
            "this device's keys do not open the bundle: it is another device's, or altered"
        ) from error
    return unframe(framed)


def suite_of(data: bytes) -> Suite:
    """Return the suite of a sealed bundle, from its header and size alone.

    Raises:
        MalformedInput: It is no sealed bundle of this version.
    """
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEADER:
        raise MalformedInput("this is not a sealed bundle")
    version, number = data[len(_MAGIC)], data[len(_MAGIC) + 1]
    if version != _VERSION:
        raise MalformedInput(
            f"this is a sealed bundle of version {version}; only version {_VERSION} is known here",
            hint="a newer dpki may have made it",
        )
    try:
        suite = Suite(number)
    except ValueError as error:
        raise MalformedInput(f"the bundle is sealed with an unknown suite, {number}") from error
    if not is_size_class(len(data) - _HEADER - suite.overhead):
        raise MalformedInput("the sealed bundle has a size that no bundle has: cut off?")
    return suite


def _hpke() -> HpkeSuite:
    return HpkeSuite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, bytes]:
    """Return the two private keys of an X-Wing seed: SHAKE-256 gives 64 bytes and 32."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]


def _hybrid_public(key: bytes) -> MLKEM768X25519PublicKey:
    if len(key) != _HYBRID_BYTES:
        raise MalformedInput(f"a hybrid sealing key has {_HYBRID_BYTES} bytes, not {len(key)}")
    point = key[_MLKEM_BYTES:]
    _verify_point(point)
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(key[:_MLKEM_BYTES])
    except ValueError as error:
        raise MalformedInput("the ML-KEM-768 part of a sealing key is not valid") from error
    return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(point))


def _verify_point(point: bytes) -> None:
    """Refuse low order: the secret shared with anybody is zero (RFC 7748, section 6.1)."""
    if len(point) != _X25519_BYTES:
        raise MalformedInput(f"an X25519 key has {_X25519_BYTES} bytes, not {len(point)}")
    try:
        X25519PrivateKey.from_private_bytes(bytes(32)).exchange(
            X25519PublicKey.from_public_bytes(point)
        )
    except ValueError as error:
        raise MalformedInput("an X25519 sealing key is a point of low order") from error
