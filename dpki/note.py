"""Signed notes: text, and who signed it (https://c2sp.org/signed-note, Ed25519 alone).

    text, one line or more
    (an empty line)
    — <name of the key> <base64 of key id ‖ signature>

Signatures by keys that nobody named say nothing and are passed over; one by a known key that does
not verify spoils the note.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import BadSignatureError

from dpki.errors import MalformedInput, SignatureInvalid, UsageError
from dpki.model import Hash32

SIZE_LIMIT = 64 * 1024
SIGNATURES = 64
"""In one note, at most; the specification asks for 16 at least."""

_NAME_LENGTH = 128
_ED25519 = 0x01
_KEY_ID = 4
_SIGNATURE = 64


@dataclass(frozen=True)
class VerifierKey:
    """An Ed25519 key that signs notes, and the name that it signs them under.

    Raises:
        MalformedInput: The name is empty, too long, not printable, or holds a space or a plus; or
            the key is none (of small order, so that anybody could sign with it).
    """

    name: str
    public_key: Hash32

    def __post_init__(self) -> None:
        if not (
            0 < len(self.name) <= _NAME_LENGTH and self.name.isprintable() and _is_name(self.name)
        ):
            raise MalformedInput(
                f"{self.name[:_NAME_LENGTH]!r} can't name a witness's key",
                hint="a name has up to 128 printable characters, no space and no plus, such as "
                "audit.example.org/acme",
            )
        if not crypto_core_ed25519_is_valid_point(bytes(self.public_key)):
            raise MalformedInput(f"the key of {self.name} is no Ed25519 public key")

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse `<name>+<key id, 8 hexadecimal digits>+<base64 of 0x01 ‖ key>`.

        Raises:
            MalformedInput: It reads otherwise, or the key id is another key's.
        """
        name, _, rest = text.partition("+")
        id, _, encoded = rest.partition("+")
        try:
            data = _base64(encoded)
        except MalformedInput:
            data = b""
        if len(data) != 1 + Hash32.size or data[0] != _ED25519:
            raise MalformedInput(
                f"{text[:200]!r} is not the public key of a witness",
                hint="it reads NAME+12ab34cd+AT…, Ed25519; `dpki audit key` prints it",
            )
        key = cls(name, Hash32(data[1:]))
        if str(key) != text:
            raise MalformedInput(f"the key of {name} is mistyped: its id is not {id[:16]!r}")
        return key

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart, and prove nothing."""
        start = f"{self.name}\n".encode()
        return hashlib.sha256(start + bytes([_ED25519]) + self.public_key).digest()[:_KEY_ID]

    def __str__(self) -> str:
        """Return what `parse` takes."""
        encoded = base64.b64encode(bytes([_ED25519]) + self.public_key).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"


@dataclass(frozen=True)
class SignedNote:
    """A note as it was read; nothing is checked but its form.

    Attributes:
        text: With its last newline; what is signed.
        signatures: Name, key id and signature proper of each.
    """

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> SignedNote:
        """Parse a note.

        Raises:
            MalformedInput: It is none, or is too large.
        """
        if len(data) > SIZE_LIMIT:
            raise MalformedInput(f"the signed note is larger than {SIZE_LIMIT} bytes")
        try:
            note = data.decode()
        except UnicodeDecodeError as error:
            raise MalformedInput("the signed note is not UTF-8 text") from error
        if re.search(r"[\x00-\x09\x0b-\x1f]", note):
            raise MalformedInput("the signed note holds a control character")
        text, blank, rest = note.rpartition("\n\n")
        lines = rest.split("\n")
        if not (text and blank) or lines.pop() or not 0 < len(lines) <= SIGNATURES:
            raise MalformedInput(
                f"the signed note is not text, an empty line, and 1 to {SIGNATURES} signatures"
            )
        signatures = tuple(_parse_signature(line) for line in lines)
        if len({(name, id) for name, id, _ in signatures}) != len(signatures):
            raise MalformedInput("the signed note holds two signatures of one key")
        return cls(f"{text}\n", signatures)

    def signers(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Return which of the keys signed the text.

        Raises:
            SignatureInvalid: A signature that names one of the keys does not verify.
        """
        known = {(key.name, key.id): key for key in keys}
        signed = []
        for name, id, signature in self.signatures:
            key = known.get((name, id))
            if key is not None:
                _verify(self.text, signature, key)
                signed.append(key)
        return tuple(signed)

    def dump(self) -> bytes:
        """Return the note's bytes."""
        lines = [_signature_line(*signature) for signature in self.signatures]
        return f"{self.text}\n{''.join(lines)}".encode()


def verify_note(data: bytes, keys: Sequence[VerifierKey], needed: int) -> str:
    """Return the text of a note that at least `needed` of the keys signed.

    Raises:
        MalformedInput: It is no signed note.
        SignatureInvalid: Fewer signed it, or a signature does not verify.
        UsageError: So many keys are not there, or one key stands there twice.
    """
    verify_distinct(keys)
    if not 1 <= needed <= len(keys):
        raise UsageError(f"{needed} of {len(keys)} witnesses can't have signed")
    note = SignedNote.parse(data)
    signers = note.signers(keys)
    if len(signers) < needed:
        said = ", ".join(key.name for key in signers) or "none"
        raise SignatureInvalid(
            f"{needed} of {len(keys)} witnesses must have signed, and it was {said}"
        )
    return note.text


def verify_distinct(keys: Iterable[VerifierKey]) -> None:
    """Check that no key counts for two witnesses, under two names either.

    Raises:
        UsageError: One does.
    """
    seen: dict[Hash32, VerifierKey] = {}
    for key in keys:
        if key.public_key in seen:
            raise UsageError(
                f"the witnesses {seen[key.public_key].name} and {key.name} have the same key",
                hint="name each witness once",
            )
        seen[key.public_key] = key


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """Return the note with this text, signed by one key.

    Args:
        text: One line or more, each ending in a newline.

    Raises:
        MalformedInput: The name can't name a key.
    """
    public = VerifierKey(name, Hash32(key.public_key().public_bytes_raw()))
    return SignedNote(text, ((name, public.id, key.sign(text.encode())),)).dump()


def _verify(text: str, signature: bytes, key: VerifierKey) -> None:
    try:
        # libsodium also refuses signatures in another spelling, and points of small order.
        if len(signature) == _SIGNATURE:
            crypto_sign_open(signature + text.encode(), bytes(key.public_key))
            return
    except BadSignatureError:
        pass
    raise SignatureInvalid(f"the signature of {key.name} does not verify")


def _parse_signature(line: str) -> tuple[str, bytes, bytes]:
    match = re.fullmatch("\N{EM DASH} ([^ ]+) ([^ ]+)", line)
    if match is None or not _is_name(match[1]):
        raise MalformedInput("a signature of the signed note does not read: — NAME BASE64")
    data = _base64(match[2])
    if len(data) <= _KEY_ID:
        raise MalformedInput("a signature of the signed note is too short")
    return match[1], data[:_KEY_ID], data[_KEY_ID:]


def _signature_line(name: str, id: bytes, signature: bytes) -> str:
    return f"\N{EM DASH} {name} {base64.b64encode(id + signature).decode()}\n"


def _is_name(text: str) -> bool:
    return "+" not in text and not any(character.isspace() for character in text)


def _base64(text: str) -> bytes:
    """Decode base64 in its one spelling (RFC 4648, section 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise MalformedInput("this is not base64, or not in its usual spelling")
    return data
