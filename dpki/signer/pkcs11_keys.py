"""Key objects in a PKCS#11 token: how they are spelled, found, made and checked.

Everything here takes a session that `pkcs11_token` has opened, inside `talking`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass

from dpki.certificates.keys import AuthorityPublicKey
from dpki.errors import AmbiguousKey, KeyNotFound, TokenError
from dpki.signer.base import KeyType
from dpki.signer.uri import Pkcs11Uri


@dataclass(frozen=True)
class Algorithm:
    """How PKCS#11 spells a type of key (PKCS#11 3.0, sections 2.1, 2.3.1 and 2.3.14).

    Attributes:
        name: For people.
        kind: CKA_KEY_TYPE.
        generation: The mechanism that makes a pair.
        signing: The mechanism that signs; see `adapters.SignRaw`.
        parameters: DER of the curve: the first is written, all are read. Empty for RSA.
        curve: The curve; None where it has none, or is Edwards'.
        point_size: Bytes of a public point.
    """

    name: str
    kind: pkcs11.KeyType
    generation: Mechanism
    signing: Mechanism
    parameters: tuple[bytes, ...] = ()
    curve: ec.EllipticCurve | None = None
    point_size: int = 0


def _weierstrass(name: str, curve: ec.EllipticCurve, oid: str) -> Algorithm:
    return Algorithm(
        name,
        pkcs11.KeyType.EC,
        Mechanism.EC_KEY_PAIR_GEN,
        Mechanism.ECDSA,
        (bytes.fromhex(oid),),
        curve,
        1 + 2 * ((curve.key_size + 7) // 8),
    )


ALGORITHMS = {
    KeyType.ED25519: Algorithm(
        "Ed25519",
        pkcs11.KeyType.EC_EDWARDS,
        Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        Mechanism.EDDSA,
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        None,
        32,
    ),
    KeyType.P256: _weierstrass("P-256", ec.SECP256R1(), "06082a8648ce3d030107"),
    KeyType.P384: _weierstrass("P-384", ec.SECP384R1(), "06052b81040022"),
    KeyType.RSA3072: Algorithm(
        "RSA-3072",
        pkcs11.KeyType.RSA,
        Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        Mechanism.RSA_PKCS,
    ),
}
"""What a CA's key can be."""

SECP256K1 = _weierstrass("secp256k1", ec.SECP256K1(), "06052b8104000a")
"""What a wallet's key is."""

PublicKey = AuthorityPublicKey
_EVERY = (*ALGORITHMS.values(), SECP256K1)
_RSA_BITS = 3072
_RSA_BYTES = range(3072 // 8, 4096 // 8 + 1)

PROTECTED = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}
_BORN_THERE = {
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
}
_OCTET_STRING = 0x04


def generate(session: pkcs11.Session, uri: Pkcs11Uri, algorithm: Algorithm) -> PublicKey:
    """Make a pair in the token: sensitive, never extractable, and confirmed to be.

    Raises:
        AmbiguousKey: The label is taken; nothing was made.
        TokenError: The token lacks a mechanism (nothing was made), or did not make the key as it
            should have (it was removed again).
    """
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        if search(session, kind, uri.object, b""):
            raise AmbiguousKey(
                f"token {uri.token_name!r} already has a key labelled {uri.object!r}",
                hint="take another label; keys are never overwritten",
            )
    there = session.token.slot.get_mechanisms()
    for mechanism in (algorithm.generation, algorithm.signing):
        if mechanism not in there:
            raise no_mechanism(f"making a key of type {algorithm.name}", mechanism.name)
    public, private = _generate_pair(session, uri, algorithm)
    try:
        verify_attributes(private, PROTECTED | _BORN_THERE, uri)
        # Another process may have been at it: both see two keys, and both withdraw.
        find_private(session, replace(uri, id=b""))
        return find_public(session, private, uri)[1]
    except BaseException:
        private.destroy()
        public.destroy()
        raise


def _generate_pair(
    session: pkcs11.Session, uri: Pkcs11Uri, algorithm: Algorithm
) -> tuple[pkcs11.PublicKey, pkcs11.PrivateKey]:
    options: dict[str, Any] = {
        "id": uri.id or secrets.token_bytes(8),
        "label": uri.object,
        "store": True,
        # Not what the library takes by default: these keys sign, and do nothing else.
        "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        "mechanism": algorithm.generation,
        "private_template": PROTECTED,
    }
    if not algorithm.parameters:
        return session.generate_keypair(algorithm.kind, _RSA_BITS, **options)
    curve = session.create_domain_parameters(
        algorithm.kind, {Attribute.EC_PARAMS: algorithm.parameters[0]}, local=True
    )
    return curve.generate_keypair(**options)


def find_private(session: pkcs11.Session, uri: Pkcs11Uri) -> pkcs11.Key:
    """Return the one private key that matches.

    Raises:
        KeyNotFound: None does.
        AmbiguousKey: More than one does.
    """
    keys = search(session, ObjectClass.PRIVATE_KEY, uri.object, uri.id)
    if not keys:
        labels = {key.label for key in search(session, ObjectClass.PRIVATE_KEY, "", b"")}
        there = ", ".join(sorted(repr(label) for label in labels)) or "none"
        raise KeyNotFound(f"no key matches {uri}; keys there: {there}")
    if len(keys) > 1:
        ids = ", ".join(f"%{key.id.hex('%')}" if key.id else "(none)" for key in keys)
        raise AmbiguousKey(
            f"{len(keys)} keys match {uri}", hint=f"say which one by ;id= and one of {ids}"
        )
    return keys[0]


def find_public(
    session: pkcs11.Session, private: pkcs11.Key, uri: Pkcs11Uri
) -> tuple[Algorithm, PublicKey]:
    """Return the type and the public half of a key: the private object does not hold it.

    Raises:
        KeyNotFound, AmbiguousKey: Not one public key in the token belongs to it.
        TokenError: It is of a type that dpki does not use, or damaged.
    """
    found = search(session, ObjectClass.PUBLIC_KEY, private.label, private.id)
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
        return algorithm, _load_point(algorithm, bytes(found[0][Attribute.EC_POINT]), uri)
    except ValueError as error:
        raise TokenError(f"the public key of {uri} is not a proper one") from error


def algorithm_of(key: pkcs11.Key) -> Algorithm | None:
    """Return what type a key is of; None for one that dpki does not use."""
    kind = key[Attribute.KEY_TYPE]
    if kind == pkcs11.KeyType.RSA:
        strong = len(bytes(key[Attribute.MODULUS]).lstrip(b"\0")) in _RSA_BYTES
        return ALGORITHMS[KeyType.RSA3072] if strong else None
    try:
        parameters = bytes(key[Attribute.EC_PARAMS])
    except pkcs11.PKCS11Error:
        return None
    for algorithm in _EVERY:
        if kind == algorithm.kind and parameters in algorithm.parameters:
            return algorithm
    return None


def _load_rsa(key: pkcs11.Key) -> PublicKey:
    modulus, exponent = key[Attribute.MODULUS], key[Attribute.PUBLIC_EXPONENT]
    return RSAPublicNumbers(
        int.from_bytes(bytes(exponent)), int.from_bytes(bytes(modulus))
    ).public_key()


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


def search(
    session: pkcs11.Session, kind: ObjectClass, label: str, identifier: bytes
) -> list[pkcs11.Key]:
    """Return the keys of a class with this label and id; an empty one matches all."""
    wanted: dict[Attribute, object] = {Attribute.CLASS: kind}
    if label:
        wanted[Attribute.LABEL] = label
    if identifier:
        wanted[Attribute.ID] = identifier
    return [found for found in session.get_objects(wanted) if isinstance(found, pkcs11.Key)]


def verify_attributes(key: pkcs11.Key, wanted: dict[Attribute, bool], uri: Pkcs11Uri) -> None:
    """Raise `TokenError` unless the key is as it must be."""
    for attribute, value in wanted.items():
        if key[attribute] is not value:
            raise TokenError(
                f"{uri} is not safe in its token: {attribute.name} is {not value}",
                hint="a CA's key must be made in the token by dpki, and must never leave it",
            )


def no_mechanism(what: str, name: str) -> TokenError:
    """Return the error of a token that lacks a mechanism."""
    return TokenError(
        f"{what}: the PKCS#11 module lacks the mechanism {name}",
        hint="choose another --key-type; `pkcs11-tool --list-mechanisms` shows what it has",
    )
