"""A wallet whose key is in a PKCS#11 token: made there, used there, never taken out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_keys.datatypes import PublicKey as Point
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from dpki.errors import TokenError
from dpki.model import Address
from dpki.signer.pin import PinSource
from dpki.signer.pkcs11 import OpenKey, make_key, open_key
from dpki.signer.pkcs11_keys import SECP256K1, PublicKey
from dpki.signer.uri import Pkcs11Uri
from dpki.transactions.wallet import Wallet

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1's group (SEC 2, section 2.4.1)."""


@dataclass(frozen=True)
class TokenWallet(Wallet):
    """An account whose key is in a token; to be closed after use.

    Attributes:
        address: The account.
        uri: Where its key is.
    """

    address: Address
    uri: Pkcs11Uri
    _key: OpenKey = field(repr=False, compare=False)
    _public_key: Point = field(repr=False, compare=False)

    @classmethod
    def of(cls, key: OpenKey) -> TokenWallet:
        """Return the wallet of an open key, once it has signed something that verifies.

        Raises:
            TokenError: The token failed, or its private and public key don't belong together.
        """
        public_key = _public(key.public_key)
        address = Address(public_key.to_canonical_address())
        wallet = cls(address, key.uri, key, public_key)
        wallet.sign_digest(secrets.token_bytes(32))
        return wallet

    def sign_digest(self, digest: bytes) -> Signature:
        """Sign a Keccak-256 digest.

        A token gives r and s only. Of the two s that are valid the lower one counts (EIP-2), and
        which point r belongs to is found by trying both against the token's public key.

        Raises:
            TokenError: The token failed, or gave a signature that does not verify; it is withheld.
        """
        raw = self._key.sign(digest)
        if len(raw) == 64:
            r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
            s = min(s, _ORDER - s)
            for v in (0, 1):
                signature = _signature(v, r, s)
                if signature is not None and self._recovered(signature, digest):
                    return signature
        raise TokenError(
            "a signature of the token does not verify under the wallet's key; it is withheld",
            hint="the private and the public key in the token may not belong together",
        )

    def close(self) -> None:
        """Let go of the key; doing it twice does nothing."""
        self._key.close()

    def _recovered(self, signature: Signature, digest: bytes) -> bool:
        try:
            return bool(signature.recover_public_key_from_msg_hash(digest) == self._public_key)
        except (BadSignature, ValueError):
            return False


def open_token_wallet(uri: Pkcs11Uri, pin: PinSource, module: Path | None = None) -> TokenWallet:
    """Open the wallet whose secp256k1 key the URI names.

    Raises:
        TokenNotFound, KeyNotFound, AmbiguousKey: Not exactly one token and key match.
        PinIncorrect: The token refused the PIN.
        TokenError: The key is of another type, could be taken out of the token, or the token fails.
    """
    return open_key(uri, pin, module, [SECP256K1], TokenWallet.of)


def create_token_wallet(uri: Pkcs11Uri, pin: PinSource, module: Path | None = None) -> Address:
    """Make a secp256k1 key in the token, and return its account.

    Raises:
        AmbiguousKey: The label is taken; nothing was made.
        TokenNotFound, PinIncorrect, TokenError: As `make_key`.
    """
    return Address(_public(make_key(uri, SECP256K1, pin, module)).to_canonical_address())


def _public(key: PublicKey) -> Point:
    if not isinstance(key, EllipticCurvePublicKey):
        raise TokenError("the wallet's key is on no elliptic curve")
    return Point(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:])


def _signature(v: int, r: int, s: int) -> Signature | None:
    try:
        return Signature(vrs=(v, r, s))
    except (BadSignature, ValidationError):
        return None
