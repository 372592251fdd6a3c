"""The key document: what a device publishes of itself (docs/formats.md, Key document).

Its digest stands on chain; the document itself travels with the enrolment request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.seal import SealingKeys, Suite
from dpki.certificates.keys import parse_ssh_public_key
from dpki.devices.keys import DeviceKeys
from dpki.errors import MalformedInput
from dpki.model import Hash32

DOCUMENT_LIMIT = 32 << 10
SALT_BYTES = 16
MAXIMUM_KEYS = 16
"""SSH keys of a kind in one document, at most."""

_VERSION = 1
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
class KeyDocument:
    """A device's public keys.

    Attributes:
        salt: 16 random bytes, so that the digest on chain reveals nothing.
        sequence: 0 at enrolment, one more at each update: the nonce that it is signed with.
        sealing: What bundles are sealed for.
        ssh_host: Public key blobs of its SSH server, newest last, at least one.
        ssh_user: Public key blobs of its SSH client, newest last.
    """

    salt: bytes
    sequence: int
    sealing: SealingKeys
    ssh_host: tuple[bytes, ...]
    ssh_user: tuple[bytes, ...]

    @property
    def digest(self) -> Hash32:
        """What stands in the DeviceRegistry: SHA-256 of the encoding."""
        return document_digest(encode_key_document(self))


def make_key_document(keys: DeviceKeys, sequence: int = 0) -> KeyDocument:
    """Return a new document of these keys, with a fresh salt; of many SSH keys the newest 16."""
    return KeyDocument(
        salt=secrets.token_bytes(SALT_BYTES),
        sequence=sequence,
        sealing=keys.sealing.public,
        ssh_host=keys.host_blobs[-MAXIMUM_KEYS:],
        ssh_user=keys.user_blobs[-MAXIMUM_KEYS:],
    )


def encode_key_document(document: KeyDocument) -> bytes:
    """Return the document's one encoding."""
    seal = {Suite.X25519.label: document.sealing.x25519}
    if document.sealing.hybrid is not None:
        seal[Suite.MLKEM768_X25519.label] = document.sealing.hybrid
    return dumps(
        {
            "v": _VERSION,
            "salt": document.salt,
            "sequence": document.sequence,
            "seal": seal,
            "ssh_host": list(document.ssh_host),
            "ssh_user": list(document.ssh_user),
        }
    )


def parse_key_document(data: bytes) -> KeyDocument:
    """Parse a key document, every key in it included.

    Raises:
        MalformedInput: It is anything else than what `encode_key_document` writes.
    """
    value = loads_strict(data, DOCUMENT_LIMIT)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
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
    )


def document_digest(data: bytes) -> Hash32:
    """Return what stands on chain for a document with this encoding."""
    return Hash32(hashlib.sha256(data).digest())


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
