"""Making CAs and enrolling devices: the chain first, then the local name.

Each can be run again after a crash: what exists already is found and completed, never made twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.bundle.locator import IssuerKey
from dpki.certificates.keys import authority_id, spki_of
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import KeyNotFound, UsageError
from dpki.files import create_atomic, load_bounded, make_private_directory, verify_writable
from dpki.issuance.index import Index
from dpki.model import Address, AuthorityId, AuthorityKind, Hash32
from dpki.signer.base import KeyType, Signer
from dpki.signer.software import make_private_key
from dpki.transactions.governed import Governed

if TYPE_CHECKING:
    from dpki.council.routing import Governance
    from dpki.transactions.flight import Rehearsal


@dataclass(frozen=True)
class AuthorityWish:
    """A CA that somebody wants.

    Attributes:
        name: Its local name, and its key's label in the token.
        operator: The account that will anchor its certificates.
        maximum_lifetime: The longest that its certificates live; whole minutes.
        succeeds: The CA that it takes over from; None for one of its own.
    """

    name: str
    kind: AuthorityKind
    key_type: KeyType
    operator: Address
    maximum_lifetime: timedelta
    succeeds: AuthorityId | None = None


@dataclass(frozen=True)
class TokenKeys:
    """How to reach the CA's key in the token.

    Attributes:
        open: Opens it; raises KeyNotFound where there is none.
        generate: Makes it.
        remember: Has the configuration say where it is.
    """

    open: Callable[[], AbstractContextManager[Signer]]
    generate: Callable[[], None]
    remember: Callable[[], None]


def load_issuer_key(path: Path) -> IssuerKey:
    """Load a CA's X25519 key for locators.

    Raises:
        DpkiError: It is missing or damaged.
    """
    return IssuerKey.load(load_bounded(path, limit=64))


def create_authority(
    reader: Reader,
    governance: Governance,
    index: Index,
    keys: TokenKeys,
    wish: AuthorityWish,
    issuer_key_file: Path,
) -> tuple[AuthorityId, Governed]:
    """Make a CA's key in the token, have it registered, and give it its name.

    Goes on where an earlier run stopped: with the key in the token, with the issuer key on disk,
    with a registration that the governor has begun, or with a CA that only lacks its name.

    Returns:
        Its id, and how far the registration got.

    Raises:
        UsageError: The name is taken, or the key in the token is registered as something else.
        TransactionForbidden: The account has no part in the governor's role; nothing was made.
        TokenError, TransactionFailed, CouldNotCheck: As they say.
    """
    authorities = fetch_snapshot(reader, governance.domain).authorities
    if index.authorities().get(wish.name) in authorities:
        raise UsageError(
            f"there is a CA named {wish.name} already",
            hint="choose another name, or see it with: dpki ca show NAME",
        )
    index.verify_writable()
    public_key = _find_key(keys, wish)
    if public_key is None:
        # Nothing is made in the token, for good, before the chain and the disk would take it.
        rehearse_authority(governance, wish)
        make_private_directory(issuer_key_file.parent)
        verify_writable(issuer_key_file)
        keys.generate()
        keys.remember()
        public_key = _find_key(keys, wish)
    if public_key is None:
        raise KeyNotFound(f"the key {wish.name} was made in the token, but is not found there")
    ca = authority_id(public_key)
    registered = authorities.get(ca)
    if registered is not None:
        if (
            (registered.kind, registered.parent) != (wish.kind, wish.succeeds)
            or not issuer_key_file.exists()
            or registered.issuer_key != load_issuer_key(issuer_key_file).public
        ):
            raise UsageError(
                f"the token's key {wish.name} is registered already, as CA {ca}",
                hint="a key is registered once, for ever; choose another name for a new CA",
            )
        keys.remember()
        index.add_authority(wish.name, ca)
        return ca, Governed(None)
    keys.remember()
    governed = governance.register_authority(
        wish.kind,
        public_key,
        _make_issuer_key(issuer_key_file).public,
        operator=wish.operator,
        maximum_lifetime=wish.maximum_lifetime,
        parent=wish.succeeds,
    )
    index.add_authority(wish.name, ca)
    return ca, governed


def prepare_authority(
    keys: TokenKeys, wish: AuthorityWish, issuer_key_file: Path
) -> tuple[bytes, Hash32]:
    """Make a CA's key in the token for somebody else to register; those that are there are kept.

    Returns:
        Its public key (SubjectPublicKeyInfo) and the public key for locators.

    Raises:
        UsageError: The token has another key of this name.
        TokenError: As it says.
    """
    public_key = _find_key(keys, wish)
    if public_key is None:
        keys.generate()
        public_key = _find_key(keys, wish)
    if public_key is None:
        raise KeyNotFound(f"the key {wish.name} was made in the token, but is not found there")
    keys.remember()
    return public_key, _make_issuer_key(issuer_key_file).public


def rehearse_authority(governance: Governance, wish: AuthorityWish) -> Rehearsal:
    """Try on the chain, without sending, whether such a CA could be registered now.

    The key is one that is thrown away: the real one is not made for a rehearsal.

    Raises:
        TransactionForbidden: The account has no part in the governor's role.
        TransactionFailed, CouldNotCheck: As they say.
    """
    return governance.rehearsal().register_authority(
        wish.kind,
        spki_of(make_private_key(wish.key_type).public_key()),
        IssuerKey.generate().public,
        operator=wish.operator,
        maximum_lifetime=wish.maximum_lifetime,
        parent=wish.succeeds,
    )


def _find_key(keys: TokenKeys, wish: AuthorityWish) -> bytes | None:
    try:
        with keys.open() as signer:
            if signer.key_type is not wish.key_type:
                raise UsageError(
                    f"the token has a key {wish.name} already, of type {signer.key_type.value}",
                    hint="choose another name, or that key type",
                )
            return spki_of(signer.public_key)
    except KeyNotFound:
        return None


def _make_issuer_key(path: Path) -> IssuerKey:
    """Return the issuer key that an earlier run left, or a new one, saved."""
    if not path.exists():
        make_private_directory(path.parent)
        create_atomic(path, IssuerKey.generate().dump())
    return load_issuer_key(path)
