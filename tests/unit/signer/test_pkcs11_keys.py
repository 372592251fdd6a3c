"""What a module says of its keys, judged: no module is asked here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurve,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dpki.errors import TokenError
from dpki.signer.base import KeyType
from dpki.signer.pkcs11_keys import ALGORITHMS, algorithm_of, find_public, verify_attributes
from dpki.signer.pkcs11_token import FoundKey, Login
from dpki.signer.uri import Pkcs11Uri

URI = Pkcs11Uri("acme", "ca")
PRIVATE = FoundKey(0, {"LABEL": "ca", "ID": "01"})
P256 = "06082a8648ce3d030107"


@dataclass
class SaidLogin:
    """A login at a token that says this of its only public key."""

    attributes: dict[str, object]

    def search(
        self, what: str, kind: str, label: str, identifier: bytes, attributes: Collection[str]
    ) -> list[FoundKey]:
        assert (kind, label, identifier) == ("PUBLIC_KEY", "ca", b"\x01")
        assert set(self.attributes) <= set(attributes)
        return [FoundKey(1, self.attributes)]


def public(kind: str, parameters: str, point: bytes) -> Login:
    said = {"KEY_TYPE": kind, "EC_PARAMS": parameters, "EC_POINT": point.hex()}
    return cast(Login, SaidLogin(said))


def point(curve: EllipticCurve) -> bytes:
    key = generate_private_key(curve).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize("head", [b"", b"\x04\x41"], ids=["bare", "as an octet string"])
def test_a_point_is_read_in_both_spellings(head: bytes) -> None:
    raw = point(SECP256R1())
    algorithm, key = find_public(public("EC", P256, head + raw), PRIVATE, URI)
    assert algorithm is ALGORITHMS[KeyType.P256]
    assert key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not encoded as PKCS#11 wants it"),
        (point(SECP256R1())[:-1], "is not encoded as PKCS#11 wants it"),
        (b"\x04" + bytes(63) + b"\x01", "is not a proper one"),
        (b"\x05" + point(SECP256R1())[1:], "is not a proper one"),
    ],
    ids=["none", "short", "off the curve", "no point"],
)
def test_a_point_that_is_none(raw: bytes, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        find_public(public("EC", P256, raw), PRIVATE, URI)


@pytest.mark.parametrize(
    "said",
    [
        {"KEY_TYPE": "EC", "EC_PARAMS": "06052b81040023"},
        {"KEY_TYPE": "EC_MONTGOMERY", "EC_PARAMS": P256},
        {"KEY_TYPE": "EC"},
        {"KEY_TYPE": "DSA"},
        {"KEY_TYPE": "RSA"},
        {"KEY_TYPE": "RSA", "MODULUS": "00" * 200 + "ff" * 256},
        {"KEY_TYPE": "RSA", "MODULUS": "ff" * 513},
        {},
    ],
)
def test_keys_that_no_ca_has(said: dict[str, object]) -> None:
    assert algorithm_of(FoundKey(0, said)) is None
    with pytest.raises(TokenError, match="is of a type that no CA's key has"):
        find_public(cast(Login, SaidLogin(said)), PRIVATE, URI)


@pytest.mark.parametrize("said", [{}, {"SENSITIVE": None}, {"SENSITIVE": 1}, {"SENSITIVE": "True"}])
def test_what_is_not_said_to_be_safe_is_not(said: dict[str, object]) -> None:
    with pytest.raises(TokenError, match="is not safe in its token: SENSITIVE is"):
        verify_attributes(FoundKey(0, said), {"SENSITIVE": True}, URI)
