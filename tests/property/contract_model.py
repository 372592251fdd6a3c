"""What the contracts of a trust domain should do, in plain Python.

A second telling of docs/contracts.md, for tests: each method either changes the model or raises
`Refused` with the name of the error that the contract reverts with. Order matters: where several
things are wrong, the contract names the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NoReturn

NOBODY = "0x" + "00" * 20
ZERO = bytes(32)

UNREGISTERED, ACTIVE, CLOSED, SUSPENDED, CLOSED_SUSPENDED, RETIRED = range(6)
DEVICE_UNREGISTERED, DEVICE_ACTIVE, DEVICE_RETIRED = range(3)

_SUSPEND = {ACTIVE: SUSPENDED, CLOSED: CLOSED_SUSPENDED}
_LIFT = {SUSPENDED: ACTIVE, CLOSED_SUSPENDED: CLOSED}
_CLOSE = {ACTIVE: CLOSED, SUSPENDED: CLOSED_SUSPENDED}
_RETIRE = dict.fromkeys((ACTIVE, CLOSED, SUSPENDED, CLOSED_SUSPENDED), RETIRED)


class Refused(Exception):
    """The contract reverts with this error."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


def _require(condition: bool, error: str) -> None:
    if not condition:
        raise Refused(error)


@dataclass(frozen=True)
class Certificate:
    """One entry of a batch, as far as the contract looks at it."""

    hash: bytes
    device: str
    not_after: int


@dataclass(frozen=True)
class Watchdog:
    """One that watches."""

    account: str
    weight: int
    key: bytes


@dataclass
class Progress:
    """How far a batch is confirmed; the sets hold places in the list of watchdogs."""

    version: int = 0
    confirmed: set[int] = field(default_factory=set)
    objected: set[int] = field(default_factory=set)
    weight: int = 0
    accepted: bool = False


@dataclass
class Authority:
    """One authority: what never changes of it, and what does."""

    key: bytes
    kind: int
    parent: bytes
    operator: str
    maximum_lifetime: int
    state: int = ACTIVE
    next_serial: int = 1
    revoked: set[int] = field(default_factory=set)
    revoked_below: int = 0
    revokers: set[str] = field(default_factory=set)
    batches: dict[int, tuple[Certificate, ...]] = field(default_factory=dict)
    version: int = 0
    watched_from: int = 0
    threshold: int = 0
    watchdogs: tuple[Watchdog, ...] = ()
    progress: dict[int, Progress] = field(default_factory=dict)

    def is_revoked(self, serial: int) -> bool:
        return serial < self.revoked_below or serial in self.revoked

    def is_watched(self, first: int) -> bool:
        return self.version > 0 and first >= self.watched_from

    def is_confirmed(self, first: int) -> bool:
        made = self.progress.get(first)
        return not self.is_watched(first) or (made is not None and made.accepted)

    def place_of(self, account: str) -> int | None:
        places = [i for i, w in enumerate(self.watchdogs) if w.account == account]
        return places[0] if places else None

    def made(self, first: int) -> Progress:
        """Return how far the batch is: what was made in part under other watchdogs is void."""
        made = self.progress.get(first, Progress())
        if made.version != self.version and not made.accepted:
            return Progress(self.version)
        return made


@dataclass
class Device:
    """One enrolled device."""

    document: bytes
    state: int = DEVICE_ACTIVE
    nonce: int = 1


@dataclass(frozen=True)
class Signed:
    """What a signature says, and whose it is: the model checks meaning, not cryptography."""

    signer: str
    kind: str
    device: str
    document: bytes
    nonce: int
    expired: bool = False


@dataclass(frozen=True)
class Brought:
    """A relayed confirmation: what it says, and what its signature really is of."""

    ca: bytes
    first: int
    is_the_batch: bool
    watchdog: str
    signer: str
    version: int
    expired: bool = False


NOT_A_WATCHDOG, UNKNOWN_BATCH, LATE, INVALID_SIGNATURE, NOTHING_CHANGED, OBJECTED = range(6)


@dataclass
class Domain:
    """A trust domain."""

    governor: str
    guardian: str
    registrars: set[str]
    offered: str = NOBODY
    authorities: dict[bytes, Authority] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    # -- TrustDomain -----------------------------------------------------------------------------

    def offer_governor(self, caller: str, offered: str) -> None:
        _require(caller == self.governor, "TrustDomainUnauthorized")
        self.offered = offered

    def accept_governor(self, caller: str) -> None:
        _require(caller == self.offered, "TrustDomainUnauthorized")
        self.governor, self.offered = caller, NOBODY

    def set_guardian(self, caller: str, guardian: str) -> None:
        _require(caller == self.governor, "TrustDomainUnauthorized")
        self.guardian = guardian

    # -- AuthorityRegistry -----------------------------------------------------------------------

    def register(
        self,
        caller: str,
        kind: int,
        key: bytes,
        issuer_key: bytes,
        parent: bytes,
        operator: str,
        maximum_lifetime: int,
    ) -> None:
        ca = hashlib.sha256(key).digest()
        _require(caller == self.governor, "AuthorityRegistryUnauthorized")
        _require(kind != 0, "AuthorityRegistryInvalidKind")
        _require(1 <= len(key) <= 1024, "AuthorityRegistryInvalidPublicKey")
        _require(issuer_key != ZERO, "AuthorityRegistryZeroIssuerKey")
        if parent != ZERO:
            known = self.authorities.get(parent)
            _require(known is not None and known.kind == kind, "AuthorityRegistryInvalidParent")
        _require(ca not in self.authorities, "AuthorityRegistryAlreadyRegistered")
        _require(operator != NOBODY, "CertificateRegistryZeroOperator")
        _require(maximum_lifetime != 0, "CertificateRegistryZeroLifetime")
        self.authorities[ca] = Authority(key, kind, parent, operator, maximum_lifetime)

    # -- CertificateRegistry ---------------------------------------------------------------------

    def open(self, caller: str) -> NoReturn:
        raise Refused("CertificateRegistryUnauthorized")

    def issue(
        self, caller: str, ca: bytes, first: int, batch: tuple[Certificate, ...], now: int
    ) -> None:
        authority = self._known(ca)
        _require(caller == authority.operator, "CertificateRegistryUnauthorized")
        _require(authority.state == ACTIVE, "CertificateRegistryNotActive")
        _require(first == authority.next_serial, "CertificateRegistryUnexpectedSerial")
        _require(1 <= len(batch) <= 1000, "CertificateRegistryInvalidBatchSize")
        latest = now + authority.maximum_lifetime * 60
        for certificate in batch:
            _require(certificate.hash != ZERO, "CertificateRegistryZeroCertificateHash")
            _require(certificate.not_after <= latest, "CertificateRegistryLifetimeExceeded")
        authority.batches[first] = batch
        authority.next_serial += len(batch)

    def revoke(self, caller: str, ca: bytes, serials: list[int]) -> None:
        authority = self._revocable(caller, ca)
        for serial in serials:
            _require(0 < serial < authority.next_serial, "CertificateRegistryNotIssued")
        added = set(serials) - authority.revoked
        _require(bool(added), "CertificateRegistryNothingRevoked")
        authority.revoked |= added

    def revoke_below(self, caller: str, ca: bytes, serial: int) -> None:
        authority = self._revocable(caller, ca)
        _require(serial > authority.revoked_below, "CertificateRegistryWatermarkNotRaised")
        _require(serial <= authority.next_serial, "CertificateRegistryNotIssued")
        authority.revoked_below = serial

    def suspend(self, caller: str, ca: bytes) -> None:
        authority = self._known(ca)
        _require(caller in (self.governor, self.guardian), "CertificateRegistryUnauthorized")
        self._go(authority, _SUSPEND)

    def lift(self, caller: str, ca: bytes) -> None:
        self._go(self._governed(caller, ca), _LIFT)

    def close(self, caller: str, ca: bytes) -> None:
        self._go(self._governed(caller, ca), _CLOSE)

    def retire(self, caller: str, ca: bytes) -> None:
        self._go(self._governed(caller, ca), _RETIRE)

    def set_operator(self, caller: str, ca: bytes, operator: str) -> None:
        authority = self._governed(caller, ca)
        _require(authority.state != RETIRED, "CertificateRegistryNotActive")
        _require(operator != NOBODY, "CertificateRegistryZeroOperator")
        authority.operator = operator

    def set_revoker(self, caller: str, ca: bytes, revoker: str, allowed: bool) -> None:
        authority = self._governed(caller, ca)
        (authority.revokers.add if allowed else authority.revokers.discard)(revoker)

    def set_maximum_lifetime(self, caller: str, ca: bytes, minutes: int) -> None:
        authority = self._governed(caller, ca)
        _require(authority.state != RETIRED, "CertificateRegistryNotActive")
        _require(minutes != 0, "CertificateRegistryZeroLifetime")
        authority.maximum_lifetime = minutes

    # -- DeviceRegistry --------------------------------------------------------------------------

    def enroll(self, caller: str, device: str, document: bytes, signed: Signed) -> None:
        _require(caller in self.registrars, "DeviceRegistryUnauthorized")
        _require(device not in self.devices, "DeviceRegistryAlreadyEnrolled")
        self._check_signed(signed, "enroll", device, document, 0)
        self.devices[device] = Device(document)

    def update(self, caller: str, device: str, document: bytes, signed: Signed) -> None:
        known = self._active(device)
        self._check_signed(signed, "update", device, document, known.nonce)
        known.document = document
        known.nonce += 1

    def retire_device(self, caller: str, device: str) -> None:
        _require(caller in self.registrars, "DeviceRegistryUnauthorized")
        self._active(device).state = DEVICE_RETIRED

    def set_registrar(self, caller: str, registrar: str, allowed: bool) -> None:
        _require(caller == self.governor, "DeviceRegistryUnauthorized")
        (self.registrars.add if allowed else self.registrars.discard)(registrar)

    # -- WatchdogRegistry ------------------------------------------------------------------------

    def set_watch(
        self, caller: str, ca: bytes, watchdogs: tuple[Watchdog, ...], threshold: int
    ) -> None:
        _require(ca in self.authorities, "WatchdogRegistryUnknownAuthority")
        authority = self.authorities[ca]
        _require(caller == self.governor, "WatchdogRegistryUnauthorized")
        _require(1 <= len(watchdogs) <= 32, "WatchdogRegistryInvalidWatchdogs")
        seen: set[str] = set()
        for one in watchdogs:
            good = one.account != NOBODY and one.weight > 0 and one.key != ZERO
            _require(good, "WatchdogRegistryInvalidWatchdog")
            _require(one.account not in seen, "WatchdogRegistryDuplicateWatchdog")
            seen.add(one.account)
        total = sum(one.weight for one in watchdogs)
        _require(1 <= threshold <= total < 2**32, "WatchdogRegistryInvalidThreshold")
        if authority.version == 0:
            authority.watched_from = authority.next_serial
        authority.version += 1
        authority.watchdogs, authority.threshold = watchdogs, threshold

    def request_review(self, caller: str, ca: bytes, first: int, parcels: int) -> None:
        _require(ca in self.authorities, "WatchdogRegistryUnknownAuthority")
        authority = self.authorities[ca]
        _require(caller == authority.operator, "WatchdogRegistryUnauthorized")
        _require(authority.is_watched(first), "WatchdogRegistryNotWatched")
        _require(first in authority.batches, "WatchdogRegistryUnknownBatch")
        _require(1 <= parcels <= 16, "WatchdogRegistryInvalidParcels")

    def confirm(self, caller: str, ca: bytes, first: int, is_the_batch: bool) -> None:
        authority, place = self._seated(caller, ca, first, is_the_batch)
        made = authority.made(first)
        is_new = not made.accepted and place not in made.confirmed
        _require(is_new, "WatchdogRegistryAlreadyConfirmed")
        _require(place not in made.objected, "WatchdogRegistryObjected")
        self._count(authority, first, made, place)

    def object(self, caller: str, ca: bytes, first: int, is_the_batch: bool, length: int) -> None:
        authority, place = self._seated(caller, ca, first, is_the_batch)
        _require(length <= 256, "WatchdogRegistryReasonTooLong")
        made = authority.made(first)
        if made.accepted:
            return
        _require(place not in made.objected, "WatchdogRegistryObjected")
        made.objected.add(place)
        if place in made.confirmed:
            made.confirmed.remove(place)
            made.weight -= authority.watchdogs[place].weight
        authority.progress[first] = made

    def relay(self, brought: list[Brought]) -> list[int | None]:
        """Return why each was skipped; None where it counted."""
        return [self._relay(one) for one in brought]

    def _relay(self, one: Brought) -> int | None:
        authority = self.authorities.get(one.ca)
        place = None if authority is None else authority.place_of(one.watchdog)
        if authority is None or place is None:
            return NOT_A_WATCHDOG
        if not authority.is_watched(one.first):
            return NOTHING_CHANGED
        if not one.is_the_batch or one.first not in authority.batches:
            return UNKNOWN_BATCH
        if one.expired:
            return LATE
        if (one.signer, one.version) != (one.watchdog, authority.version):
            return INVALID_SIGNATURE
        made = authority.made(one.first)
        if made.accepted or place in made.confirmed:
            return NOTHING_CHANGED
        if place in made.objected:
            return OBJECTED
        self._count(authority, one.first, made, place)
        return None

    def _seated(
        self, caller: str, ca: bytes, first: int, is_the_batch: bool
    ) -> tuple[Authority, int]:
        _require(ca in self.authorities, "WatchdogRegistryUnknownAuthority")
        authority = self.authorities[ca]
        place = authority.place_of(caller)
        _require(place is not None, "WatchdogRegistryUnauthorized")
        assert place is not None
        _require(authority.is_watched(first), "WatchdogRegistryNotWatched")
        is_there = is_the_batch and first in authority.batches
        _require(is_there, "WatchdogRegistryUnknownBatch")
        return authority, place

    def _count(self, authority: Authority, first: int, made: Progress, place: int) -> None:
        authority.progress[first] = made
        made.confirmed.add(place)
        made.weight += authority.watchdogs[place].weight
        made.accepted = made.weight >= authority.threshold

    # -- what several ask ------------------------------------------------------------------------

    def _known(self, ca: bytes) -> Authority:
        _require(ca in self.authorities, "CertificateRegistryUnknownAuthority")
        return self.authorities[ca]

    def _governed(self, caller: str, ca: bytes) -> Authority:
        authority = self._known(ca)
        _require(caller == self.governor, "CertificateRegistryUnauthorized")
        return authority

    def _revocable(self, caller: str, ca: bytes) -> Authority:
        authority = self._known(ca)
        allowed = {authority.operator, self.governor} | authority.revokers
        _require(caller in allowed, "CertificateRegistryUnauthorized")
        return authority

    def _go(self, authority: Authority, ways: dict[int, int]) -> None:
        _require(authority.state in ways, "CertificateRegistryInvalidTransition")
        authority.state = ways[authority.state]

    def _active(self, device: str) -> Device:
        known = self.devices.get(device)
        _require(known is not None and known.state == DEVICE_ACTIVE, "DeviceRegistryNotActive")
        assert known is not None
        return known

    def _check_signed(
        self, signed: Signed, kind: str, device: str, document: bytes, nonce: int
    ) -> None:
        _require(document != ZERO, "DeviceRegistryZeroKeyDocument")
        _require(not signed.expired, "DeviceRegistryExpiredSignature")
        right = (device, kind, device, document, nonce)
        given = (signed.signer, signed.kind, signed.device, signed.document, signed.nonce)
        _require(given == right, "DeviceRegistryInvalidSignature")
