"""Public keys as dpki spells them: SubjectPublicKeyInfo on chain, SSH blobs in files.

A CA's key has exactly one spelling, because its hash is its name and because a key may be
registered only once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from dpki.certificates.wire import WireReader, string
from dpki.errors import MalformedInput
from dpki.model import AuthorityId

AuthorityPublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
"""What a CA's key can be: Ed25519, P-256, P-384, or RSA of 3,072 to 4,096 bits."""

SshSubjectKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
"""What an SSH certificate can speak for."""

_MAXIMUM_BLOB = 64 * 1024
_MINIMUM_RSA_BITS = 2048
_MAXIMUM_RSA_BITS = 16384
"""What OpenSSH and OpenSSL take."""
_AUTHORITY_RSA_BITS = range(3072, 4096 + 1)
"""NIST SP 800-57: 128 bits of strength. What is larger only costs every verifier time."""
_AUTHORITY_RSA_EXPONENTS = range(65537, 2**256, 2)
"""FIPS 186-5, section A.1.1."""

FIELDS_OF_TYPE = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""SSH public key types, and how many strings follow the type in the blob (RFC 4253, 5656, 8709;
PROTOCOL.u2f)."""


def parse_public_key(spki: bytes) -> AuthorityPublicKey:
    """Parse a CA's public key: canonical SubjectPublicKeyInfo in DER.

    It is Ed25519, P-256, P-384, or RSA of 3,072 to 4,096 bits.

    Raises:
        MalformedInput: It is something else, or the same key in another spelling.
    """
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedInput("the CA's public key is not a SubjectPublicKeyInfo in DER") from error
    if not _is_authority_key(key):
        raise MalformedInput(
            "the CA's public key is of a type that dpki does not know",
            hint="a CA's key is Ed25519, P-256, P-384, or RSA of 3,072 to 4,096 bits",
        )
    if spki_of(key) != spki:
        raise MalformedInput("the CA's public key is not in its canonical encoding")
    return key


def spki_of(public_key: AuthorityPublicKey) -> bytes:
    """Return the canonical SubjectPublicKeyInfo in DER.

    44 bytes for Ed25519, 91 for P-256, 120 for P-384, 422 for RSA-3072.
    """
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def authority_id(spki: bytes) -> AuthorityId:
    """Return the id of the CA with this key."""
    return AuthorityId(hashlib.sha256(spki).digest())


def ssh_blob(public_key: SshSubjectKey) -> bytes:
    """Return the SSH public key blob (RFC 4253, section 6.6)."""
    line = public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split(b" ")[1])


def ssh_fingerprint(blob: bytes) -> str:
    """Return OpenSSH's fingerprint of a public key blob: `SHA256:` and unpadded base64."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=")
    return f"SHA256:{digest.decode()}"


@dataclass(frozen=True)
class SshPublicKey:
    """An SSH public key.

    Attributes:
        blob: The binary form (RFC 4253, section 6.6).
        comment: What stood behind it in the file; printable, possibly empty.
        type: Such as `ssh-ed25519`.
    """

    blob: bytes
    comment: str
    type: str

    @property
    def fingerprint(self) -> str:
        """OpenSSH's fingerprint."""
        return ssh_fingerprint(self.blob)

    @property
    def is_security_key(self) -> bool:
        """Whether it lives in a FIDO token."""
        return is_security_key(self.type)

    @property
    def line(self) -> str:
        """The line of a `.pub` file, without its end."""
        return public_key_line(self.blob, self.comment)


def public_key_line(blob: bytes, comment: str = "") -> str:
    """Return the line of a `.pub` file, without its end.

    Raises:
        MalformedInput: The comment holds a control character.
    """
    encoded = base64.b64encode(blob).decode()
    return f"{_type_of(blob)} {encoded} {verify_printable(comment, 'comment')}".rstrip()


def parse_ssh_public_key(line_or_blob: bytes | str) -> SshPublicKey:
    """Parse one SSH public key, of every type that OpenSSH still takes, FIDO keys included.

    Args:
        line_or_blob: The content of a `.pub` file, or the binary blob.

    Raises:
        MalformedInput: It is no public key, not in canonical form, a certificate, a private key, or
            too weak or too large.
    """
    declared, blob, comment = decode_line(line_or_blob, "SSH public key")
    kind = _type_of(blob)
    if kind != declared:
        raise MalformedInput(f"the line says {declared[:60]!r}, the key in it {kind[:60]!r}")
    if kind not in FIELDS_OF_TYPE:
        hint = "ed25519, ecdsa, rsa and their FIDO (sk-) forms are"
        if "-cert-" in kind:
            hint = "this is a certificate; give the public key that it was made for"
        raise MalformedInput(f"SSH public key type {kind[:60]!r} is not supported", hint=hint)
    load_subject_key(blob)
    return SshPublicKey(blob, comment, kind)


@lru_cache(maxsize=256)  # a certificate asks for its holder's key thrice, and always for its CA's
def load_subject_key(blob: bytes) -> SshSubjectKey:
    """Return the key object of a public key blob; for a FIDO key, that of the key in its token.

    Raises:
        MalformedInput: It is none, not in canonical form, or RSA of less than 2,048 or
            more than 16,384 bits.
    """
    kind = _type_of(blob)
    if kind not in FIELDS_OF_TYPE:
        raise MalformedInput(f"SSH public key type {kind[:60]!r} is not supported")
    plain = _without_application(blob, kind) if is_security_key(kind) else blob
    key = _load(plain, kind)
    if ssh_blob(key) != plain:
        raise MalformedInput("the SSH public key is not in its canonical encoding")
    if isinstance(key, RSAPublicKey):
        _verify_rsa_size(key.key_size)
    return key


def _verify_rsa_size(bits: int) -> None:
    if not _MINIMUM_RSA_BITS <= bits <= _MAXIMUM_RSA_BITS:
        raise MalformedInput(
            f"an RSA key of {bits} bits is too {'weak' if bits < _MINIMUM_RSA_BITS else 'large'}",
            hint=f"{_MINIMUM_RSA_BITS} to {_MAXIMUM_RSA_BITS} bits, or better:"
            " ssh-keygen -t ed25519",
        )


def is_security_key(kind: str) -> bool:
    """Return whether keys of this type live in a FIDO token (PROTOCOL.u2f)."""
    return kind.startswith("sk-")


def _without_application(blob: bytes, kind: str) -> bytes:
    """Return the blob of the plain key that a FIDO key's blob wraps."""
    reader = WireReader(blob, "SSH public key")
    reader.string()
    fields = [reader.string() for _ in range(FIELDS_OF_TYPE[kind])]
    reader.end()
    application = fields.pop().decode("utf-8", "replace")
    if not application.startswith("ssh:") or not verify_printable(application, "application"):
        raise MalformedInput(
            "the FIDO key is for another application than SSH",
            hint="ssh-keygen -t ed25519-sk makes one for SSH",
        )
    plain = "ssh-ed25519" if kind.startswith("sk-ssh-ed25519") else "ecdsa-sha2-nistp256"
    return string(plain.encode()) + b"".join(string(field) for field in fields)


def _type_of(blob: bytes) -> str:
    return WireReader(blob, "SSH public key").string().decode("ascii", "replace")


def public_blob(private_key: bytes) -> bytes:
    """Return the SSH public key blob of an unencrypted OpenSSH private key file.

    Raises:
        MalformedInput: It is none, is encrypted, or of a type that can't be certified.
    """
    try:
        key = load_ssh_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Nothing of the parser's own message: it might quote the key.
        raise MalformedInput("this is not an unencrypted OpenSSH private key") from error
    public = key.public_key()
    if not isinstance(public, Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey):
        raise MalformedInput("a private key of this type can't be certified")
    return ssh_blob(public)


def _load(blob: bytes, kind: str) -> SshSubjectKey:
    try:
        key = load_ssh_public_key(
            _type_of(blob).encode("ascii", "replace") + b" " + base64.b64encode(blob)
        )
    except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise MalformedInput(f"the SSH public key is not a valid {kind[:60]!r} key") from error
    assert isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey), kind
    return key


def decode_line(line_or_blob: bytes | str, what: str) -> tuple[str, bytes, str]:
    """Split `type base64 comment`, or take the type out of a binary blob.

    Returns:
        The type, the blob, and the comment (empty for a binary blob).

    Raises:
        MalformedInput: It is neither, or larger than 64 KiB.
    """
    data = (
        line_or_blob.encode("utf-8", "replace") if isinstance(line_or_blob, str) else line_or_blob
    )
    is_blob = data[:2] == b"\0\0"
    # A line takes a third more, and may have a comment.
    if len(data) > (_MAXIMUM_BLOB if is_blob else 2 * _MAXIMUM_BLOB):
        raise MalformedInput(f"the {what} is larger than {_MAXIMUM_BLOB} bytes")
    if is_blob:
        return WireReader(data, what).string().decode("ascii", "replace"), data, ""
    if b"PRIVATE KEY-----" in data:
        raise MalformedInput(
            f"this is a private key, not an {what}",
            hint="give the .pub file, and keep this one to yourself",
        )
    match = re.fullmatch(rb"([!-~]+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+([^\r\n]*))?\s*", data)
    if match is None:
        raise MalformedInput(
            f"this is not one line with an {what}",
            hint="it reads: type, base64, comment; without options",
        )
    try:
        blob = base64.b64decode(match[2], validate=True)
    except binascii.Error as error:
        raise MalformedInput(f"the base64 of the {what} is damaged") from error
    if base64.b64encode(blob) != match[2] or len(blob) > _MAXIMUM_BLOB:
        raise MalformedInput(f"the base64 of the {what} is not canonical, or too long")
    comment = (match[3] or b"").decode("utf-8", "replace").strip()
    return match[1].decode("ascii"), blob, verify_printable(comment, "comment")


def verify_printable(text: str, what: str) -> str:
    """Return the text when no character of it moves a cursor, ends a line or hides.

    Raises:
        MalformedInput: One does.
    """
    if not text.isprintable():
        raise MalformedInput(f"the {what} holds a control character")
    return text


def authority_spki(blob: bytes) -> bytes:
    """Return the canonical SubjectPublicKeyInfo of the CA key in an SSH public key blob.

    The key may be one that no CA of a domain can have (P-521, RSA of 2,048 bits).

    Raises:
        MalformedInput: It is not a canonical public key blob.
    """
    if is_security_key(_type_of(blob)):
        raise MalformedInput("a CA's key can't be a FIDO key", hint="no CA of dpki has one")
    return spki_of(load_subject_key(blob))


def _is_authority_key(key: object) -> TypeGuard[AuthorityPublicKey]:
    if isinstance(key, EllipticCurvePublicKey):
        return isinstance(key.curve, SECP256R1 | SECP384R1)
    if isinstance(key, RSAPublicKey):
        exponent = key.public_numbers().e
        return key.key_size in _AUTHORITY_RSA_BITS and exponent in _AUTHORITY_RSA_EXPONENTS
    return isinstance(key, Ed25519PublicKey)
