import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from dpki.certificates.keys import ssh_blob
from dpki.certificates.signature import sign_ssh, signature_type, verify_ssh
from dpki.certificates.wire import WireReader, string
from dpki.errors import MalformedInput, SignatureInvalid, UsageError
from tests.raw_certificates import fido_blob, strings

KEYS = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-sha2-nistp521": ec.generate_private_key(ec.SECP521R1()),
    "rsa-sha2-512": rsa.generate_private_key(65537, 2048),
}
RSA, P256 = KEYS["rsa-sha2-512"], KEYS["ecdsa-sha2-nistp256"]
DATA = b"to be signed"


@pytest.mark.parametrize("kind", KEYS)
class TestEveryType:
    def test_verifies(self, kind: str) -> None:
        signature, public = sign_ssh(KEYS[kind], DATA), ssh_blob(KEYS[kind].public_key())
        assert signature_type(signature, public) == kind
        verify_ssh(signature, public, DATA)

    def test_nothing_else_verifies(self, kind: str) -> None:
        signature, public = sign_ssh(KEYS[kind], DATA), ssh_blob(KEYS[kind].public_key())
        with pytest.raises(SignatureInvalid, match="does not verify"):
            verify_ssh(signature, public, DATA + b"!")
        with pytest.raises(MalformedInput):
            verify_ssh(signature + b"\0", public, DATA)
        with pytest.raises(MalformedInput):
            verify_ssh(signature[:-1], public, DATA)

    def test_another_type_s_key_is_refused(self, kind: str) -> None:
        other = next(key for name, key in KEYS.items() if name != kind)
        with pytest.raises(MalformedInput, match="makes no"):
            verify_ssh(sign_ssh(KEYS[kind], DATA), ssh_blob(other.public_key()), DATA)


def test_rsa_with_sha_256_verifies() -> None:
    signature = strings(b"rsa-sha2-256", RSA.sign(DATA, PKCS1v15(), SHA256()))
    verify_ssh(signature, ssh_blob(RSA.public_key()), DATA)


def test_rsa_with_sha_1_is_refused_though_it_verifies() -> None:
    signature = strings(b"ssh-rsa", RSA.sign(DATA, PKCS1v15(), SHA1()))
    with pytest.raises(SignatureInvalid, match="SHA-1"):
        verify_ssh(signature, ssh_blob(RSA.public_key()), DATA)


def test_a_shortened_rsa_signature_is_refused() -> None:
    signature = strings(b"rsa-sha2-512", RSA.sign(DATA, PKCS1v15(), SHA256())[:-1])
    with pytest.raises(SignatureInvalid):
        verify_ssh(signature, ssh_blob(RSA.public_key()), DATA)


def test_a_plain_signature_under_a_fido_key_is_refused() -> None:
    """A FIDO token signs other bytes than it is given; a CA's key never lives in one."""
    with pytest.raises(MalformedInput, match="makes no"):
        verify_ssh(strings(b"sk-ssh-ed25519@openssh.com", bytes(64)), fido_blob("ed25519"), DATA)


def test_r_and_s_have_one_spelling() -> None:
    public = ssh_blob(P256.public_key())
    reader = WireReader(sign_ssh(P256, DATA), "signature")
    kind, value = reader.string(), WireReader(reader.string(), "signature")
    r, s = value.string(), value.string()
    with pytest.raises(MalformedInput, match="canonical"):
        verify_ssh(strings(kind, strings(b"\0\0" + r, s)), public, DATA)
    with pytest.raises(SignatureInvalid):
        verify_ssh(strings(kind, strings(b"", s)), public, DATA)
    with pytest.raises(MalformedInput):
        verify_ssh(strings(kind, strings(r, s) + string(b"")), public, DATA)


def test_a_curve_that_ssh_does_not_know_signs_nothing() -> None:
    with pytest.raises(UsageError, match="secp256k1"):
        sign_ssh(ec.generate_private_key(ec.SECP256K1()), DATA)
