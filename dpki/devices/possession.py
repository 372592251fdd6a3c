"""Proof that a device holds the private key of every public key that it publishes.

One signature a key, over the hash of the very request that carries the key document, so that it
can't be taken over into another. SSH keys sign as they are (Ed25519, RFC 8032). X25519 keys can
only agree on secrets, and sign by XEdDSA (https://signal.org/docs/specifications/xeddsa/, revision
1): the same scalar on the birationally equivalent Edwards curve, verified as Ed25519.

Of a hybrid sealing key the X25519 half is proven. Nothing can prove the ML-KEM half in one message:
whoever makes a ciphertext knows what it hides. That half is proven by the first bundle opened.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_negate,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)

from dpki.devices.document import KeyDocument, ed25519_of
from dpki.devices.keys import DeviceKeys
from dpki.errors import MalformedInput, SignatureInvalid

PROOF_BYTES = 64

_PURPOSE = b"dpki key possession v1\0"
_PRIME = 2**255 - 19
# XEdDSA's hash_1: 32 bytes that begin no encoding of a point.
_NONCE_PREFIX = b"\xfe" + b"\xff" * 31


def prove_possession(keys: DeviceKeys, document: KeyDocument, digest: bytes) -> tuple[bytes, ...]:
    """Return one signature for each key of the document, in `named_keys`' order.

    Args:
        keys: They must be those of the document.
        digest: The EIP-712 hash that the device's identity signs, 32 bytes.

    Raises:
        MalformedInput: The document lists a key that is not this device's.
    """
    message = _PURPOSE + digest
    ssh = {
        key.public_key().public_bytes_raw(): key
        for key in (*keys.ssh_host, *keys.ssh_user, *(prekey.ssh for prekey in keys.prekeys))
    }
    agreement = {
        keys.sealing.public.x25519: keys.sealing.x25519,
        keys.sealing.public.point: keys.sealing.point,
        **{prekey.x25519_public: prekey.x25519 for prekey in keys.prekeys},
    }
    proofs: list[bytes] = []
    for name, is_ssh, public in named_keys(document):
        if is_ssh and public in ssh:
            proofs.append(ssh[public].sign(message))
        elif not is_ssh and public in agreement:
            proofs.append(sign_xeddsa(agreement[public], message))
        else:
            raise MalformedInput(f"{name} of the key document is not this device's")
    return tuple(proofs)


def verify_possession(document: KeyDocument, digest: bytes, proofs: Sequence[bytes]) -> None:
    """Check that every key of the document has signed.

    Raises:
        SignatureInvalid: One has not; the message says which.
        MalformedInput: There are more or fewer proofs than keys.
    """
    message = _PURPOSE + digest
    keys = list(named_keys(document))
    if len(keys) != len(proofs):
        raise MalformedInput(f"the request proves {len(proofs)} keys and lists {len(keys)}")
    for (name, is_ssh, public), proof in zip(keys, proofs, strict=True):
        verified = _verify_ed25519 if is_ssh else verify_xeddsa
        if not verified(public, message, proof):
            raise SignatureInvalid(
                f"the request does not prove that the device has {name}",
                hint="it may be another's key; let the device make a new request",
            )


def named_keys(document: KeyDocument) -> Iterator[tuple[str, bool, bytes]]:
    """Yield every key that has to be proven.

    Its name in messages, whether it is an SSH key (or one that agrees on secrets), its 32 bytes.

    Raises:
        MalformedInput: An SSH key is of a type that devices don't make.
    """
    yield "its sealing key", False, document.sealing.x25519
    if document.sealing.hybrid is not None:
        yield "its hybrid sealing key", False, document.sealing.point
    for what, blobs in (("host", document.ssh_host), ("client", document.ssh_user)):
        for number, blob in enumerate(blobs, 1):
            yield f"SSH {what} key {number}", True, ed25519_of(blob)
    for prekey in document.prekeys:
        yield f"the SSH key of prekey {prekey.number}", True, prekey.ssh
        yield f"the sealing key of prekey {prekey.number}", False, prekey.x25519


def sign_xeddsa(private: bytes, message: bytes) -> bytes:
    """Sign with an X25519 private key.

    Args:
        private: 32 bytes, as RFC 7748 takes them; clamped here.
    """
    clamped = bytearray(private)
    clamped[0] &= 248
    clamped[31] = (clamped[31] & 127) | 64
    point = crypto_scalarmult_ed25519_base_noclamp(bytes(clamped))
    scalar = crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32))
    if point[31] & 0x80:
        # Of the two points with this Montgomery form, the one with an even x has the public key.
        scalar = crypto_core_ed25519_scalar_negate(scalar)
    public = point[:31] + bytes([point[31] & 0x7F])
    nonce = _reduced(_NONCE_PREFIX, scalar, message, secrets.token_bytes(64))
    commitment = crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = _reduced(commitment, public, message)
    response = crypto_core_ed25519_scalar_add(
        nonce, crypto_core_ed25519_scalar_mul(challenge, scalar)
    )
    return bytes(commitment + response)


def verify_xeddsa(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an X25519 public key has signed."""
    u = int.from_bytes(public, "little")
    if u >= _PRIME - 1:
        return False
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME
    return _verify_ed25519(y.to_bytes(32, "little"), message, signature)


def _verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _reduced(*parts: bytes) -> bytes:
    return bytes(crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"".join(parts)).digest()))
