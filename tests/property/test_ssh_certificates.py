"""SSH certificates: whatever goes in comes out, and nothing else ever parses."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificate as Theirs
from cryptography.hazmat.primitives.serialization import load_ssh_public_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.certificates.keys import parse_ssh_public_key, public_key_line, ssh_blob
from dpki.certificates.principals import verify_principals
from dpki.certificates.profile import ANYBODY, USER_EXTENSIONS, Profile, Subject
from dpki.certificates.ssh import (
    SshCertificate,
    build_ssh_certificate,
    parse_ssh_certificate,
    ssh_line,
    verify_ssh_signature,
)
from dpki.errors import InvalidPrincipal, MalformedInput, SignatureInvalid
from dpki.model import AuthorityKind, from_timestamp
from tests.openssh import describe
from tests.raw_certificates import RawCertificate, fido_blob

CAS = [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
SUBJECTS = [
    ssh_blob(ed25519.Ed25519PrivateKey.generate().public_key()),
    ssh_blob(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ssh_blob(ec.generate_private_key(ec.SECP521R1()).public_key()),
    ssh_blob(rsa.generate_private_key(65537, 2048).public_key()),
    fido_blob("ed25519"),
    fido_blob("p256"),
]
ALPHABET = "ABCXYZabcxyz019._-:@/+"
PRINCIPALS = st.lists(
    st.text(ALPHABET, min_size=1, max_size=128), min_size=1, max_size=64, unique=True
)
RAW = RawCertificate()


@st.composite
def certificates(draw: st.DrawFn) -> SshCertificate:
    kind = draw(st.sampled_from([AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST]))
    extensions = draw(st.frozensets(st.sampled_from(sorted(USER_EXTENSIONS))))
    lifetime = timedelta(seconds=draw(st.integers(1, 10**9)))
    start = from_timestamp(draw(st.integers(0, 2**33)))
    principals = tuple(draw(PRINCIPALS))
    serial = draw(st.integers(1, 2**32 - 1))
    certificate = build_ssh_certificate(
        draw(st.sampled_from(CAS)),
        Profile(
            kind,
            lifetime,
            extensions if kind is AuthorityKind.SSH_USER else frozenset(),
            principals=ANYBODY,
        ),
        Subject(draw(st.sampled_from(SUBJECTS)), principals, "alice"),
        serial=serial,
        key_id=draw(st.text(ALPHABET, min_size=1, max_size=200)),
        valid_after=start,
        valid_before=start + lifetime,
    )
    assert (certificate.kind, certificate.serial, certificate.principals) == (
        kind,
        serial,
        principals,
    )
    assert (certificate.valid_after, certificate.valid_before) == (start, start + lifetime)
    return certificate


@given(certificates())
def test_round_trip(certificate: SshCertificate) -> None:
    assert parse_ssh_certificate(certificate.blob) == certificate
    assert parse_ssh_certificate(ssh_line(certificate, "a comment") + "\n") == certificate


@given(certificates())
def test_cryptography_reads_and_verifies_the_same(certificate: SshCertificate) -> None:
    """It knows no FIDO certificates; of the others it is a second opinion."""
    if certificate.type.startswith("sk-"):
        return
    theirs = load_ssh_public_identity(ssh_line(certificate).encode())
    assert isinstance(theirs, Theirs)
    theirs.verify_cert_signature()
    assert ssh_blob(theirs.public_key()) == certificate.subject_key  # type: ignore[arg-type]
    assert ssh_blob(theirs.signature_key()) == certificate.authority_key  # type: ignore[arg-type]
    assert theirs.serial == certificate.serial
    assert theirs.key_id == certificate.key_id.encode()
    assert theirs.valid_principals == [name.encode() for name in certificate.principals]
    assert dict(theirs.extensions) == {n.encode(): b"" for n, _ in certificate.extensions}


@settings(max_examples=20)
@given(certificates())
def test_ssh_keygen_reads_the_same(certificate: SshCertificate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x-cert.pub")
        path.write_text(ssh_line(certificate) + "\n")
        said = describe(path)
    label = "user" if certificate.kind is AuthorityKind.SSH_USER else "host"
    assert said[0] == f"Type: {certificate.type} {label} certificate"
    assert f'Key ID: "{certificate.key_id}"' in said
    assert f"Serial: {certificate.serial}" in said
    start, end = (
        time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for time in (certificate.valid_after, certificate.valid_before)
    )
    # To ssh-keygen a beginning of 0 is none.
    assert f"Valid: from {start} to {end}" in said or certificate.valid_after == datetime(
        1970, 1, 1, tzinfo=UTC
    )
    first = said.index("Principals:") + 1
    assert tuple(said[first : said.index("Critical Options: (none)")]) == certificate.principals
    names = [name for name, _ in certificate.extensions]
    if names:
        assert said[said.index("Extensions:") + 1 :] == names
    else:
        assert said[-1] == "Extensions: (none)"


# Where, in parts of the whole: ECDSA signatures, and so certificates, differ in length.
WHERE = st.integers(0, 9_999)


@given(certificates(), WHERE, st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(
    certificate: SshCertificate, where: int, change: int
) -> None:
    blob = bytearray(certificate.blob)
    blob[where * len(blob) // 10_000] ^= change
    with pytest.raises((MalformedInput, SignatureInvalid)):
        verify_ssh_signature(parse_ssh_certificate(bytes(blob)))


@given(certificates(), WHERE, st.binary(min_size=1, max_size=20))
def test_no_part_is_a_certificate(certificate: SshCertificate, where: int, more: bytes) -> None:
    blob = certificate.blob
    with pytest.raises(MalformedInput):
        parse_ssh_certificate(blob[: where * len(blob) // 10_000])
    with pytest.raises(MalformedInput):
        parse_ssh_certificate(blob + more)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda x: b"\0\0\0\4" + x)))
def test_bytes_from_nowhere_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_ssh_certificate(data)
    with pytest.raises(MalformedInput):
        parse_ssh_public_key(data)


@given(
    st.sampled_from(
        ["nonce", "key_id", "principals", "critical_options", "extensions", "reserved"]
    ),
    st.binary(max_size=80),
)
def test_any_signed_field_parses_or_is_malformed(name: str, value: bytes) -> None:
    try:
        certificate = parse_ssh_certificate(RAW.with_(**{name: value}).blob)
    except MalformedInput:
        return
    verify_ssh_signature(certificate)
    assert verify_principals(certificate.principals) == certificate.principals


@given(st.lists(st.text(max_size=20), max_size=5))
def test_names_are_principals_or_refused(names: list[str]) -> None:
    good = all(name and set(name) <= set(ALPHABET) for name in names)
    try:
        assert verify_principals(names) == tuple(names)
    except InvalidPrincipal:
        assert not good or not names or len(set(names)) < len(names)
    else:
        assert not any(set(name) & set(", *?!\n\0'\"") for name in names)


@given(st.sampled_from(SUBJECTS), st.text(ALPHABET + " '", max_size=40))
def test_public_key_lines(blob: bytes, comment: str) -> None:
    parsed = parse_ssh_public_key(public_key_line(blob, comment) + "\n")
    assert (parsed.blob, parsed.comment) == (blob, comment.strip())
