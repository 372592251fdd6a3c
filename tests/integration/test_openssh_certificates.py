"""SSH certificates from CAs in a token, before OpenSSH; and OpenSSH's certificates before dpki."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import parse_ssh_public_key, public_key_line, ssh_blob, ssh_fingerprint
from dpki.certificates.profile import ANYBODY, Profile, Subject
from dpki.certificates.ssh import (
    SshCertificate,
    build_ssh_certificate,
    parse_ssh_certificate,
    ssh_line,
    verify_ssh_signature,
)
from dpki.certificates.wire import string
from dpki.errors import MalformedInput, SignatureInvalid
from dpki.model import AuthorityKind
from dpki.signer.base import KeyType
from dpki.signer.pkcs11 import Pkcs11Signer, generate_key, open_signer
from scripts.stage import Client, Sshd, Stage, open_stage
from tests.openssh import PrivateKey, admits, describe, keygen, write_private_key
from tests.raw_certificates import RawCertificate, fido_blob, options, strings
from tests.soft_tokens import SoftHsmFolder

NOW = datetime.now(UTC).replace(microsecond=0)
ALGORITHMS = {
    KeyType.ED25519: "ssh-ed25519",
    KeyType.P256: "ecdsa-sha2-nistp256",
    KeyType.P384: "ecdsa-sha2-nistp384",
    KeyType.RSA3072: "rsa-sha2-512",
}
PROFILE = Profile.user(timedelta(hours=8))


@pytest.fixture(scope="module")
def cas(softhsm: SoftHsmFolder) -> Iterator[dict[KeyType, Pkcs11Signer]]:
    token = softhsm.token()
    signers = {}
    for key_type in KeyType:
        generate_key(token.uri(key_type.value), key_type, token.ask)
        signers[key_type] = open_signer(token.uri(key_type.value), token.ask)
    yield signers
    for signer in signers.values():
        signer.close()


def issue(
    signer: Pkcs11Signer, profile: Profile, subject: bytes, principal: str, serial: int = 3
) -> SshCertificate:
    return build_ssh_certificate(
        signer.private_key,
        profile,
        Subject(subject, (principal, "second"), "tester"),
        serial=serial,
        key_id=f"0x00/00/{serial}/tester",
        valid_after=NOW - timedelta(minutes=1),
        valid_before=NOW + timedelta(hours=1),
    )


class TestSshKeygen:
    @pytest.mark.parametrize("ca_type", KeyType)
    @pytest.mark.parametrize(
        ("subject_type", "bits"),
        [
            ("ed25519", ""),
            ("ecdsa", "256"),
            ("ecdsa", "384"),
            ("ecdsa", "521"),
            ("rsa", "2048"),
            ("fido", "ed25519"),
            ("fido", "p256"),
        ],
    )
    def test_reads_what_the_token_signed(
        self,
        cas: dict[KeyType, Pkcs11Signer],
        ca_type: KeyType,
        subject_type: str,
        bits: str,
        tmp_path: Path,
    ) -> None:
        if subject_type == "fido":
            (tmp_path / "id.pub").write_text(public_key_line(fido_blob(bits)) + "\n")
        else:
            sizes = ["-b", bits] if bits else []
            made = keygen("-q", "-t", subject_type, *sizes, "-N", "", "-f", tmp_path / "id")
            assert made.returncode == 0, made.stderr
        subject = parse_ssh_public_key((tmp_path / "id.pub").read_bytes())
        profile = Profile(
            AuthorityKind.SSH_USER,
            timedelta(hours=8),
            frozenset({"permit-pty", "permit-port-forwarding"}),
            (("source-address", "192.0.2.0/24"), ("force-command", "uptime -p")),
            ANYBODY,
        )
        certificate = issue(cas[ca_type], profile, subject.blob, "alice")
        (tmp_path / "id-cert.pub").write_text(ssh_line(certificate, "x") + "\n")
        said = describe(tmp_path / "id-cert.pub")
        algorithm = ALGORITHMS[ca_type]
        assert said[0] == f"Type: {certificate.type} user certificate"
        assert subject.fingerprint in said[1]
        assert ssh_fingerprint(certificate.authority_key) in said[2]
        assert said[2].endswith(f"(using {algorithm})")
        start, end = NOW - timedelta(minutes=1), NOW + timedelta(hours=1)
        assert said[3:] == [
            'Key ID: "0x00/00/3/tester"',
            "Serial: 3",
            f"Valid: from {start:%Y-%m-%dT%H:%M:%S} to {end:%Y-%m-%dT%H:%M:%S}",
            "Principals:",
            "alice",
            "second",
            "Critical Options:",
            "force-command uptime -p",
            "source-address 192.0.2.0/24",
            "Extensions:",
            "permit-port-forwarding",
            "permit-pty",
        ]

    def test_fingerprints_agree(self, cas: dict[KeyType, Pkcs11Signer], tmp_path: Path) -> None:
        for signer in cas.values():
            blob = ssh_blob(signer.public_key)
            (tmp_path / "ca.pub").write_text(public_key_line(blob) + "\n")
            assert ssh_fingerprint(blob) in keygen("-l", "-f", tmp_path / "ca.pub").stdout


class TestOthersCertificates:
    """What `ssh-keygen -s` signs parses, unless it is something that dpki refuses on purpose."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("keygen")
        for name, kind in (("ca", "ed25519"), ("rsa", "rsa"), ("p521", "ecdsa"), ("id", "ed25519")):
            bits = ["-b", "521"] if name == "p521" else []
            done = keygen("-q", "-t", kind, *bits, "-N", "", "-f", folder / name)
            assert done.returncode == 0, done.stderr
        return folder

    def sign(self, folder: Path, *arguments: str, ca: str = "ca") -> bytes:
        done = keygen("-q", "-s", folder / ca, "-I", "id", *arguments, folder / "id.pub")
        assert done.returncode == 0, done.stderr
        return (folder / "id-cert.pub").read_bytes()

    @pytest.mark.parametrize("ca", ["ca", "rsa", "p521"])
    @pytest.mark.parametrize("kind", [(), ("-h",)], ids=["user", "host"])
    def test_good_ones(self, folder: Path, ca: str, kind: tuple[str, ...]) -> None:
        line = self.sign(folder, "-z", "9", "-n", "a,b", "-V", "+1h", *kind, ca=ca)
        certificate = parse_ssh_certificate(line)
        verify_ssh_signature(certificate)
        assert certificate.principals == ("a", "b")
        assert certificate.serial == 9
        assert certificate.kind is (AuthorityKind.SSH_HOST if kind else AuthorityKind.SSH_USER)
        public = parse_ssh_public_key((folder / f"{ca}.pub").read_bytes())
        assert certificate.authority_key == public.blob

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("-z", "9", "-n", "a"), "never expires"),
            (("-z", "9", "-V", "+1h"), "without principals"),
            (("-n", "a", "-V", "+1h"), "serial 0"),
            (("-z", "9", "-n", "*", "-V", "+1h"), "not a principal"),
            (("-z", "4294967296", "-n", "a", "-V", "+1h"), "serial"),
            (("-z", "9", "-n", "a", "-V", "+1h", "-O", "critical:new-thing=x"), "unknown critical"),
        ],
    )
    def test_dangerous_ones(self, folder: Path, arguments: tuple[str, ...], reason: str) -> None:
        with pytest.raises(MalformedInput, match=reason):
            parse_ssh_certificate(self.sign(folder, *arguments))

    def test_sha1(self, folder: Path) -> None:
        arguments = ("-t", "ssh-rsa", "-z", "9", "-n", "a", "-V", "+1h")
        certificate = parse_ssh_certificate(self.sign(folder, *arguments, ca="rsa"))
        assert certificate.signature_type == "ssh-rsa"
        with pytest.raises(SignatureInvalid, match="SHA-1"):
            verify_ssh_signature(certificate)


class TestLogin:
    """A login in which both sides are known by certificates from a token."""

    @pytest.fixture(scope="class")
    def stage(self) -> Iterator[Stage]:
        with open_stage() as stage:
            yield stage

    @pytest.fixture(scope="class")
    def user(self, stage: Stage) -> Path:
        return write_private_key(stage.directory / "user", Ed25519PrivateKey.generate())

    @pytest.fixture(scope="class")
    def server(self, stage: Stage, cas: dict[KeyType, Pkcs11Signer]) -> Sshd:
        host = Ed25519PrivateKey.generate()
        key = write_private_key(stage.directory / "host", host)
        certificate = issue(
            cas[KeyType.ED25519],
            Profile.host(timedelta(hours=8)),
            ssh_blob(host.public_key()),
            "door",
        )
        (stage.directory / "host-cert.pub").write_text(ssh_line(certificate) + "\n")
        trusted = stage.directory / "trusted"
        users = [cas[key_type] for key_type in KeyType if key_type is not KeyType.ED25519]
        trusted.write_text("".join(public_key_line(ssh_blob(ca.public_key)) + "\n" for ca in users))
        return stage.start_sshd(
            "login",
            [
                f"HostKey {key}",
                f"HostCertificate {stage.directory / 'host-cert.pub'}",
                f"TrustedUserCAKeys {trusted}",
                "AuthorizedKeysFile none",
            ],
        )

    @pytest.fixture
    def client(
        self, stage: Stage, server: Sshd, user: Path, cas: dict[KeyType, Pkcs11Signer]
    ) -> Client:
        ca_line = public_key_line(ssh_blob(cas[KeyType.ED25519].public_key))
        known_hosts = stage.directory / "known_hosts"
        known_hosts.write_text(f"@cert-authority door {ca_line}\n")
        certificate = stage.directory / "user-cert.pub"
        self.certify(stage, user, cas[KeyType.P256], stage.account)
        return Client(user, certificate, known_hosts, None, "door")

    def certify(self, stage: Stage, user: Path, signer: Pkcs11Signer, principal: str) -> None:
        subject = parse_ssh_public_key(user.with_suffix(".pub").read_bytes()).blob
        line = ssh_line(issue(signer, PROFILE, subject, principal))
        (stage.directory / "user-cert.pub").write_text(line + "\n")

    @pytest.mark.parametrize("ca_type", [KeyType.P256, KeyType.P384, KeyType.RSA3072])
    def test_works_in_both_directions(
        self,
        stage: Stage,
        server: Sshd,
        client: Client,
        user: Path,
        cas: dict[KeyType, Pkcs11Signer],
        ca_type: KeyType,
    ) -> None:
        self.certify(stage, user, cas[ca_type], stage.account)
        assert admits(stage, server, client)

    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
        ],
        ids=["p256", "p384", "p521", "rsa"],
    )
    def test_works_with_keys_of_every_type(
        self,
        stage: Stage,
        server: Sshd,
        client: Client,
        key: PrivateKey,
        cas: dict[KeyType, Pkcs11Signer],
    ) -> None:
        """FIDO keys are missing for want of a token; ssh-keygen reads and verifies theirs above."""
        user = write_private_key(stage.directory / "other", key)
        self.certify(stage, user, cas[KeyType.P256], stage.account)
        assert admits(stage, server, replace(client, key=user))

    def test_a_host_by_another_name_is_refused(
        self, stage: Stage, server: Sshd, client: Client
    ) -> None:
        client.known_hosts.write_text(client.known_hosts.read_text().replace("door", "*"))
        outcome = stage.ssh(server, replace(client, name="window"))
        assert outcome.status != 0
        assert "Certificate invalid: name is not a listed principal" in outcome.stderr

    def test_another_principal_is_refused(
        self,
        stage: Stage,
        server: Sshd,
        client: Client,
        user: Path,
        cas: dict[KeyType, Pkcs11Signer],
    ) -> None:
        self.certify(stage, user, cas[KeyType.P256], "somebody-else")
        assert not admits(stage, server, client)

    def test_another_ca_is_refused(
        self,
        stage: Stage,
        server: Sshd,
        client: Client,
        user: Path,
        cas: dict[KeyType, Pkcs11Signer],
    ) -> None:
        self.certify(stage, user, cas[KeyType.ED25519], stage.account)
        assert not admits(stage, server, client)

    def test_the_bare_key_is_refused(self, stage: Stage, server: Sshd, client: Client) -> None:
        (stage.directory / "user-cert.pub").unlink()
        assert not admits(stage, server, replace(client, certificate=None))


class TestOptions:
    """A certificate with options that sshd can't read is refused whole; dpki refuses the same."""

    @pytest.fixture(scope="class")
    def stage(self) -> Iterator[Stage]:
        with open_stage() as stage:
            yield stage

    @pytest.fixture(scope="class")
    def raw(self, stage: Stage) -> RawCertificate:
        user = Ed25519PrivateKey.generate()
        write_private_key(stage.directory / "user", user)
        return RawCertificate(
            subject=string(user.public_key().public_bytes_raw()),
            principals=string(stage.account.encode()),
            valid_after=int((NOW - timedelta(minutes=1)).timestamp()),
            valid_before=int((NOW + timedelta(hours=1)).timestamp()),
        )

    @pytest.fixture(scope="class")
    def server(self, stage: Stage, raw: RawCertificate) -> Sshd:
        key = write_private_key(stage.directory / "host", Ed25519PrivateKey.generate())
        trusted = stage.directory / "trusted"
        trusted.write_text(public_key_line(ssh_blob(raw.ca.public_key())) + "\n")
        host = key.with_name("host.pub").read_text()
        (stage.directory / "known_hosts").write_text(f"door {host}\n")
        return stage.start_sshd(
            "options",
            [f"HostKey {key}", f"TrustedUserCAKeys {trusted}", "AuthorizedKeysFile none"],
        )

    @pytest.mark.parametrize(
        ("field", "encoded", "good"),
        [
            ("extensions", options((b"permit-pty", b"")), True),
            ("extensions", options((b"permit-pty", b"yes")), False),
            ("extensions", strings(b"permit-pty", string(b"")), False),
            ("extensions", options((b"login@example.org", b"alice")), True),
            ("critical_options", options((b"force-command", b"echo logged-in")), True),
            ("critical_options", options((b"force-command", b"")), False),
            ("critical_options", options((b"source-address", b"127.0.0.0/8")), True),
            ("critical_options", options((b"source-address", b"::1,127.0.0.1")), True),
            ("critical_options", options((b"source-address", b"")), False),
            ("critical_options", options((b"source-address", b"127.0.0.0/255.0.0.0")), False),
            ("critical_options", options((b"source-address", b"127.0.0.0/0.255.255.255")), False),
            ("critical_options", options((b"source-address", b"127.0.0.1/8")), False),
            ("critical_options", options((b"source-address", b"127.0.0.1,")), False),
            ("critical_options", options((b"source-address", b"127.0.0.1,::1%lo")), False),
            ("critical_options", options((b"source-address", b"localhost")), False),
            ("critical_options", options((b"verify-required", b"")), True),
            ("critical_options", options((b"verify-required", b"yes")), False),
            ("critical_options", strings(b"verify-required", string(b"")), False),
        ],
        ids=repr,
    )
    def test_sshd_and_dpki_refuse_the_same(
        self,
        stage: Stage,
        server: Sshd,
        raw: RawCertificate,
        field: str,
        encoded: bytes,
        good: bool,
    ) -> None:
        blob = raw.with_(**{field: encoded}).blob
        certificate = stage.directory / "user-cert.pub"
        encoded_line = base64.b64encode(blob).decode()
        certificate.write_text(f"{raw.type.decode()} {encoded_line}\n")
        client = Client(
            stage.directory / "user", certificate, stage.directory / "known_hosts", None, "door"
        )
        assert admits(stage, server, client) == good
        if good:
            verify_ssh_signature(parse_ssh_certificate(blob))
        else:
            with pytest.raises(MalformedInput, match=r"SSH certificate"):
                parse_ssh_certificate(blob)
