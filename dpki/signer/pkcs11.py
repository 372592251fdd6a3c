"""CA keys in PKCS#11 tokens (HSMs, SoftHSM): made there, used there, never taken out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

from dpki.certificates.keys import AuthorityPublicKey
from dpki.certificates.signature import AuthorityPrivateKey, sign_ssh
from dpki.errors import TokenError, UsageError
from dpki.signer.adapters import adapt, key_type_of
from dpki.signer.base import KeyType
from dpki.signer.pin import PinSource
from dpki.signer.pkcs11_keys import (
    ALGORITHMS,
    PROTECTED,
    TYPE,
    Algorithm,
    PublicKey,
    algorithm_of,
    find_private,
    find_public,
    generate,
    verify_attributes,
)
from dpki.signer.pkcs11_token import FoundKey, Login, log_in
from dpki.signer.uri import Pkcs11Uri

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class TokenKey:
    """A private key in a token.

    Attributes:
        uri: What it is called; names it alone unless another has the same label and id.
        key_type: None when it is of a type that no CA's key has.
    """

    uri: Pkcs11Uri
    key_type: KeyType | None


class OpenKey:
    """A private key in a token, opened for signing; to be closed after use.

    Args:
        uri: Which one.
        login: The token's login, which is the key's alone; closed with it.
        wanted: What types of key will do.
    """

    def __init__(self, uri: Pkcs11Uri, login: Login, wanted: Collection[Algorithm]) -> None:
        self.uri = uri
        self._login = login
        self._what = f"signing with {uri}"
        self._key = find_private(login, uri)
        self.algorithm, self.public_key = find_public(login, self._key, uri)
        if self.algorithm not in wanted:
            raise TokenError(
                f"{uri} is a key of type {self.algorithm.name}, which does not serve here",
                hint="wanted is one of: " + ", ".join(each.name for each in wanted),
            )
        verify_attributes(self._key, PROTECTED, uri)
        if self._key.attributes.get("SIGN") is not True:
            raise TokenError(f"{uri} is not allowed to sign (CKA_SIGN is False)")

    def sign(self, data: bytes) -> bytes:
        """Sign as the token does (`adapters.SignRaw`); nothing is checked.

        Raises:
            TokenError: The key is closed, or the token fails.
        """
        return self._login.sign(self._what, self._key, self.algorithm.signing, data)

    def close(self) -> None:
        """Let go of the key and log out; doing it twice does nothing."""
        self._login.close()


class Pkcs11Signer:
    """A CA's key in a token; see `dpki.signer.base.Signer` for what it promises."""

    def __init__(self, key: OpenKey) -> None:
        self._key = key
        self._private_key = adapt(key.public_key, key.sign)

    @property
    def uri(self) -> Pkcs11Uri:
        """Where the key is."""
        return self._key.uri

    @property
    def key_type(self) -> KeyType:
        """What it is."""
        return key_type_of(self._key.public_key)

    @property
    def public_key(self) -> AuthorityPublicKey:
        """Its public half."""
        return self._key.public_key

    @property
    def private_key(self) -> AuthorityPrivateKey:
        """What `cryptography`'s builders take to sign; it signs and does nothing else."""
        return self._private_key

    def close(self) -> None:
        """Let go of the key and log out; doing it twice does nothing."""
        self._key.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Pkcs11Signer({str(self.uri)!r})"


def open_signer(uri: Pkcs11Uri, pin: PinSource, module: Path | None = None) -> Pkcs11Signer:
    """Open the one key that the URI names; close it after use, best by `with`.

    The key signs a random message before it is handed out, so that a public key that does not
    belong to it is found here and not after it was registered.

    Args:
        uri: Names a token, and a key by its label or id.
        pin: Asked for the token's PIN.
        module: The PKCS#11 module's file; found where None.

    Raises:
        As `open_key`.
    """

    def checked(key: OpenKey) -> Pkcs11Signer:
        signer = Pkcs11Signer(key)
        sign_ssh(signer.private_key, b"dpki key check v1" + secrets.token_bytes(32))
        return signer

    return open_key(uri, pin, module, tuple(ALGORITHMS.values()), checked)


def open_key(
    uri: Pkcs11Uri,
    pin: PinSource,
    module: Path | None,
    wanted: Collection[Algorithm],
    checked: Callable[[OpenKey], Opened],
) -> Opened:
    """Open the one key that the URI names, and return what `checked` makes of it.

    Args:
        uri: Names a token, and a key by its label or id.
        pin: Asked for the token's PIN.
        module: The PKCS#11 module's file; found where None.
        wanted: What types of key will do.
        checked: Raises where the key is not as it must be; it is then closed.

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
        return checked(OpenKey(uri, login, wanted))
    except BaseException:
        login.close()
        raise


def generate_key(
    uri: Pkcs11Uri, key_type: KeyType, pin: PinSource, module: Path | None = None
) -> AuthorityPublicKey:
    """Make a CA's key pair in the token; see `make_key`."""
    return make_key(uri, ALGORITHMS[key_type], pin, module)


def make_key(
    uri: Pkcs11Uri, algorithm: Algorithm, pin: PinSource, module: Path | None = None
) -> PublicKey:
    """Make a key pair in the token: sensitive, never extractable, and confirmed to be.

    Args:
        uri: Names the token and the new key's label; its id is drawn at random where it has none.
        algorithm: What to make.
        pin: Asked for the token's PIN.
        module: The PKCS#11 module's file; found where None.

    Returns:
        The public half.

    Raises:
        AmbiguousKey: The label is taken; nothing was made.
        TokenNotFound: No token matches, or more than one.
        PinIncorrect: The token refused the PIN.
        TokenError: The token lacks a mechanism, and nothing was made; or it did not make the key as
            it should have, and it was removed again.
    """
    if not uri.object:
        raise UsageError(f"{uri} does not name the new key", hint="add ;object= and its label")
    login = log_in(uri, pin, module, writable=True)
    try:
        return generate(login, uri, algorithm)
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
        what = f"listing the keys of {uri.token_name}"
        keys = [
            TokenKey(replace(uri, object=key.label, id=key.id), _key_type(key))
            for key in login.search(what, "PRIVATE_KEY", uri.object, uri.id, TYPE)
        ]
    finally:
        login.close()
    return tuple(sorted(keys, key=lambda key: (key.uri.object, key.uri.id)))


def _key_type(key: FoundKey) -> KeyType | None:
    algorithm = algorithm_of(key)
    return next((each for each, known in ALGORITHMS.items() if known == algorithm), None)
