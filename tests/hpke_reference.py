"""Opening a hybrid-sealed bundle by the letter of the specifications, as a second opinion.

RFC 9180 (base mode, single shot) over X-Wing (draft-connolly-cfrg-xwing-kem). Shares nothing with
dpki.bundle.seal but the primitives: ML-KEM-768, X25519, SHA-3, HMAC, ChaCha20-Poly1305.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEM_ID, KDF_ID, AEAD_ID = 0x647A, 0x0001, 0x0003
CIPHERTEXT_BYTES, ENC_BYTES = 1088, 1120
_SUITE_ID = b"HPKE" + b"".join(i.to_bytes(2, "big") for i in (KEM_ID, KDF_ID, AEAD_ID))
_LABEL = bytes.fromhex("5c2e2f2f5e5c")


def open_hybrid(seed: bytes, info: bytes, sealed: bytes) -> bytes:
    """Return the plaintext of `enc ‖ ciphertext` for the X-Wing private key `seed`."""
    shared = _decapsulate(seed, sealed[:ENC_BYTES])
    context = b"\0" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key = _expand(secret, b"key", context, 32)
    nonce = _expand(secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed[ENC_BYTES:], b"")


def _decapsulate(seed: bytes, enc: bytes) -> bytes:
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    ciphertext, ephemeral = enc[:CIPHERTEXT_BYTES], enc[CIPHERTEXT_BYTES:]
    return hashlib.sha3_256(
        mlkem.decapsulate(ciphertext)
        + x25519.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        + ephemeral
        + x25519.public_key().public_bytes_raw()
        + _LABEL
    ).digest()


def _extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + _SUITE_ID + label + material, hashlib.sha256)


def _expand(secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + _SUITE_ID + label + info
    return hmac.digest(secret, labelled + b"\1", hashlib.sha256)[:length]
