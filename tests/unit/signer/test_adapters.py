import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, Hash

from dpki.errors import TokenError, UsageError
from dpki.signer.adapters import EcdsaAdapter, Ed25519Adapter, adapt, key_type_of
from dpki.signer.base import KeyType

ED25519 = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
OTHER_P256 = ec.generate_private_key(ec.SECP256R1())
SHA256_ECDSA = ec.ECDSA(SHA256())


def raw(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
    return r.to_bytes(32) + s.to_bytes(32)


def test_adapts_by_type() -> None:
    assert isinstance(adapt(ED25519.public_key(), ED25519.sign), Ed25519Adapter)
    assert isinstance(adapt(P256.public_key(), lambda digest: raw(P256, digest)), EcdsaAdapter)
    assert key_type_of(ED25519.public_key()) is KeyType.ED25519
    assert key_type_of(P256.public_key()) is KeyType.P256


def test_ed25519_takes_every_kind_of_buffer() -> None:
    key = adapt(ED25519.public_key(), ED25519.sign)
    assert isinstance(key, Ed25519Adapter)
    for data in (b"message", bytearray(b"message"), memoryview(b"message")):
        assert key.sign(data) == ED25519.sign(b"message")


def test_p256_gets_the_digest_and_gives_der() -> None:
    seen: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        seen.append(digest)
        return raw(P256, digest)

    signature = EcdsaAdapter(P256.public_key(), sign).sign(b"message", SHA256_ECDSA)
    P256.public_key().verify(signature, b"message", SHA256_ECDSA)
    hasher = Hash(SHA256())
    hasher.update(b"message")
    digest = hasher.finalize()
    assert seen == [digest]
    prehashed = ec.ECDSA(Prehashed(SHA256()))
    signature = EcdsaAdapter(P256.public_key(), sign).sign(digest, prehashed)
    P256.public_key().verify(signature, b"message", SHA256_ECDSA)


@pytest.mark.parametrize(
    "answer",
    [b"", bytes(64), b"\xff" * 64, ed25519.Ed25519PrivateKey.generate().sign(b"message")],
    ids=["empty", "zeros", "ones", "of another key"],
)
def test_a_wrong_ed25519_signature_is_withheld(answer: bytes) -> None:
    key = Ed25519Adapter(ED25519.public_key(), lambda _: answer)
    with pytest.raises(TokenError, match="withheld"):
        key.sign(b"message")


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"",
        lambda _: bytes(64),
        lambda _: b"\xff" * 64,
        lambda digest: raw(OTHER_P256, digest),
        lambda digest: raw(P256, bytes(32)),
        lambda digest: raw(P256, digest) + b"\0",
    ],
    ids=["empty", "zeros", "ones", "of another key", "of another digest", "a byte too long"],
)
def test_a_wrong_p256_signature_is_withheld(answer) -> None:
    key = EcdsaAdapter(P256.public_key(), answer)
    with pytest.raises(TokenError, match="withheld"):
        key.sign(b"message", SHA256_ECDSA)


@pytest.mark.parametrize("algorithm", [ec.ECDSA(SHA384()), ec.ECDSA(SHA1())])
def test_other_algorithms_are_refused_before_signing(algorithm) -> None:
    def never(_: bytes) -> bytes:
        raise AssertionError("signed")

    with pytest.raises(UsageError):
        EcdsaAdapter(P256.public_key(), never).sign(b"message", algorithm)


def test_a_digest_of_another_length_is_refused() -> None:
    key = EcdsaAdapter(P256.public_key(), lambda digest: raw(P256, digest))
    with pytest.raises(UsageError):
        key.sign(bytes(31), ec.ECDSA(Prehashed(SHA256())))


def test_the_check_is_not_vacuous() -> None:
    with pytest.raises(InvalidSignature):
        ED25519.public_key().verify(bytes(64), b"message")
