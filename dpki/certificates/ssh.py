"""SSH certificates (PROTOCOL.certkeys) for every type of key: built, read strictly, verified.

OpenSSH and most libraries accept certificates that nobody should want: valid for ever, for
everybody, with options that they don't understand. Here those don't parse, so that no later check
can forget them.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dpki.certificates.keys import (
    FIELDS_OF_TYPE,
    authority_id,
    authority_spki,
    decode_line,
    load_subject_key,
    parse_ssh_public_key,
    ssh_blob,
    verify_printable,
)
from dpki.certificates.principals import verify_principals
from dpki.certificates.profile import (
    END_SESSIONS,
    USER_CRITICAL_OPTIONS,
    USER_EXTENSIONS,
    Profile,
    Subject,
    verify_option,
)
from dpki.certificates.signature import (
    AuthorityPrivateKey,
    sign_ssh,
    signature_type,
    verify_ssh,
)
from dpki.certificates.wire import WireReader, string, uint32, uint64
from dpki.errors import DpkiError, InvalidPrincipal, MalformedInput, SignatureInvalid, UsageError
from dpki.model import AuthorityId, AuthorityKind, Hash32, from_timestamp, to_timestamp

MAXIMUM_SERIAL = 2**32 - 1
"""The contract counts serials in 32 bits."""

_WHAT = "SSH certificate"
_NONCE_SIZE = 32
_LATEST = to_timestamp(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
_KINDS = {1: AuthorityKind.SSH_USER, 2: AuthorityKind.SSH_HOST}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_CERTIFICATE_TYPES = {
    base: base.removesuffix("@openssh.com") + "-cert-v01@openssh.com" for base in FIELDS_OF_TYPE
}
_BASES = {certificate: base for base, certificate in _CERTIFICATE_TYPES.items()}

Options = tuple[tuple[str, str], ...]
"""(name, value) pairs in the order of their names; the value of a flag is empty."""


@dataclass(frozen=True)
class SshCertificate:
    """An SSH certificate that follows every rule of docs/formats.md.

    Its signature is another matter: see `verify_ssh_signature`.

    Attributes:
        blob: The binary form: what is base64 in a `-cert.pub` line.
        type: Such as `ssh-ed25519-cert-v01@openssh.com`.
        kind: SSH user or SSH host.
        serial: 1 to 2^32 - 1.
        key_id: What sshd writes into its log; printable.
        principals: At least one.
        valid_after: First second of validity.
        valid_before: First second after it; always finite.
        critical_options: Only such as OpenSSH knows.
        extensions: As they are: sshd ignores those that it doesn't know.
        subject_key: SSH public key blob of the subject.
        authority_key: SSH public key blob of the CA.
        authority_spki: The same key as canonical SubjectPublicKeyInfo.
        signed: The part of the blob that the CA signed.
        signature: The CA's SSH signature blob.
        signature_type: Such as `ssh-ed25519`.
    """

    blob: bytes = field(repr=False)
    type: str
    kind: AuthorityKind
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    critical_options: Options
    extensions: Options
    subject_key: bytes = field(repr=False)
    authority_key: bytes = field(repr=False)
    authority_spki: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    signature_type: str

    @property
    def hash(self) -> Hash32:
        """The certificate hash: SHA-256 of the blob."""
        return Hash32(hashlib.sha256(self.blob).digest())

    @property
    def authority_id(self) -> AuthorityId:
        """The id of the CA whose key the certificate names."""
        return authority_id(self.authority_spki)


def parse_ssh_certificate(line_or_blob: bytes | str) -> SshCertificate:
    """Parse an SSH certificate and refuse everything that dpki never writes.

    Refused are: bytes left over, another spelling of the same content, serials of 0 or over 32
    bits, validity without end or that ends before it begins, no principals or such as
    `verify_principals` refuses, unknown critical options and values that sshd refuses, anything in
    the reserved field, DSA keys, and FIDO keys as CAs.

    Args:
        line_or_blob: The content of a `-cert.pub` file, or the binary blob.

    Raises:
        MalformedInput: It breaks one of these rules. A certificate that does is worth nothing,
            whoever signed it.
    """
    declared, blob, _ = decode_line(line_or_blob, _WHAT)
    reader = WireReader(blob, _WHAT)
    name = _text(reader.string(), "type")
    if name != declared:
        raise MalformedInput(
            f"the line says {declared[:60]!r}, the certificate in it {name[:60]!r}"
        )
    if name not in _BASES:
        raise MalformedInput(
            f"{name[:60]!r} is not a type of SSH certificate that is supported",
            hint="ed25519, ecdsa, rsa and their FIDO (sk-) forms are",
        )
    base = _BASES[name]
    reader.string()  # nonce
    start = reader.position
    for _ in range(FIELDS_OF_TYPE[base]):
        reader.string()
    subject_key = string(base.encode()) + blob[start : reader.position]
    serial = reader.uint64()
    kind_number = reader.uint32()
    key_id_text = _text(reader.string(), "key id")
    principals = _parse_principals(reader.string())
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical_options = _parse_options(reader.string(), "critical options")
    extensions = _parse_options(reader.string(), "extensions")
    reserved = reader.string()
    authority_key = reader.string()
    signed_until = reader.position
    signature = reader.string()
    reader.end()

    if kind_number not in _KINDS:
        raise MalformedInput(
            f"the SSH certificate is neither a user's nor a host's, but of kind {kind_number}"
        )
    kind = _KINDS[kind_number]
    if not 1 <= serial <= MAXIMUM_SERIAL:
        raise MalformedInput(
            f"serial {serial} of the SSH certificate is not between 1 and {MAXIMUM_SERIAL}"
        )
    if valid_before > _LATEST:
        raise MalformedInput(
            "the SSH certificate never expires", hint="dpki issues none without an end"
        )
    if valid_after >= valid_before:
        raise MalformedInput("the SSH certificate expires before it becomes valid")
    _verify_options(kind, critical_options, extensions)
    if reserved:
        raise MalformedInput("the reserved field of the SSH certificate is not empty")
    load_subject_key(subject_key)
    return SshCertificate(
        blob=blob,
        type=name,
        kind=kind,
        serial=serial,
        key_id=key_id_text,
        principals=principals,
        valid_after=from_timestamp(valid_after),
        valid_before=from_timestamp(valid_before),
        critical_options=critical_options,
        extensions=extensions,
        subject_key=subject_key,
        authority_key=authority_key,
        authority_spki=authority_spki(authority_key),
        signed=blob[:signed_until],
        signature=signature,
        signature_type=signature_type(signature, authority_key),
    )


def verify_ssh_signature(certificate: SshCertificate) -> None:
    """Verify the signature of the CA key that the certificate names.

    Whether that key is a CA's is another question.

    Raises:
        SignatureInvalid: It does not verify, or is made with SHA-1 or another algorithm that is
            not accepted; of RSA only `rsa-sha2-256` and `rsa-sha2-512` are (RFC 8332).
    """
    try:
        verify_ssh(certificate.signature, certificate.authority_key, certificate.signed)
    except DpkiError as error:
        raise SignatureInvalid(
            f"SSH certificate {certificate.serial}: {error.message}", hint=error.hint
        ) from error


def build_ssh_certificate(
    signer_private_key: AuthorityPrivateKey,
    profile: Profile,
    subject: Subject,
    *,
    serial: int,
    key_id: str,
    valid_after: datetime,
    valid_before: datetime,
) -> SshCertificate:
    """Sign an SSH certificate, and check it as a stranger would before it leaves.

    Args:
        signer_private_key: The CA's key, in memory or in a token.
        profile: What all of the CA's certificates have in common.
        subject: Whom it is for.
        serial: 1 to 2^32 - 1, never used before.
        key_id: See `key_id`.
        valid_after: Aware; whole seconds count.
        valid_before: Aware; whole seconds count.

    Raises:
        UsageError: Something is asked for that the profile or the format refuses; nothing was
            signed.
        NotAllowed: The profile does not allow the principals or the type of key; nothing was
            signed.
        MalformedInput: The subject's public key is not a proper one; nothing was signed.
        SignatureInvalid: The signer made a signature that does not verify.
    """
    if not 1 <= serial <= MAXIMUM_SERIAL:
        raise UsageError(f"serial {serial} is not between 1 and {MAXIMUM_SERIAL}")
    for time in (valid_after, valid_before):
        if time.tzinfo is None:
            raise UsageError("times of validity must carry a time zone")
    start, end = to_timestamp(valid_after), to_timestamp(valid_before)
    if not 0 <= start < end:
        raise UsageError(
            f"the certificate would expire ({valid_before}) before it becomes valid ({valid_after})"
        )
    if end - start > profile.maximum_validity.total_seconds():
        raise UsageError(
            f"a validity of {valid_before - valid_after} is longer than the CA's maximum of "
            f"{profile.maximum_validity}",
            hint="ask for a shorter validity",
        )
    if not key_id or not key_id.isprintable():
        raise UsageError("the key id is empty or holds a control character")
    key = parse_ssh_public_key(subject.public_key)
    profile.verify_key_type(key.type)
    profile.verify_principals(subject.principals)
    signed = b"".join(
        [
            string(_CERTIFICATE_TYPES[key.type].encode()),
            string(secrets.token_bytes(_NONCE_SIZE)),
            key.blob[len(string(key.type.encode())) :],
            uint64(serial),
            uint32(_NUMBERS[profile.kind]),
            string(key_id.encode()),
            string(b"".join(string(n.encode()) for n in verify_principals(subject.principals))),
            uint64(start),
            uint64(end),
            string(_encode_options(profile.critical_options)),
            string(_encode_options((name, "") for name in profile.extensions)),
            string(b""),
            string(ssh_blob(signer_private_key.public_key())),
        ]
    )
    certificate = parse_ssh_certificate(signed + string(sign_ssh(signer_private_key, signed)))
    verify_ssh_signature(certificate)
    return certificate


def ssh_line(certificate: SshCertificate, comment: str = "") -> str:
    """Return the line of a `-cert.pub` file, without its end.

    Raises:
        MalformedInput: The comment holds a control character.
    """
    encoded = base64.b64encode(certificate.blob).decode()
    return f"{certificate.type} {encoded} {verify_printable(comment, 'comment')}".rstrip()


def _encode_options(options: Iterable[tuple[str, str]]) -> bytes:
    """Encode options in the order of their names; a flag has no value at all."""
    return b"".join(
        string(name.encode()) + string(string(value.encode()) if value else b"")
        for name, value in sorted(options)
    )


def _text(data: bytes, what: str) -> str:
    try:
        return verify_printable(data.decode(), f"{what} of the SSH certificate")
    except UnicodeDecodeError as error:
        raise MalformedInput(f"the {what} of the SSH certificate is not text") from error


def _parse_principals(data: bytes) -> tuple[str, ...]:
    reader = WireReader(data, _WHAT)
    names = []
    while not reader.is_at_end:
        names.append(_text(reader.string(), "principal"))
    try:
        return verify_principals(names)
    except InvalidPrincipal as error:
        raise MalformedInput(f"the SSH certificate's principals: {error.message}") from error


def _parse_options(data: bytes, what: str) -> Options:
    reader = WireReader(data, _WHAT)
    options: list[tuple[str, str]] = []
    while not reader.is_at_end:
        name = _text(reader.string(), what)
        value = WireReader(reader.string(), _WHAT)
        text = ""
        if not value.is_at_end:
            text = _text(value.string(), what)
            value.end()
            if not text:
                raise MalformedInput(f"the {what} of the SSH certificate hold an empty value")
        if options and name.encode() <= options[-1][0].encode():
            raise MalformedInput(
                f"the {what} of the SSH certificate are not in order, or given twice"
            )
        options.append((name, text))
    return tuple(options)


def _verify_options(kind: AuthorityKind, critical_options: Options, extensions: Options) -> None:
    """Refuse what sshd can't read: it refuses the whole certificate for it."""
    is_user = kind is AuthorityKind.SSH_USER
    for name, value in critical_options:
        if not is_user or name not in USER_CRITICAL_OPTIONS:
            raise MalformedInput(
                f"the SSH certificate has an unknown critical option {name[:60]!r}"
            )
        try:
            verify_option(name, value)
        except UsageError as error:
            raise MalformedInput(f"in the SSH certificate, {error.message}") from error
    for name, value in extensions:
        if is_user and name in USER_EXTENSIONS | {END_SESSIONS} and value:
            raise MalformedInput(f"in the SSH certificate, extension {name} takes no value")
