"""CA keys in PKCS#11 tokens (HSMs, SoftHSM): made there, used there, never taken out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, MechanismFlag, ObjectClass
from pkcs11.types import SignMixin

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey, sign_ssh
from dpki.errors import AmbiguousKey, KeyNotFound, TokenError, UsageError
from dpki.signer.adapters import adapt
from dpki.signer.base import KeyType
from dpki.signer.pin import PinSource
from dpki.signer.pkcs11_token import Login, log_in, talking
from dpki.signer.uri import Pkcs11Uri


@dataclass(frozen=True)
class _Algorithm:
    """How PKCS#11 spells a key type (PKCS#11 3.0, sections 2.3.1 and 2.3.14)."""

    key_type: pkcs11.KeyType
    parameters: tuple[bytes, ...]
    """DER of the curve: the first is written, all are read."""
    generation: pkcs11.Mechanism
    signing: pkcs11.Mechanism
    point_size: int


_ALGORITHMS = {
    KeyType.ED25519: _Algorithm(
        pkcs11.KeyType.EC_EDWARDS,
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        pkcs11.Mechanism.EDDSA,
        32,
    ),
    KeyType.P256: _Algorithm(
        pkcs11.KeyType.EC,
        (bytes.fromhex("06082a8648ce3d030107"),),
        pkcs11.Mechanism.EC_KEY_PAIR_GEN,
        pkcs11.Mechanism.ECDSA,
        65,
    ),
}

_PROTECTED = {
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


@dataclass(frozen=True)
class TokenKey:
    """A private key in a token.

    Attributes:
        uri: What it is called; names it alone unless another has the same label and id.
        key_type: None when it is of a type that no CA's key has.
    """

    uri: Pkcs11Uri
    key_type: KeyType | None


class Pkcs11Signer:
    """A CA's key in a token; see `dpki.signer.base.Signer` for what it promises."""

    def __init__(self, uri: Pkcs11Uri, login: Login) -> None:
        self._uri = uri
        self._login: Login | None = login
        with talking(f"opening key {uri}"):
            key = _find_key(login.session, uri)
            self._key_type, self._public_key = _find_public(login.session, key, uri)
            _verify_attributes(key, _PROTECTED, uri)
            if not isinstance(key, SignMixin):
                raise TokenError(f"{uri} is not allowed to sign (CKA_SIGN is False)")
            self._key = key
        self._private_key = adapt(self._public_key, self._sign)

    @property
    def uri(self) -> Pkcs11Uri:
        """Where the key is."""
        return self._uri

    @property
    def key_type(self) -> KeyType:
        """What it is."""
        return self._key_type

    @property
    def public_key(self) -> AuthorityPublicKey:
        """Its public half."""
        return self._public_key

    @property
    def private_key(self) -> AuthorityPrivateKey:
        """What `cryptography`'s builders take to sign; it signs and does nothing else."""
        return self._private_key

    def close(self) -> None:
        """Let go of the key; the last signer of a token logs out."""
        login, self._login = self._login, None
        if login is not None:
            login.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Pkcs11Signer({str(self._uri)!r})"

    def _sign(self, data: bytes) -> bytes:
        with talking(f"signing with {self._uri}"):
            # Inside the lock: another thread may be closing the session.
            if self._login is None:
                raise TokenError(f"the signer {self._uri} is closed")
            mechanism = _ALGORITHMS[self._key_type].signing
            return bytes(self._key.sign(data, mechanism=mechanism))


def open_signer(uri: Pkcs11Uri, pin: PinSource, module: Path | None = None) -> Pkcs11Signer:
    """Open the one key that the URI names; close it after use, best by `with`.

    The key signs a random message before it is handed out, so that a public key that does not
    belong to it is found here and not after it was registered.

    Args:
        uri: Names a token, and a key by its label or id.
        pin: Asked for the token's PIN.
        module: The PKCS#11 module's file; found where None.

    Raises:
        TokenNotFound: No token matches, or more than one.
        KeyNotFound: No key matches, or its public half is not there.
        AmbiguousKey: More than one key matches.
        PinIncorrect: The token refused the PIN.
        TokenError: The key could be taken out of the token, is of another type, or the module
            fails.
    """
    if not uri.object and not uri.id:
        raise UsageError(f"{uri} names a token but no key", hint="add ;object= and the key's label")
    login = log_in(uri, pin, module)
    try:
        signer = Pkcs11Signer(uri, login)
        _verify_pair(signer)
    except BaseException:
        login.close()
        raise
    return signer


def generate_key(
    uri: Pkcs11Uri, key_type: KeyType, pin: PinSource, module: Path | None = None
) -> AuthorityPublicKey:
    """Make a key pair in the token: sensitive, never extractable, and confirmed to be.

    Args:
        uri: Names the token and the new key's label; its id is drawn at random where it has none.
        key_type: What to make.
        pin: Asked for the token's PIN.
        module: The PKCS#11 module's file; found where None.

    Returns:
        The public half.

    Raises:
        AmbiguousKey: The label is taken; nothing was made.
        TokenNotFound: No token matches, or more than one.
        PinIncorrect: The token refused the PIN.
        TokenError: The token did not make the key as it should have; it was removed again.
    """
    if not uri.object:
        raise UsageError(f"{uri} does not name the new key", hint="add ;object= and its label")
    login = log_in(uri, pin, module)
    try:
        with talking(f"making key {uri}"):
            session = login.writable()
            try:
                return _generate(session, uri, key_type)
            finally:
                session.close()
    finally:
        login.close()


def list_keys(uri: Pkcs11Uri, pin: PinSource, module: Path | None = None) -> tuple[TokenKey, ...]:
    """Return the private keys of the token that the URI names, by label.

    Raises:
        TokenNotFound: No token matches, or more than one.
        PinIncorrect: The token refused the PIN.
        TokenError: The module is missing or fails.
    """
    login = log_in(uri, pin, module)
    try:
        with talking(f"listing the keys of token {uri.token!r}"):
            keys = [
                TokenKey(
                    Pkcs11Uri(uri.token, key.label, key.id, uri.serial, uri.module_path),
                    _type_of(key),
                )
                for key in _search(login.session, ObjectClass.PRIVATE_KEY, uri.object, uri.id)
            ]
    finally:
        login.close()
    return tuple(sorted(keys, key=lambda key: (key.uri.object, key.uri.id)))


def _generate(session: pkcs11.Session, uri: Pkcs11Uri, key_type: KeyType) -> AuthorityPublicKey:
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        if _search(session, kind, uri.object, b""):
            raise AmbiguousKey(
                f"token {uri.token!r} already has a key labelled {uri.object!r}",
                hint="take another label; keys are never overwritten",
            )
    algorithm = _ALGORITHMS[key_type]
    curve = session.create_domain_parameters(
        algorithm.key_type, {Attribute.EC_PARAMS: algorithm.parameters[0]}, local=True
    )
    identifier = uri.id or secrets.token_bytes(8)
    public, private = curve.generate_keypair(
        id=identifier,
        label=uri.object,
        store=True,
        # Not what the library takes by default: a CA's key must not agree on keys.
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        mechanism=algorithm.generation,
        private_template=_PROTECTED,
    )
    try:
        _verify_attributes(private, _PROTECTED | _BORN_THERE, uri)
        # Another process may have been at it: both see two keys, and both withdraw.
        named = Pkcs11Uri(uri.token, uri.object, b"", uri.serial, uri.module_path)
        _find_key(session, named)
        return _find_public(session, private, uri)[1]
    except BaseException:
        private.destroy()
        public.destroy()
        raise


def _find_key(session: pkcs11.Session, uri: Pkcs11Uri) -> pkcs11.Key:
    keys = _search(session, ObjectClass.PRIVATE_KEY, uri.object, uri.id)
    if not keys:
        labels = {key.label for key in _search(session, ObjectClass.PRIVATE_KEY, "", b"")}
        there = ", ".join(sorted(repr(label) for label in labels)) or "none"
        raise KeyNotFound(f"no key matches {uri}; keys there: {there}")
    if len(keys) > 1:
        ids = ", ".join(f"%{key.id.hex('%')}" if key.id else "(none)" for key in keys)
        raise AmbiguousKey(
            f"{len(keys)} keys match {uri}", hint=f"say which one by ;id= and one of {ids}"
        )
    return keys[0]


def _find_public(
    session: pkcs11.Session, private: pkcs11.Key, uri: Pkcs11Uri
) -> tuple[KeyType, AuthorityPublicKey]:
    """Return the public half: the private object does not hold it."""
    found = _search(session, ObjectClass.PUBLIC_KEY, private.label, private.id)
    if len(found) != 1:
        error = AmbiguousKey if found else KeyNotFound
        raise error(f"{len(found)} public keys in the token belong to {uri}; it must be one")
    key_type = _type_of(found[0])
    if key_type is None:
        raise TokenError(f"{uri} is of a type that no CA's key has", hint="make Ed25519 or P-256")
    size = _ALGORITHMS[key_type].point_size
    encoded = bytes(found[0][Attribute.EC_POINT])
    if len(encoded) != size + 2 or encoded[:2] != bytes([_OCTET_STRING, size]):
        raise TokenError(f"the public key of {uri} is not encoded as PKCS#11 wants it")
    try:
        return key_type, _load_point(key_type, encoded[2:])
    except ValueError as error:
        raise TokenError(f"the public key of {uri} is not a point of its curve") from error


def _load_point(key_type: KeyType, point: bytes) -> AuthorityPublicKey:
    if key_type is KeyType.ED25519:
        return Ed25519PublicKey.from_public_bytes(point)
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)


def _search(
    session: pkcs11.Session, kind: ObjectClass, label: str, identifier: bytes
) -> list[pkcs11.Key]:
    wanted: dict[Attribute, object] = {Attribute.CLASS: kind}
    if label:
        wanted[Attribute.LABEL] = label
    if identifier:
        wanted[Attribute.ID] = identifier
    return [found for found in session.get_objects(wanted) if isinstance(found, pkcs11.Key)]


def _type_of(key: pkcs11.Key) -> KeyType | None:
    try:
        kind, parameters = key[Attribute.KEY_TYPE], bytes(key[Attribute.EC_PARAMS])
    except pkcs11.PKCS11Error:
        # RSA keys, for one, have no curve.
        return None
    for key_type, algorithm in _ALGORITHMS.items():
        if kind == algorithm.key_type and parameters in algorithm.parameters:
            return key_type
    return None


def _verify_attributes(key: pkcs11.Key, wanted: dict[Attribute, bool], uri: Pkcs11Uri) -> None:
    """Raise `TokenError` unless the key is as it must be."""
    for attribute, value in wanted.items():
        if key[attribute] is not value:
            raise TokenError(
                f"{uri} is not safe in its token: {attribute.name} is {not value}",
                hint="a CA's key must be made in the token by dpki, and must never leave it",
            )


def _verify_pair(signer: Pkcs11Signer) -> None:
    """Raise `TokenError` unless the private and the public key belong together."""
    sign_ssh(signer.private_key, b"dpki key check v1" + secrets.token_bytes(32))
