"""The key document: what a device publishes of itself (docs/formats.md, Key document).

Its digest stands on chain; the document itself travels with the enrolment request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.seal import SealingKeys, Suite
from dpki.certificates.keys import load_subject_key, parse_ssh_public_key, ssh_blob
from dpki.devices.keys import DeviceKeys
from dpki.errors import MalformedInput
from dpki.model import Hash32

DOCUMENT_LIMIT = 48 << 10
SALT_BYTES = 16
MAXIMUM_KEYS = 16
"""SSH keys of a kind in one document, at most."""

MAXIMUM_PREKEYS = 256
"""One-time keys in one document, at most."""

MAXIMUM_PREKEY_NUMBER = 2**32 - 1

_VERSION = 1
_WITH_PREKEYS = 2
_WHAT = "key document"
_FIELDS = {
    "v": int,
    "salt": bytes,
    "sequence": int,
    "seal": dict,
    "ssh_host": list,
    "ssh_user": list,
}


@dataclass(frozen=True)
class Prekey:
    """The public half of a one-time key: for one certificate, in one bundle.

    Attributes:
        number: From 1; a device gives none twice.
        ssh: An Ed25519 public key, 32 bytes: the subject of the certificate.
        x25519: The public key that the certificate's bundle is sealed for, 32 bytes.
    """

    number: int
    ssh: bytes
    x25519: bytes

    @property
    def blob(self) -> bytes:
        """The SSH public key blob of `ssh`."""
        return ssh_blob(Ed25519PublicKey.from_public_bytes(self.ssh))


@dataclass(frozen=True)
class KeyDocument:
    """A device's public keys.

    Attributes:
        salt: 16 random bytes, so that the digest on chain reveals nothing.
        sequence: 0 at enrolment, one more at each update: the nonce that it is signed with.
        sealing: What bundles are sealed for.
        ssh_host: Public key blobs of its SSH server, newest last, at least one.
        ssh_user: Public key blobs of its SSH client, newest last.
        prekeys: Its supply of one-time keys, by number.
    """

    salt: bytes
    sequence: int
    sealing: SealingKeys
    ssh_host: tuple[bytes, ...]
    ssh_user: tuple[bytes, ...]
    prekeys: tuple[Prekey, ...] = ()

    @property
    def digest(self) -> Hash32:
        """What stands in the DeviceRegistry: SHA-256 of the encoding."""
        return document_digest(encode_key_document(self))


def make_key_document(keys: DeviceKeys, sequence: int = 0) -> KeyDocument:
    """Return a new document of these keys, with a fresh salt.

    Of many SSH keys the newest 16, of many one-time keys the oldest 256.
    """
    return KeyDocument(
        salt=secrets.token_bytes(SALT_BYTES),
        sequence=sequence,
        sealing=keys.sealing.public,
        ssh_host=keys.host_blobs[-MAXIMUM_KEYS:],
        ssh_user=keys.user_blobs[-MAXIMUM_KEYS:],
        prekeys=tuple(
            Prekey(secret.number, secret.ssh_public, secret.x25519_public)
            for secret in keys.prekeys[:MAXIMUM_PREKEYS]
        ),
    )


def encode_key_document(document: KeyDocument) -> bytes:
    """Return the document's one encoding."""
    seal = {Suite.X25519.label: document.sealing.x25519}
    if document.sealing.hybrid is not None:
        seal[Suite.MLKEM768_X25519.label] = document.sealing.hybrid
    value: dict[str, object] = {
        "v": _VERSION,
        "salt": document.salt,
        "sequence": document.sequence,
        "seal": seal,
        "ssh_host": list(document.ssh_host),
        "ssh_user": list(document.ssh_user),
    }
    if document.prekeys:
        # A reader of version 1 would leave them out, and have another digest.
        prekeys = [[prekey.number, prekey.ssh, prekey.x25519] for prekey in document.prekeys]
        value |= {"v": _WITH_PREKEYS, "prekeys": prekeys}
    return dumps(value)


def parse_key_document(data: bytes) -> KeyDocument:
    """Parse a key document, every key in it included.

    Raises:
        MalformedInput: It is anything else than what `encode_key_document` writes.
    """
    value = loads_strict(data, DOCUMENT_LIMIT)
    has_prekeys = isinstance(value, dict) and value.get("v") == _WITH_PREKEYS
    if not has_prekeys:
        verify_version(value, _WHAT, _VERSION)
    required = {**_FIELDS, "prekeys": list} if has_prekeys else _FIELDS
    fields = fields_of(value, _WHAT, required=required, optional={})
    seal = fields_of(
        fields["seal"],
        f"{_WHAT}'s seal",
        required={Suite.X25519.label: bytes},
        optional={Suite.MLKEM768_X25519.label: bytes},
    )
    if len(fields["salt"]) != SALT_BYTES:
        raise MalformedInput(f"the key document's salt has {len(fields['salt'])} bytes, not 16")
    host = _parse_blobs(fields["ssh_host"], "ssh_host")
    if not host:
        raise MalformedInput("the key document lists no SSH host key")
    return KeyDocument(
        salt=fields["salt"],
        sequence=fields["sequence"],
        sealing=SealingKeys(seal[Suite.X25519.label], seal.get(Suite.MLKEM768_X25519.label)),
        ssh_host=host,
        ssh_user=_parse_blobs(fields["ssh_user"], "ssh_user"),
        prekeys=_parse_prekeys(fields["prekeys"]) if has_prekeys else (),
    )


def ed25519_of(blob: bytes) -> bytes:
    """Return the 32 bytes of an Ed25519 public key from its SSH blob.

    Raises:
        MalformedInput: It is of another type: devices make no such keys.
    """
    key = load_subject_key(blob)
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedInput("a device's own SSH keys are Ed25519, and this one is not")
    return key.public_bytes_raw()


def document_digest(data: bytes) -> Hash32:
    """Return what stands on chain for a document with this encoding."""
    return Hash32(hashlib.sha256(data).digest())


def _parse_prekeys(items: list[object]) -> tuple[Prekey, ...]:
    """Parse at least one, in the order of their numbers, no key twice."""
    if not 1 <= len(items) <= MAXIMUM_PREKEYS:
        raise MalformedInput(
            f"the key document has {len(items)} prekeys, not 1 to {MAXIMUM_PREKEYS}"
        )
    prekeys: list[Prekey] = []
    keys: set[bytes] = set()
    for item in items:
        if not isinstance(item, list) or [type(part) for part in item] != [int, bytes, bytes]:
            raise MalformedInput("a prekey is not a number and two keys")
        prekey = Prekey(*item)
        previous = prekeys[-1].number if prekeys else 0
        if not previous < prekey.number <= MAXIMUM_PREKEY_NUMBER:
            raise MalformedInput("the prekeys' numbers do not rise")
        if len(prekey.ssh) != 32 or {prekey.ssh, prekey.x25519} & keys:
            raise MalformedInput(f"prekey {prekey.number} has no SSH key, or one of another")
        # A usable point, or it is refused.
        SealingKeys(prekey.x25519)
        keys |= {prekey.ssh, prekey.x25519}
        prekeys.append(prekey)
    return tuple(prekeys)


def _parse_blobs(items: list[object], name: str) -> tuple[bytes, ...]:
    if len(items) > MAXIMUM_KEYS:
        raise MalformedInput(f"the key document lists more than {MAXIMUM_KEYS} keys in {name}")
    blobs: list[bytes] = []
    for item in items:
        if not isinstance(item, bytes):
            raise MalformedInput(f"the key document's {name} holds something else than bytes")
        try:
            # As a blob only: the parser would also take a line of text.
            blob = parse_ssh_public_key(item).blob
        except MalformedInput as error:
            raise MalformedInput(f"the key document's {name}: {error.message}") from error
        if blob != item or blob in blobs:
            raise MalformedInput(f"the key document's {name} holds a key twice, or no blob")
        blobs.append(blob)
    return tuple(blobs)
