import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_identity,
)

from dpki.certificates.keys import authority_id, spki_of, ssh_blob
from dpki.certificates.profile import ANYBODY, Profile, Subject
from dpki.certificates.ssh import (
    build_ssh_certificate,
    parse_ssh_certificate,
    ssh_line,
    verify_ssh_signature,
)
from dpki.certificates.wire import string
from dpki.errors import MalformedInput, NotAllowed, SignatureInvalid, UsageError
from dpki.model import AuthorityKind, Hash32
from tests.raw_certificates import RawCertificate, fido_blob, options, strings

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOUR = timedelta(hours=1)
P256_CA = ec.generate_private_key(ec.SECP256R1())
ED25519_CA = ed25519.Ed25519PrivateKey.generate()
ALICE = ssh_blob(ed25519.Ed25519PrivateKey.generate().public_key())
RAW = RawCertificate()


def build(ca=P256_CA, profile=None, public_key=ALICE, **changes):
    arguments = {
        "serial": 7,
        "key_id": "0xabc/1234/7/alice",
        "valid_after": NOW,
        "valid_before": NOW + HOUR,
    }
    profile = profile or Profile.user(timedelta(hours=8))
    subject = Subject(public_key, ("alice", "oncall"), "alice")
    return build_ssh_certificate(ca, profile, subject, **(arguments | changes))


class TestBuild:
    @pytest.mark.parametrize("ca", [P256_CA, ED25519_CA], ids=["p256", "ed25519"])
    def test_holds_what_was_asked_for(self, ca) -> None:
        certificate = build(ca)
        assert certificate.kind is AuthorityKind.SSH_USER
        assert certificate.type == "ssh-ed25519-cert-v01@openssh.com"
        assert certificate.serial == 7
        assert certificate.key_id == "0xabc/1234/7/alice"
        assert certificate.principals == ("alice", "oncall")
        assert certificate.valid_after == NOW.replace(microsecond=0)
        assert certificate.valid_before == NOW.replace(microsecond=0) + HOUR
        assert certificate.critical_options == ()
        assert certificate.extensions == (("permit-pty", ""),)
        assert certificate.subject_key == ALICE
        assert certificate.authority_key == ssh_blob(ca.public_key())
        assert certificate.authority_spki == spki_of(ca.public_key())
        assert certificate.authority_id == authority_id(spki_of(ca.public_key()))
        assert certificate.hash == Hash32(sha256(certificate.blob).digest())

    def test_host(self) -> None:
        certificate = build(ED25519_CA, Profile.host(HOUR))
        assert certificate.kind is AuthorityKind.SSH_HOST
        assert certificate.extensions == ()

    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
        ],
        ids=["p256", "p521", "rsa"],
    )
    def test_every_type_of_subject(self, key) -> None:
        blob = ssh_blob(key.public_key())
        certificate = build(public_key=blob)
        assert certificate.subject_key == blob
        verify_ssh_signature(certificate)

    def test_options(self) -> None:
        profile = Profile(
            AuthorityKind.SSH_USER,
            HOUR,
            frozenset({"permit-pty", "permit-agent-forwarding"}),
            (("source-address", "192.0.2.0/24"), ("force-command", "uptime")),
            ANYBODY,
        )
        certificate = build(profile=profile)
        assert certificate.critical_options == (
            ("force-command", "uptime"),
            ("source-address", "192.0.2.0/24"),
        )
        assert certificate.extensions == (("permit-agent-forwarding", ""), ("permit-pty", ""))

    def test_two_are_never_the_same(self) -> None:
        assert build().hash != build().hash

    def test_the_whole_maximum_is_allowed_and_a_second_more_is_not(self) -> None:
        assert build(valid_before=NOW + timedelta(hours=8))
        with pytest.raises(UsageError, match="longer than the CA's maximum"):
            build(valid_before=NOW + timedelta(hours=8, seconds=1))

    @pytest.mark.parametrize(
        "changes",
        [
            {"serial": 0},
            {"serial": 2**32},
            {"valid_before": NOW},
            {"valid_before": NOW - HOUR},
            {"valid_after": NOW.replace(tzinfo=None)},
            {"valid_after": datetime(1960, 1, 1, tzinfo=UTC)},
            {"key_id": ""},
            {"key_id": "alice\nAccepted publickey for root"},
        ],
    )
    def test_senseless_requests_are_refused(self, changes) -> None:
        with pytest.raises(UsageError):
            build(**changes)

    @pytest.mark.parametrize("kind", ["ed25519", "p256"])
    def test_fido_subjects(self, kind: str) -> None:
        blob = fido_blob(kind)
        certificate = build(public_key=blob)
        assert (
            certificate.type
            == {
                "ed25519": "sk-ssh-ed25519-cert-v01@openssh.com",
                "p256": "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
            }[kind]
        )
        assert certificate.subject_key == blob
        verify_ssh_signature(certificate)

    @pytest.mark.parametrize(
        "ca",
        [
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
        ],
        ids=["p384", "p521", "rsa"],
    )
    def test_other_types_of_ca(self, ca) -> None:
        certificate = build(ca)
        verify_ssh_signature(certificate)
        loaded = load_ssh_public_identity(ssh_line(certificate).encode())
        assert isinstance(loaded, SSHCertificate)
        loaded.verify_cert_signature()

    def test_a_ca_of_a_curve_that_ssh_does_not_know(self) -> None:
        with pytest.raises((UsageError, ValueError)):
            build(ec.generate_private_key(ec.SECP256K1()))

    def test_nothing_is_signed_before_everything_is_checked(self) -> None:
        class Untouchable(ed25519.Ed25519PrivateKey):
            public_key = private_bytes = private_bytes_raw = sign = __copy__ = __deepcopy__ = None

        with pytest.raises(UsageError):
            build(Untouchable(), valid_before=NOW)
        with pytest.raises(MalformedInput):
            build(Untouchable(), public_key=b"\0\0\0\1x")
        for nobody in (
            Profile(AuthorityKind.SSH_USER, 8 * HOUR),
            replace(Profile.user(8 * HOUR), key_types=frozenset({"ssh-rsa"})),
        ):
            with pytest.raises(NotAllowed):
                build(Untouchable(), nobody)


class TestParse:
    def test_line_and_blob(self) -> None:
        certificate = build()
        line = ssh_line(certificate, "alice's")
        assert line.endswith(" alice's")
        assert parse_ssh_certificate(line + "\n") == certificate
        assert parse_ssh_certificate(certificate.blob) == certificate
        assert parse_ssh_certificate(ssh_line(certificate).encode()) == certificate

    def test_the_raw_certificate_of_these_tests_is_good(self) -> None:
        verify_ssh_signature(parse_ssh_certificate(RAW.blob))

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"serial": 0}, "serial 0"),
            ({"serial": 2**32}, "serial 4294967296"),
            ({"serial": 2**64 - 1}, "serial"),
            ({"kind": 0}, "of kind 0"),
            ({"kind": 3}, "of kind 3"),
            ({"valid_before": 2**64 - 1}, "never expires"),
            ({"valid_before": 253402300800}, "never expires"),
            ({"valid_before": 1_700_000_000}, "expires before it becomes valid"),
            ({"valid_after": 2**64 - 1}, "expires before it becomes valid"),
            ({"critical_options": options((b"no-such", b"x"))}, "unknown critical option"),
            (
                {"kind": 2, "critical_options": options((b"force-command", b"x"))},
                "unknown critical",
            ),
            ({"critical_options": b"\0"}, "truncated"),
            ({"critical_options": string(b"force-command") + string(b"\0\0\0\1xy")}, "too many"),
            ({"critical_options": options((b"force-command", b""))}, "force-command needs a value"),
            ({"critical_options": options((b"source-address", b"home"))}, "not an address"),
            ({"critical_options": options((b"verify-required", b"x"))}, "takes no value"),
            ({"extensions": options((b"permit-pty", b"x"))}, "permit-pty.* takes no value"),
            ({"extensions": options((b"end-sessions@dpki", b"x"))}, "takes no value"),
            ({"extensions": string(b"a@b") + string(string(b""))}, "empty value"),
            ({"extensions": options((b"a@b", b"x" * 65536))}, "larger than 65536 bytes"),
            ({"extensions": options((b"b", b""), (b"a", b""))}, "not in order"),
            ({"extensions": options((b"a", b""), (b"a", b""))}, "given twice"),
            ({"extensions": options((b"\xff", b""))}, "not text"),
            ({"reserved": b"x"}, "reserved"),
            ({"key_id": b"a\x1b[2J"}, "control character"),
            ({"key_id": b"\xff"}, "not text"),
            ({"principals": b""}, "principals: a certificate without"),
            ({"principals": strings(b"a,b")}, "principals: 'a,b' is not"),
            ({"subject": string(bytes(31))}, "not a valid"),
            ({"type": b"ssh-ed25519"}, "not a type of SSH certificate"),
            ({"type": b"ssh-dss-cert-v01@openssh.com"}, "not a type of SSH certificate"),
            ({"type": b"sk-ssh-ed25519-cert-v01@openssh.com"}, "truncated"),
            ({"type": b"\xff\xff"}, "not text"),
            ({"signature_type": b"ssh-rsa"}, "damaged"),
            ({"signature_type": b"rsa-sha2-512"}, "damaged"),
        ],
    )
    def test_what_dpki_never_writes_is_refused(self, changes, reason: str) -> None:
        with pytest.raises(MalformedInput, match=reason):
            parse_ssh_certificate(RAW.with_(**changes).blob)

    def test_bytes_left_over_are_refused_everywhere(self) -> None:
        with pytest.raises(MalformedInput):
            parse_ssh_certificate(RAW.blob + b"\0")
        with pytest.raises(MalformedInput):
            parse_ssh_certificate(RAW.blob[:-1])

    @pytest.mark.parametrize(
        "text", ["", "no certificate", "ssh-ed25519-cert-v01@openssh.com !!!!", "x" * 200_000]
    )
    def test_no_line_of_a_certificate(self, text: str) -> None:
        with pytest.raises(MalformedInput):
            parse_ssh_certificate(text)

    def test_a_type_that_differs_from_the_content_is_refused(self) -> None:
        encoded = base64.b64encode(RAW.blob).decode()
        with pytest.raises(MalformedInput, match="the line says"):
            parse_ssh_certificate(f"ssh-rsa-cert-v01@openssh.com {encoded}")

    def test_other_base64_of_the_same_bytes_is_refused(self) -> None:
        # A nonce of this size gives base64 with padding, and so bits that a lax reader ignores.
        line = ssh_line(parse_ssh_certificate(RAW.with_(nonce=bytes(33)).blob))
        kind, encoded = line.split()
        assert encoded.endswith("=")
        last = encoded.rstrip("=")[-1]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        other = alphabet[alphabet.index(last) + 1]
        padding = encoded[len(encoded.rstrip("=")) :]
        with pytest.raises(MalformedInput, match="not canonical"):
            parse_ssh_certificate(f"{kind} {encoded.rstrip('=')[:-1]}{other}{padding}")

    def test_unknown_extensions_are_kept_as_they_are(self) -> None:
        raw = RAW.with_(extensions=options((b"login@example.org", b"alice")))
        assert parse_ssh_certificate(raw.blob).extensions == (("login@example.org", "alice"),)

    def test_a_foreign_ca_s_certificate_parses(self) -> None:
        """Its CA is unknown; that is another answer than "malformed"."""
        ca = rsa.generate_private_key(65537, 2048)
        signed = (
            SSHCertificateBuilder()
            .public_key(ed25519.Ed25519PrivateKey.generate().public_key())
            .serial(1)
            .type(SSHCertificateType.USER)
            .key_id(b"x")
            .valid_principals([b"alice"])
            .valid_after(1)
            .valid_before(2)
            .sign(ca)
        )
        certificate = parse_ssh_certificate(signed.public_bytes())
        assert certificate.signature_type == "rsa-sha2-512"
        assert certificate.authority_spki == spki_of(ca.public_key())
        verify_ssh_signature(certificate)


class TestSignature:
    def test_of_another_key_is_refused(self) -> None:
        good = RAW.blob
        forged = good[:-64] + ed25519.Ed25519PrivateKey.generate().sign(b"anything")
        with pytest.raises(SignatureInvalid):
            verify_ssh_signature(parse_ssh_certificate(forged))

    def test_of_another_content_is_refused(self) -> None:
        forged = RAW.with_(key_id=b"bob__").blob[:-64] + RAW.blob[-64:]
        with pytest.raises(SignatureInvalid):
            verify_ssh_signature(parse_ssh_certificate(forged))

    def test_by_sha1_is_refused(self) -> None:
        ca = rsa.generate_private_key(65537, 2048)
        signed = (
            SSHCertificateBuilder()
            .public_key(ed25519.Ed25519PrivateKey.generate().public_key())
            .serial(1)
            .type(SSHCertificateType.USER)
            .valid_principals([b"alice"])
            .valid_after(1)
            .valid_before(2)
            .sign(ca)
        )
        blob = base64.b64decode(signed.public_bytes().split()[1])
        modern = string(b"rsa-sha2-512") + string(bytes(256))
        body = blob[: -4 - len(modern)]
        sha1 = body + string(string(b"ssh-rsa") + string(bytes(256)))
        with pytest.raises(SignatureInvalid, match="SHA-1"):
            verify_ssh_signature(parse_ssh_certificate(sha1))


def test_comments_can_t_add_lines() -> None:
    with pytest.raises(MalformedInput):
        ssh_line(build(), "a\nb")
