"""Key objects in a PKCS#11 token: how they are spelled, found, made and checked.

What the module says of them is judged here, outside the module's process.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from dpki.certificates.keys import AuthorityPublicKey
from dpki.errors import AmbiguousKey, KeyNotFound, TokenError
from dpki.signer.base import KeyType
from dpki.signer.pkcs11_token import FoundKey, Login
from dpki.signer.uri import Pkcs11Uri


@dataclass(frozen=True)
class Algorithm:
    """How PKCS#11 spells a type of key (PKCS#11 3.0, sections 2.1, 2.3.1 and 2.3.14).

    Attributes:
        name: For people.
        kind: CKA_KEY_TYPE, without CKK_.
        generation: The mechanism that makes a pair, without CKM_.
        signing: The mechanism that signs; see `adapters.SignRaw`.
        parameters: DER of the curve: the first is written, all are read. Empty for RSA.
        curve: The curve; None where it has none, or is Edwards'.
        point_size: Bytes of a public point.
    """

    name: str
    kind: str
    generation: str
    signing: str
    parameters: tuple[bytes, ...] = ()
    curve: ec.EllipticCurve | None = None
    point_size: int = 0


def _weierstrass(name: str, curve: ec.EllipticCurve, oid: str) -> Algorithm:
    return Algorithm(
        name,
        "EC",
        "EC_KEY_PAIR_GEN",
        "ECDSA",
        (bytes.fromhex(oid),),
        curve,
        1 + 2 * ((curve.key_size + 7) // 8),
    )


ALGORITHMS = {
    KeyType.ED25519: Algorithm(
        "Ed25519",
        "EC_EDWARDS",
        "EC_EDWARDS_KEY_PAIR_GEN",
        "EDDSA",
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        None,
        32,
    ),
    KeyType.P256: _weierstrass("P-256", ec.SECP256R1(), "06082a8648ce3d030107"),
    KeyType.P384: _weierstrass("P-384", ec.SECP384R1(), "06052b81040022"),
    KeyType.RSA3072: Algorithm("RSA-3072", "RSA", "RSA_PKCS_KEY_PAIR_GEN", "RSA_PKCS"),
}
"""What a CA's key can be."""

SECP256K1 = _weierstrass("secp256k1", ec.SECP256K1(), "06052b8104000a")
"""What a wallet's key is."""

PublicKey = AuthorityPublicKey
_EVERY = (*ALGORITHMS.values(), SECP256K1)
_RSA_BITS = 3072
_RSA_BYTES = range(3072 // 8, 4096 // 8 + 1)

PROTECTED = {"TOKEN": True, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": False}
_BORN_THERE = {"ALWAYS_SENSITIVE": True, "NEVER_EXTRACTABLE": True, "LOCAL": True}
_OCTET_STRING = 0x04

TYPE = ("KEY_TYPE", "EC_PARAMS", "MODULUS")
"""What says of which type a key is."""


def generate(login: Login, uri: Pkcs11Uri, algorithm: Algorithm) -> PublicKey:
    """Make a pair in the token: sensitive, never extractable, and confirmed to be.

    Raises:
        AmbiguousKey: The label is taken; nothing was made.
        TokenError: The token lacks a mechanism (nothing was made), or did not make the key as it
            should have (it is removed again when the login is closed).
    """
    what = f"making key {uri}"
    for kind in ("PRIVATE_KEY", "PUBLIC_KEY"):
        if login.search(what, kind, uri.object, b"", ()):
            raise AmbiguousKey(
                f"token {uri.token_name!r} already has a key labelled {uri.object!r}",
                hint="take another label; keys are never overwritten",
            )
    there = login.mechanisms(what)
    for mechanism in (algorithm.generation, algorithm.signing):
        if mechanism not in there:
            raise no_mechanism(f"making a key of type {algorithm.name}", mechanism)
    identifier = uri.id or secrets.token_bytes(8)
    login.generate(
        what,
        kind=algorithm.kind,
        mechanism=algorithm.generation,
        parameters=algorithm.parameters[0] if algorithm.parameters else b"",
        bits=_RSA_BITS,
        label=uri.object,
        identifier=identifier,
    )
    # By its label alone: another process may have been at it. Both see two keys, both withdraw.
    private = find_private(login, replace(uri, id=b""))
    verify_attributes(private, PROTECTED | _BORN_THERE, uri)
    _, public = find_public(login, private, uri)
    login.keep(what)
    return public


def find_private(login: Login, uri: Pkcs11Uri) -> FoundKey:
    """Return the one private key that matches.

    Raises:
        KeyNotFound: None does.
        AmbiguousKey: More than one does.
    """
    what = f"opening key {uri}"
    wanted = (*PROTECTED, *_BORN_THERE, "SIGN")
    keys = login.search(what, "PRIVATE_KEY", uri.object, uri.id, wanted)
    if not keys:
        labels = {key.label for key in login.search(what, "PRIVATE_KEY", "", b"", ())}
        there = ", ".join(sorted(repr(label) for label in labels)) or "none"
        raise KeyNotFound(f"no key matches {uri}; keys there: {there}")
    if len(keys) > 1:
        ids = ", ".join(f"%{key.id.hex('%')}" if key.id else "(none)" for key in keys)
        raise AmbiguousKey(
            f"{len(keys)} keys match {uri}", hint=f"say which one by ;id= and one of {ids}"
        )
    return keys[0]


def find_public(login: Login, private: FoundKey, uri: Pkcs11Uri) -> tuple[Algorithm, PublicKey]:
    """Return the type and the public half of a key: the private object does not hold it.

    Raises:
        KeyNotFound, AmbiguousKey: Not one public key in the token belongs to it.
        TokenError: It is of a type that dpki does not use, or damaged.
    """
    wanted = (*TYPE, "EC_POINT", "PUBLIC_EXPONENT")
    found = login.search(f"opening key {uri}", "PUBLIC_KEY", private.label, private.id, wanted)
    if len(found) != 1:
        error = AmbiguousKey if found else KeyNotFound
        raise error(f"{len(found)} public keys in the token belong to {uri}; it must be one")
    algorithm = algorithm_of(found[0])
    if algorithm is None:
        raise TokenError(
            f"{uri} is of a type that no CA's key has",
            hint="make one of these: " + ", ".join(key_type.value for key_type in KeyType),
        )
    try:
        if not algorithm.parameters:
            return algorithm, _load_rsa(found[0])
        return algorithm, _load_point(algorithm, found[0].octets("EC_POINT"), uri)
    except ValueError as error:
        raise TokenError(f"the public key of {uri} is not a proper one") from error


def algorithm_of(key: FoundKey) -> Algorithm | None:
    """Return what type a key is of, by its `TYPE`; None for one that dpki does not use."""
    kind = key.text("KEY_TYPE")
    if kind == "RSA":
        strong = len(key.octets("MODULUS").lstrip(b"\0")) in _RSA_BYTES
        return ALGORITHMS[KeyType.RSA3072] if strong else None
    parameters = key.octets("EC_PARAMS")
    for algorithm in _EVERY:
        if kind == algorithm.kind and parameters in algorithm.parameters:
            return algorithm
    return None


def _load_rsa(key: FoundKey) -> PublicKey:
    modulus, exponent = key.octets("MODULUS"), key.octets("PUBLIC_EXPONENT")
    return RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()


def _load_point(algorithm: Algorithm, encoded: bytes, uri: Pkcs11Uri) -> PublicKey:
    size = algorithm.point_size
    if len(encoded) == size + 2 and encoded[:2] == bytes([_OCTET_STRING, size]):
        encoded = encoded[2:]
    # Older modules leave the octet string away (PKCS#11 2.20 did not say).
    if len(encoded) != size:
        raise TokenError(f"the public key of {uri} is not encoded as PKCS#11 wants it")
    if algorithm.curve is None:
        return Ed25519PublicKey.from_public_bytes(encoded)
    return ec.EllipticCurvePublicKey.from_encoded_point(algorithm.curve, encoded)


def verify_attributes(key: FoundKey, wanted: Mapping[str, bool], uri: Pkcs11Uri) -> None:
    """Raise `TokenError` unless the key is as it must be."""
    for name, value in wanted.items():
        if key.attributes.get(name) is not value:
            raise TokenError(
                f"{uri} is not safe in its token: {name} is {key.attributes.get(name)}",
                hint="a CA's key must be made in the token by dpki, and must never leave it",
            )


def no_mechanism(what: str, name: str) -> TokenError:
    """Return the error of a token that lacks a mechanism."""
    return TokenError(
        f"{what}: the PKCS#11 module lacks the mechanism {name}",
        hint="choose another --key-type; `pkcs11-tool --list-mechanisms` shows what it has",
    )
