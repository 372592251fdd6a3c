"""What a batch will be, decided before anything is signed. Pure: no key, no network, no clock.

Whatever can be refused is refused here, so that a refusal costs neither a serial nor a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from dpki.bundle.seal import SealingKeys
from dpki.certificates.keys import parse_ssh_public_key
from dpki.certificates.principals import verify_name, verify_principals
from dpki.certificates.profile import SSH_KINDS, Profile
from dpki.chain.snapshot import Authority, Snapshot
from dpki.config.durations import format_duration
from dpki.devices.document import KeyDocument, Prekey
from dpki.errors import CheckedFalse, NotAllowed, UsageError
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    DeviceState,
)

CLOCK_SKEW = timedelta(minutes=5)
"""How far a verifier's clock may be behind ours: certificates begin this much earlier."""

MAXIMUM_SERIAL = 2**32 - 1
DEFAULT_USER_LIFETIME = timedelta(hours=8)
DEFAULT_DEVICE_LIFETIME = timedelta(days=30)

PAIR_TYPE = "ssh-ed25519"
"""Type of the keys that are made here."""


@dataclass(frozen=True)
class Recipient:
    """A device that a sealed bundle is for.

    Attributes:
        address: The device.
        sealing: The public keys of its current key document.
    """

    address: Address
    sealing: SealingKeys


@dataclass(frozen=True)
class CertificateRequest:
    """One certificate that somebody wants.

    Attributes:
        subject: How logs name the holder: a device's or a person's name.
        principals: What the certificate lets its holder be.
        until: The wished end of validity; the CA's maximum may bring it forward.
        public_key: The holder's SSH public key blob; None where the pair is made here and travels
            in the bundle.
        recipient: The device that gets a bundle; None for a certificate that is no device's.
        prekey: The one-time key that `public_key` is of, and that the bundle is sealed for; None
            for the device's lasting keys.
        release: File that the certificate is written to once it is anchored; None for none.
        reason: Why, for the key id; empty for no word about it.
        extensions: Which of the profile's extensions it gets; None for all of them.
    """

    subject: str
    principals: tuple[str, ...]
    until: datetime
    public_key: bytes | None = field(repr=False)
    recipient: Recipient | None = None
    release: Path | None = None
    reason: str = ""
    prekey: Prekey | None = None
    extensions: frozenset[str] | None = None


@dataclass(frozen=True)
class PlannedCertificate:
    """One certificate with everything but the signature decided.

    Attributes:
        serial: Its serial.
        request: What was asked for.
        valid_after: First second of validity.
        valid_before: First second after it.
    """

    serial: int
    request: CertificateRequest
    valid_after: datetime
    valid_before: datetime


@dataclass(frozen=True)
class BatchPlan:
    """A batch, before it is signed.

    Attributes:
        snapshot: The state of the domain that it was planned on.
        authority: The CA.
        profile: What all of the CA's certificates have in common.
        certificates: In the order of their serials, which are consecutive.
    """

    snapshot: Snapshot
    authority: Authority
    profile: Profile
    certificates: tuple[PlannedCertificate, ...]

    @property
    def first_serial(self) -> int:
        """The serial of the first certificate."""
        return self.certificates[0].serial


def plan_batch(
    snapshot: Snapshot,
    ca: AuthorityId,
    requests: Sequence[CertificateRequest],
    *,
    operator: Address | None,
    now: datetime,
    profile: Profile | None = None,
    first_serial: int | None = None,
) -> BatchPlan:
    """Decide serials and validity of a batch, and refuse what the chain or a verifier would.

    Args:
        snapshot: The newest state; it must hold every recipient.
        operator: The account that will anchor the batch; None where the CA's operator does that
            elsewhere, whoever it is.
        now: The issuer's clock.
        profile: What the CA may issue, by configuration; None for the default.
        first_serial: Where the batch begins; None for the CA's next serial.

    Raises:
        UsageError: There are none or too many, the CA is none, is not active or has no serials
            left, or a validity would already be over.
        InvalidPrincipal: A request's principals or subject are not.
        NotAllowed: The account is not the CA's operator, or the profile does not allow a request.
        MalformedInput: A holder's public key is not a proper one.
        CheckedFalse: A recipient is not an enrolled device.
    """
    authority = find_ssh_authority(snapshot, ca)
    verify_can_issue(authority, operator)
    if not 1 <= len(requests) <= MAXIMUM_BATCH:
        raise UsageError(
            f"a batch has 1 to {MAXIMUM_BATCH} certificates, not {len(requests)}",
            hint="issue several batches",
        )
    first = authority.next_serial if first_serial is None else first_serial
    if first + len(requests) - 1 > MAXIMUM_SERIAL:
        raise UsageError(
            "the CA has no serials left", hint="make a new CA; this one can be closed then"
        )
    profile = profile_of(authority, profile)
    for request in requests:
        verify_request(snapshot, profile, request)
    return BatchPlan(
        snapshot,
        authority,
        profile,
        tuple(
            PlannedCertificate(
                first + index,
                request,
                *decide_validity(request.until, profile.maximum_validity, now, snapshot),
            )
            for index, request in enumerate(requests)
        ),
    )


def decide_validity(
    until: datetime, maximum: timedelta, now: datetime, snapshot: Snapshot
) -> tuple[datetime, datetime]:
    """Return valid-after and valid-before, in whole seconds.

    A certificate begins five minutes ago, for verifiers whose clock is behind. It ends at the
    wished time, or earlier where the CA's maximum says so: counted from its begin, as verifiers
    do, and from the newest block's time, as the contract does.

    Raises:
        UsageError: It would be over before it began.
    """
    valid_after = (now - CLOCK_SKEW).replace(microsecond=0)
    latest = min(until, valid_after + maximum, snapshot.block.time + maximum)
    valid_before = latest.replace(microsecond=0)
    if valid_before <= now:
        raise UsageError(
            f"the certificate would already have expired, at {valid_before:%Y-%m-%d %H:%M:%S} UTC",
            hint=(
                "ask for a longer validity; the CA's maximum is "
                f"{format_duration(maximum)}, counted from the newest block's time "
                f"({snapshot.block.time:%Y-%m-%d %H:%M:%S} UTC) and from five minutes ago"
            ),
        )
    return valid_after, valid_before


def profile_of(authority: Authority, configured: Profile | None = None) -> Profile:
    """Return what a CA may issue: what is configured, within what the chain allows it.

    Without a configuration: any principal, a terminal for users, nothing else.

    Raises:
        UsageError: What is configured is for another kind of CA.
    """
    if configured is not None:
        if configured.kind is not authority.kind:
            raise UsageError(
                f"the profile is for {configured.kind.label} certificates, and the CA signs"
                f" {authority.kind.label} ones",
                hint="correct kind in the CA's profile",
            )
        shorter = min(configured.maximum_validity, authority.maximum_lifetime)
        return replace(configured, maximum_validity=shorter)
    if authority.kind is AuthorityKind.SSH_USER:
        return Profile.user(authority.maximum_lifetime)
    return Profile.host(authority.maximum_lifetime)


def find_ssh_authority(snapshot: Snapshot, ca: AuthorityId) -> Authority:
    """Return the domain's SSH CA with this id.

    Raises:
        UsageError: The domain has no such CA, or it signs something else.
    """
    authority = snapshot.authorities.get(ca)
    if authority is None:
        raise UsageError(
            f"the domain has no CA {ca}", hint="see which there are with: dpki ca list"
        )
    if authority.kind not in SSH_KINDS:
        raise UsageError(f"CA {ca} signs {authority.kind.label} certificates, not SSH ones")
    return authority


def verify_can_issue(authority: Authority, operator: Address | None) -> None:
    """Refuse to begin what the contract would not let end.

    Args:
        operator: None where the CA's operator, whoever it is, will end it.

    Raises:
        UsageError: The CA is closed, suspended or retired.
        NotAllowed: The account is not its operator.
    """
    if authority.state is not AuthorityState.ACTIVE:
        raise UsageError(
            f"the CA is {authority.state.label} and can't issue",
            hint="use an active CA: dpki ca list",
        )
    if operator not in (None, authority.operator):
        raise NotAllowed(
            f"the account {operator} is not the CA's operator, {authority.operator} is",
            hint="use the operator's wallet, or let the governor change the operator",
        )


def find_recipient(
    snapshot: Snapshot, address: Address, document: KeyDocument, name: str
) -> Recipient:
    """Return the device with the sealing keys of its current key document.

    Args:
        document: What we know its key document to be.
        name: What to call the device in messages.

    Raises:
        CheckedFalse: It is not enrolled, is retired, or its key document on chain is another one.
    """
    _verify_enrolled(snapshot, address, name)
    if document.digest != snapshot.devices[address].key_document:
        raise CheckedFalse(
            f"the key document of device {name} on chain is not the one that is known here",
            hint="get the update request from the device, then: dpki device update REQUEST",
        )
    return Recipient(address, document.sealing)


def verify_request(snapshot: Snapshot, profile: Profile, request: CertificateRequest) -> None:
    """Refuse what no batch may hold, whatever else is in it; raises as `plan_batch`."""
    verify_principals(request.principals)
    verify_name(request.subject)
    profile.verify_principals(request.principals)
    profile.verify_reason(request.reason)
    key = request.public_key
    profile.verify_key_type(PAIR_TYPE if key is None else parse_ssh_public_key(key).type)
    if request.recipient is None:
        if request.public_key is None:
            raise UsageError(
                "a key pair that is made here travels in a device's sealed bundle, or not at all",
                hint="let the holder make the pair and give the public key",
            )
        return
    _verify_enrolled(snapshot, request.recipient.address, request.subject)


def _verify_enrolled(snapshot: Snapshot, address: Address, name: str) -> None:
    state = snapshot.devices[address].state
    if state is not DeviceState.ACTIVE:
        word = "retired" if state is DeviceState.RETIRED else "not enrolled"
        raise CheckedFalse(
            f"device {name} ({address}) is {word}", hint="see the devices with: dpki device list"
        )
