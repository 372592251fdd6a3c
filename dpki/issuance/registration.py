"""Making CAs and enrolling devices: the chain first, then the local name.

Each can be run again after a crash: what exists already is found and completed, never made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dpki.bundle.locator import IssuerKey
from dpki.certificates.keys import authority_id, spki_of
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import fetch_snapshot
from dpki.devices.enrollment import (
    EnrollmentRequest,
    RequestKind,
    VerifiedRequest,
    verify_request,
)
from dpki.errors import CheckedFalse, KeyNotFound, UsageError
from dpki.files import create_atomic, load_bounded, make_private_directory, verify_writable
from dpki.issuance.index import Index
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState, Hash32
from dpki.signer.base import KeyType, Signer
from dpki.signer.software import make_private_key
from dpki.transactions.governed import Governed

if TYPE_CHECKING:
    from dpki.council.routing import Governance
    from dpki.transactions.account import Receipt
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.writer import DomainWriter


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


def enroll_device(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    request: EnrollmentRequest,
    name: str,
    now: datetime,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Address, Receipt | None]:
    """Verify a device's request, enrol it, and give it its name and labels.

    Returns:
        Its address, and the transaction; None where it was enrolled already with this document.

    Raises:
        WrongDomain, SignatureInvalid, Expired, MalformedInput: The request is not in order.
        CheckedFalse: The device is enrolled with another document, or retired.
        UsageError: The name is taken, or the request is an update.
        TransactionForbidden: The account is no registrar.
        TransactionFailed, CouldNotCheck: As they say.
    """
    verified, is_new = _verify_enrolment(reader, writer.domain, index, request, name, now)
    receipt = None
    index.verify_writable()
    if is_new:
        receipt = writer.enroll_device(*_sent(verified))
    index.add_device(name, verified.device, verified.document, labels)
    return verified.device, receipt


def rehearse_enrolment(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    request: EnrollmentRequest,
    name: str,
    now: datetime,
) -> tuple[Address, Rehearsal | None]:
    """Do what `enroll_device` does, but send and remember nothing; None where nothing is due."""
    verified, is_new = _verify_enrolment(reader, writer.domain, index, request, name, now)
    rehearsal = writer.rehearsal().enroll_device(*_sent(verified)) if is_new else None
    return verified.device, rehearsal


def _verify_enrolment(
    reader: Reader,
    domain: Domain,
    index: Index,
    request: EnrollmentRequest,
    name: str,
    now: datetime,
) -> tuple[VerifiedRequest, bool]:
    """Return the request, and whether the device is still to be enrolled."""
    verified = verify_request(request, domain.id, domain.devices, now)
    if verified.kind is not RequestKind.ENROLL:
        raise UsageError(
            "this is an update of a device's key document",
            hint="relay it with: dpki device update REQUEST",
        )
    index.verify_free(name, verified.device)
    record = fetch_snapshot(reader, domain, devices=[verified.device]).devices[verified.device]
    if record.state is DeviceState.UNREGISTERED:
        return verified, True
    if record.state is DeviceState.RETIRED or record.key_document != verified.key_document:
        state = "retired, for ever" if record.state is DeviceState.RETIRED else "enrolled already"
        raise CheckedFalse(
            f"device {verified.device} is {state}", hint="see it with: dpki device list"
        )
    return verified, False


def _sent(verified: VerifiedRequest) -> tuple[Address, Hash32, datetime, bytes]:
    """Return what of a request goes to the contract."""
    return verified.device, verified.key_document, verified.deadline, verified.signature


def update_device(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    request: EnrollmentRequest,
    now: datetime,
) -> tuple[Address, Receipt | None]:
    """Verify a device's update of its key document, relay it, and remember the document.

    Returns:
        Its address, and the transaction; None where the chain has the document already.

    Raises:
        WrongDomain, SignatureInvalid, Expired, MalformedInput: The request is not in order.
        CheckedFalse: The device is not enrolled, or the request was made for another nonce.
        UsageError: The request is an enrolment.
        TransactionFailed, CouldNotCheck: As they say.
    """
    verified, is_due = _verify_update(reader, writer.domain, request, now)
    index.verify_writable()
    receipt = writer.update_device(*_sent(verified)) if is_due else None
    index.update_document(verified.device, verified.document)
    return verified.device, receipt


def rehearse_update(
    reader: Reader, writer: DomainWriter, request: EnrollmentRequest, now: datetime
) -> tuple[Address, Rehearsal | None]:
    """Do what `update_device` does, but send and remember nothing; None where nothing is due."""
    verified, is_due = _verify_update(reader, writer.domain, request, now)
    rehearsal = writer.rehearsal().update_device(*_sent(verified)) if is_due else None
    return verified.device, rehearsal


def _verify_update(
    reader: Reader, domain: Domain, request: EnrollmentRequest, now: datetime
) -> tuple[VerifiedRequest, bool]:
    """Return the request, and whether the chain lacks its document."""
    verified = verify_request(request, domain.id, domain.devices, now)
    if verified.kind is not RequestKind.UPDATE:
        raise UsageError(
            "this is a request to be enrolled",
            hint="enrol it with: dpki device enroll REQUEST --name NAME",
        )
    record = fetch_snapshot(reader, domain, devices=[verified.device]).devices[verified.device]
    if record.key_document == verified.key_document:
        return verified, False
    if record.state is not DeviceState.ACTIVE:
        raise CheckedFalse(f"device {verified.device} is not enrolled, or retired")
    if record.nonce != verified.nonce:
        raise CheckedFalse(
            f"the update has number {verified.nonce}, and the chain waits for {record.nonce}",
            hint="let the device make a new one: dpki device rekey",
        )
    return verified, True


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
