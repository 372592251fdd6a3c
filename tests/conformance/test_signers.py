"""What every signer promises, whether its key is in a token or, for tests, in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.certificates.keys import parse_public_key, spki_of, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, verify_ssh_signature
from dpki.errors import NotAllowed, TokenError, UsageError
from dpki.signer.base import KeyType, Signer
from dpki.signer.pkcs11 import generate_key, open_signer
from dpki.signer.software import SoftwareSigner
from tests.signing import sign_message
from tests.soft_tokens import SoftHsmFolder, SoftToken

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
SUBJECT = Subject(ssh_blob(ed25519.Ed25519PrivateKey.generate().public_key()), ("a",), "a")

X509_HASHES = {
    KeyType.ED25519: None,
    KeyType.P256: SHA256(),
    KeyType.P384: SHA384(),
    KeyType.RSA3072: SHA256(),
}

OpenSigner = Callable[[], Signer]


@pytest.fixture(scope="module")
def token(softhsm: SoftHsmFolder) -> SoftToken:
    token = softhsm.token()
    for key_type in KeyType:
        generate_key(token.uri(key_type.value), key_type, token.ask)
    return token


@pytest.fixture(params=KeyType, ids=lambda key_type: key_type.value)
def key_type(request: pytest.FixtureRequest) -> KeyType:
    return request.param


@pytest.fixture(params=["pkcs11", "software"])
def make(request: pytest.FixtureRequest, key_type: KeyType, token: SoftToken) -> OpenSigner:
    if request.param == "pkcs11":
        return lambda: open_signer(token.uri(key_type.value), token.ask)
    return lambda: SoftwareSigner.generate(key_type, key_type.value)


@pytest.fixture
def signer(make: OpenSigner) -> Iterator[Signer]:
    with make() as signer:
        yield signer


def sign(signer: Signer, message: bytes) -> bytes:
    return sign_message(signer.private_key, message)


def verify(signer: Signer, signature: bytes, message: bytes) -> None:
    key = signer.public_key
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, PKCS1v15(), SHA512())
    else:
        key.verify(signature, message, ec.ECDSA(SHA256() if key.key_size == 256 else SHA384()))


def test_says_what_it_is(signer: Signer, key_type: KeyType) -> None:
    assert signer.key_type is key_type
    assert signer.uri.object == key_type.value
    assert signer.private_key.public_key() == signer.public_key


def test_its_public_key_can_be_registered(signer: Signer) -> None:
    spki = spki_of(signer.public_key)
    assert spki_of(parse_public_key(spki)) == spki


@pytest.mark.parametrize("message", [b"", b"x", bytes(100_000)], ids=["0", "1", "100000"])
def test_signs_messages_of_any_length(signer: Signer, message: bytes) -> None:
    verify(signer, sign(signer, message), message)


@pytest.mark.parametrize("profile", [Profile.user(HOUR), Profile.host(HOUR)], ids=["user", "host"])
def test_signs_ssh_certificates(signer: Signer, profile: Profile) -> None:
    certificate = build_ssh_certificate(
        signer.private_key,
        profile,
        SUBJECT,
        serial=1,
        key_id="x",
        valid_after=NOW,
        valid_before=NOW + HOUR,
    )
    verify_ssh_signature(certificate)
    assert certificate.authority_key == ssh_blob(signer.public_key)


def test_signs_x509(signer: Signer, key_type: KeyType) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .sign(signer.private_key, X509_HASHES[key_type])
    )
    certificate.verify_directly_issued_by(certificate)


def test_its_key_can_t_be_had(signer: Signer) -> None:
    key = signer.private_key
    with pytest.raises(NotAllowed):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        with pytest.raises(NotAllowed):
            key.private_bytes_raw()
    else:
        with pytest.raises(NotAllowed):
            key.private_numbers()


def test_its_key_agrees_on_nothing_and_opens_nothing(signer: Signer, key_type: KeyType) -> None:
    key = signer.private_key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        peer = ec.generate_private_key(key.curve).public_key()
        with pytest.raises(NotAllowed):
            key.exchange(ec.ECDH(), peer)
        assert key.key_size == (256 if key_type is KeyType.P256 else 384)
        assert key.curve.name == f"secp{key.key_size}r1"
    elif isinstance(key, rsa.RSAPrivateKey):
        with pytest.raises(NotAllowed):
            key.decrypt(bytes(384), OAEP(MGF1(SHA256()), SHA256(), None))
        assert key.key_size == 3072


def test_signs_with_no_other_algorithm(signer: Signer) -> None:
    key = signer.private_key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        with pytest.raises(UsageError):
            key.sign(b"x", ec.ECDSA(SHA512()))
    elif isinstance(key, rsa.RSAPrivateKey):
        with pytest.raises(UsageError):
            key.sign(b"x", PKCS1v15(), SHA1())
        with pytest.raises(UsageError):
            key.sign(b"x", PSS(MGF1(SHA256()), 32), SHA256())


def test_copies_are_the_same_key(signer: Signer) -> None:
    assert copy.copy(signer.private_key) is signer.private_key
    assert copy.deepcopy(signer.private_key) is signer.private_key


def test_many_threads_sign_at_once(signer: Signer) -> None:
    def work(number: int) -> None:
        for round_ in range(20):
            message = b"%d/%d" % (number, round_)
            verify(signer, sign(signer, message), message)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result()


def test_signs_nothing_after_it_is_closed(make: OpenSigner) -> None:
    signer = make()
    signer.close()
    signer.close()
    with pytest.raises(TokenError, match="is closed"):
        sign(signer, b"x")


def test_closing_while_threads_sign_gives_signatures_or_a_clear_error(make: OpenSigner) -> None:
    signer = make()

    def work() -> tuple[int, str]:
        count = 0
        try:
            while True:
                verify(signer, sign(signer, b"x"), b"x")
                count += 1
                if count == 3:
                    signer.close()
        except TokenError as error:
            return count, error.message

    with ThreadPoolExecutor(4) as pool:
        ends = [done.result() for done in [pool.submit(work) for _ in range(4)]]
    assert max(count for count, _ in ends) >= 3
    assert all("is closed" in message for _, message in ends)


def test_prints_as_its_uri(signer: Signer) -> None:
    assert str(signer.uri) in repr(signer)
