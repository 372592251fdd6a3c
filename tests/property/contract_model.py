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

    def is_revoked(self, serial: int) -> bool:
        return serial < self.revoked_below or serial in self.revoked


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
