import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from dpki.certificates.keys import (
    authority_id,
    authority_spki,
    load_subject_key,
    parse_public_key,
    parse_ssh_public_key,
    public_blob,
    public_key_line,
    spki_of,
    ssh_blob,
    ssh_fingerprint,
)
from dpki.certificates.wire import string, uint32
from dpki.errors import MalformedInput

ED25519 = ed25519.Ed25519PrivateKey.generate().public_key()
P256 = ec.generate_private_key(ec.SECP256R1()).public_key()
POINT = P256.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
SK_ED25519 = string(b"sk-ssh-ed25519@openssh.com") + string(ED25519.public_bytes_raw())
SK_P256 = string(b"sk-ecdsa-sha2-nistp256@openssh.com") + string(b"nistp256") + string(POINT)


def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """Return a public key of this size; nobody knows its factors."""
    return rsa.RSAPublicNumbers(exponent, (1 << bits - 1) | 1).public_key()


def dsa_blob() -> bytes:
    """Return the blob of a new DSA key; `cryptography` still reads it."""
    numbers = dsa.generate_private_key(1024).public_key().public_numbers()
    group = numbers.parameter_numbers
    mpints = (group.p, group.q, group.g, numbers.y)
    return string(b"ssh-dss") + b"".join(
        string(number.to_bytes(number.bit_length() // 8 + 1)) for number in mpints
    )


DSA_BLOB = dsa_blob()
PKCS8 = ed25519.Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
ENCRYPTED = b"".join(
    [
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        base64.b64encode(
            b"openssh-key-v1\0"
            + string(b"aes256-ctr")
            + string(b"bcrypt")
            + string(string(bytes(16)) + uint32(16))
            + uint32(1)
            + string(ssh_blob(ED25519))
            + string(bytes(160))
        ),
        b"\n-----END OPENSSH PRIVATE KEY-----\n",
    ]
)
P384 = ec.generate_private_key(ec.SECP384R1()).public_key()
RSA3072 = rsa_key(3072)


class TestAuthorityKeys:
    @pytest.mark.parametrize(
        ("key", "size"),
        [(ED25519, 44), (P256, 91), (P384, 120), (RSA3072, 422)],
        ids=["ed25519", "p256", "p384", "rsa3072"],
    )
    def test_round_trip(self, key, size) -> None:
        spki = spki_of(key)
        assert len(spki) == size
        assert spki_of(parse_public_key(spki)) == spki
        assert authority_id(spki) == hashlib.sha256(spki).digest()
        assert authority_spki(ssh_blob(key)) == spki

    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP521R1()).public_key(),
            ec.generate_private_key(ec.SECP256K1()).public_key(),
            rsa_key(2048),
            rsa_key(3071),
            rsa_key(4097),
            rsa_key(3072, exponent=3),
        ],
        ids=["P-521", "secp256k1", "RSA-2048", "RSA-3071", "RSA-4097", "exponent 3"],
    )
    def test_other_types_are_refused(self, key) -> None:
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(MalformedInput, match="of a type that dpki does not know"):
            parse_public_key(spki)

    def test_rsa_keys_have_one_spelling(self) -> None:
        """Without its NULL parameters it is the same key, and would be another CA."""
        spki = spki_of(RSA3072)
        oid = bytes.fromhex("300d06092a864886f70d0101010500")
        short = bytes.fromhex("300b06092a864886f70d010101")
        assert oid in spki
        inner = spki[4:].replace(oid, short)
        with pytest.raises(MalformedInput):
            parse_public_key(b"\x30\x82" + len(inner).to_bytes(2) + inner)

    def test_compressed_point_is_refused(self) -> None:
        point = P256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
        with pytest.raises(MalformedInput, match="canonical"):
            parse_public_key(spki)

    def test_point_off_the_curve_is_refused(self) -> None:
        spki = bytearray(spki_of(P256))
        spki[-1] ^= 1
        with pytest.raises(MalformedInput):
            parse_public_key(bytes(spki))

    @pytest.mark.parametrize("spki", [b"", b"\x30\x00", spki_of(ED25519) + b"\0", b"\xff" * 44])
    def test_garbage_is_refused(self, spki: bytes) -> None:
        with pytest.raises(MalformedInput):
            parse_public_key(spki)


class TestSshKeys:
    @pytest.mark.parametrize(
        "key",
        [
            ED25519,
            P256,
            ec.generate_private_key(ec.SECP384R1()).public_key(),
            ec.generate_private_key(ec.SECP521R1()).public_key(),
            rsa.generate_private_key(65537, 2048).public_key(),
        ],
        ids=["ed25519", "p256", "p384", "p521", "rsa"],
    )
    def test_lines_and_blobs(self, key) -> None:
        blob = ssh_blob(key)
        parsed = parse_ssh_public_key(blob)
        assert parsed.blob == blob
        assert parsed.comment == ""
        line = f"{parsed.type} {base64.b64encode(blob).decode()} alice's laptop"
        assert public_key_line(blob, "alice's laptop") == line
        for text in (line, line + "\n", line.encode() + b"\r\n"):
            again = parse_ssh_public_key(text)
            assert (again.blob, again.comment, again.type) == (blob, "alice's laptop", parsed.type)
        assert again.line == line
        assert not again.is_security_key

    @pytest.mark.parametrize("start", [SK_ED25519, SK_P256], ids=["ed25519", "p256"])
    def test_fido_keys(self, start: bytes) -> None:
        parsed = parse_ssh_public_key(start + string(b"ssh:"))
        assert parsed.is_security_key
        assert parse_ssh_public_key(parsed.line) == parsed

    @pytest.mark.parametrize("start", [SK_ED25519, SK_P256], ids=["ed25519", "p256"])
    def test_a_fido_key_is_no_ca_s(self, start: bytes) -> None:
        with pytest.raises(MalformedInput, match="can't be a FIDO key"):
            authority_spki(start + string(b"ssh:"))

    def test_fingerprint_is_openssh_s(self) -> None:
        # Published by GitHub, with the key.
        blob = base64.b64decode(
            "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        )
        assert parse_ssh_public_key(blob).fingerprint == ssh_fingerprint(blob)
        assert ssh_fingerprint(blob) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"

    @pytest.mark.parametrize(
        "blob",
        [
            ssh_blob(ED25519) + b"\0",
            ssh_blob(ED25519)[:-1],
            string(b"ssh-ed25519") + string(b"short"),
            string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(POINT),
            string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(POINT[:-1] + b"\0"),
            string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0\0" + b"\xc1" * 256),
            string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0" + b"\xc1" * 128),
            string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0" + b"\xc1" * 70_000),
            SK_ED25519,
            SK_ED25519 + string(b"ssh:") + b"\0",
            SK_ED25519 + string(b"https://example.org"),
            SK_ED25519 + string(b"ssh:\x1b[2J"),
            SK_P256 + string(b"ssh:")[:-1],
            string(b"sk-ecdsa-sha2-nistp256@openssh.com")
            + string(b"nistp384")
            + string(POINT)
            + string(b"ssh:"),
            string(b"sk-ssh-rsa@openssh.com") + string(b"x"),
            string(b"ssh-ed25519-cert-v01@openssh.com") + string(b"x"),
            string(b"ssh-dss") + string(b"x"),
            string(b"\xff\xfe"),
        ],
    )
    def test_damaged_weak_or_foreign_blobs_are_refused(self, blob: bytes) -> None:
        with pytest.raises(MalformedInput):
            parse_ssh_public_key(blob)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "ssh-ed25519",
            "alice",
            f"no-pty {public_key_line(ssh_blob(ED25519))}",
            f"{public_key_line(ssh_blob(ED25519))}\n{public_key_line(ssh_blob(P256))}",
            public_key_line(ssh_blob(ED25519)).replace("ssh-ed25519", "ssh-rsa"),
            public_key_line(ssh_blob(ED25519)) + " evil\x1b[2J",
            "ssh-ed25519 " + "A" * 200_000,
            "ssh-ed25519 A",
        ],
    )
    def test_other_lines_are_refused(self, line: str) -> None:
        with pytest.raises(MalformedInput):
            parse_ssh_public_key(line)

    def test_a_private_key_is_named_as_one_and_not_repeated(self) -> None:
        private = ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        with pytest.raises(MalformedInput, match="this is a private key") as caught:
            parse_ssh_public_key(private)
        assert private.split(b"\n")[1].decode() not in str(caught.value)

    @pytest.mark.parametrize("kind", [b"sk-ssh-rsa@openssh.com", b"ssh-dss"])
    def test_types_that_no_certificate_can_have(self, kind: bytes) -> None:
        with pytest.raises(MalformedInput, match=r"not supported|not a valid"):
            load_subject_key(string(kind) + string(b"x"))

    @pytest.mark.parametrize("load", [load_subject_key, authority_spki, parse_ssh_public_key])
    def test_a_sound_key_of_a_type_that_openssh_gave_up(self, load) -> None:
        with pytest.raises(MalformedInput, match="'ssh-dss' is not supported"):
            load(DSA_BLOB)

    @pytest.mark.parametrize("private", [b"", b"no key", ENCRYPTED, PKCS8])
    def test_a_private_key_that_can_t_be_read_is_not_repeated(self, private: bytes) -> None:
        with pytest.raises(
            MalformedInput, match="not an unencrypted OpenSSH private key"
        ) as caught:
            public_blob(private)
        assert "BEGIN" not in str(caught.value)

    def test_the_public_half_of_a_private_key(self) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        assert public_blob(text) == ssh_blob(private.public_key())

    def test_a_private_dsa_key_is_refused(self) -> None:
        private = dsa.generate_private_key(1024).private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        with pytest.raises(MalformedInput, match="can't be certified"):
            public_blob(private)

    def test_what_openssh_can_t_hold_is_no_subject(self) -> None:
        assert load_subject_key(ssh_blob(rsa_key(16384)))
        with pytest.raises(MalformedInput, match="16385 bits is too large"):
            load_subject_key(ssh_blob(rsa_key(16385)))

    def test_weak_rsa_names_the_reason(self) -> None:
        key = rsa.generate_private_key(65537, 1024).public_key()
        with pytest.raises(MalformedInput, match="1024 bits is too weak"):
            parse_ssh_public_key(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
