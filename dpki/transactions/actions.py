"""Every state change of a trust domain, as a typed method.

Who may call what is the contracts' business alone: nothing is checked twice. What comes of a call
is decided by the class that performs it (`writer`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from dpki.chain import merkle
from dpki.chain.domain import Domain
from dpki.chain.layout import Watchdog
from dpki.errors import UsageError
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    AuthorityKind,
    Entry,
    Hash32,
    to_timestamp,
)
from dpki.transactions.calls import encode_call
from dpki.transactions.confirmations import Confirmation
from dpki.transactions.governed import GovernanceCall

_MAXIMUM_MINUTES = 2**24 - 1

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class SignedDocument:
    """What a device signed: to be enrolled, or to have its key document replaced.

    Attributes:
        key_document: Its digest.
        deadline: Until when the contract takes it.
        signature: r ‖ s ‖ v, 65 bytes.
    """

    device: Address
    key_document: Hash32
    deadline: datetime
    signature: bytes

    @property
    def given(self) -> tuple[object, ...]:
        """What the contract is given of it."""
        deadline = to_timestamp(self.deadline)
        return str(self.device), bytes(self.key_document), deadline, self.signature


class DomainActions(ABC, Generic[Outcome]):
    """What can be done to a trust domain; each method raises what performing it raises.

    Args:
        domain: The domain.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @abstractmethod
    def _perform(self, contract: Address, data: bytes) -> Outcome:
        """Perform a call."""

    # --- authorities -----------------------------------------------------------------------------

    def register_authority(
        self,
        kind: AuthorityKind,
        public_key: bytes,
        issuer_key: Hash32,
        *,
        operator: Address,
        maximum_lifetime: timedelta,
        parent: AuthorityId | None = None,
    ) -> Outcome:
        """Register a CA (governor). Its id is the SHA-256 of the public key.

        Args:
            kind: What it signs.
            public_key: Canonical SubjectPublicKeyInfo, DER.
            issuer_key: X25519 public key for locators.
            operator: The account that anchors its certificates.
            maximum_lifetime: Whole minutes.
            parent: The CA above it.
        """
        return self._do(
            "AuthorityRegistry",
            "register",
            int(kind),
            public_key,
            bytes(issuer_key),
            bytes(parent or AuthorityId.zero()),
            str(operator),
            _minutes(maximum_lifetime),
        )

    def suspend(self, ca: AuthorityId) -> Outcome:
        """Suspend a CA: nothing of it is accepted until `lift` (governor, guardian)."""
        return self._do("CertificateRegistry", "suspend", bytes(ca))

    def lift(self, ca: AuthorityId) -> Outcome:
        """End a suspension (governor)."""
        return self._do("CertificateRegistry", "lift", bytes(ca))

    def close(self, ca: AuthorityId) -> Outcome:
        """Let a CA issue no more; what it issued lives on (governor)."""
        return self._do("CertificateRegistry", "close", bytes(ca))

    def retire(self, ca: AuthorityId) -> Outcome:
        """End a CA for ever, with all that it issued (governor)."""
        return self._do("CertificateRegistry", "retire", bytes(ca))

    def set_operator(self, ca: AuthorityId, operator: Address) -> Outcome:
        """Change the account that anchors a CA's certificates (governor)."""
        return self._do("CertificateRegistry", "setOperator", bytes(ca), str(operator))

    def set_revoker(self, ca: AuthorityId, revoker: Address, *, allowed: bool) -> Outcome:
        """Allow or forbid an account to revoke a CA's certificates (governor)."""
        return self._do("CertificateRegistry", "setRevoker", bytes(ca), str(revoker), allowed)

    def set_maximum_lifetime(self, ca: AuthorityId, lifetime: timedelta) -> Outcome:
        """Change a CA's maximum lifetime for later certificates; whole minutes (governor)."""
        return self._do("CertificateRegistry", "setMaximumLifetime", bytes(ca), _minutes(lifetime))

    # --- certificates ----------------------------------------------------------------------------

    def issue(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> Outcome:
        """Anchor a batch of certificates (the CA's operator).

        Args:
            ca: The CA.
            first_serial: The first certificate's serial; it must be the CA's next one.
            entries: 1 to 1,000, in the order of their serials.
        """
        if not 1 <= len(entries) <= MAXIMUM_BATCH:
            raise UsageError(f"a batch holds 1 to {MAXIMUM_BATCH} certificates, not {len(entries)}")
        words = [
            (
                bytes(entry.certificate_hash),
                int.from_bytes(merkle.subject_word(entry)),
                bytes(entry.locator),
            )
            for entry in entries
        ]
        return self._do("CertificateRegistry", "issue", bytes(ca), first_serial, words)

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> Outcome:
        """Revoke certificates by serial, for ever (operator, revoker, governor)."""
        return self._do("CertificateRegistry", "revoke", bytes(ca), sorted(set(serials)))

    def revoke_below(self, ca: AuthorityId, serial: int) -> Outcome:
        """Revoke every certificate with a lower serial, for ever (operator, revoker, governor)."""
        return self._do("CertificateRegistry", "revokeBelow", bytes(ca), serial)

    # --- watchdogs -------------------------------------------------------------------------------

    def set_watch(self, ca: AuthorityId, watchdogs: Sequence[Watchdog], threshold: int) -> Outcome:
        """Name who has to confirm a CA's batches, from its next serial on, for ever (governor).

        Args:
            ca: The CA.
            watchdogs: All of them, 1 to 32.
            threshold: The weight that has to confirm.
        """
        named = [(str(w.account), w.weight, bytes(w.sealing_key)) for w in watchdogs]
        return self._do("WatchdogRegistry", "setWatch", bytes(ca), named, threshold)

    def request_review(
        self, ca: AuthorityId, first_serial: int, parcels: Sequence[Hash32]
    ) -> Outcome:
        """Say where a batch's certificates lie, sealed for the watchdogs (the CA's operator)."""
        digests = [bytes(parcel) for parcel in parcels]
        return self._do("WatchdogRegistry", "requestReview", bytes(ca), first_serial, digests)

    def confirm_batch(self, ca: AuthorityId, first_serial: int, commitment: Hash32) -> Outcome:
        """Confirm a batch, which the commitment names (watchdog)."""
        return self._do("WatchdogRegistry", "confirm", bytes(ca), first_serial, bytes(commitment))

    def object_to_batch(
        self, ca: AuthorityId, first_serial: int, commitment: Hash32, reason: str
    ) -> Outcome:
        """Object to a batch, for a reason of at most 256 bytes (watchdog)."""
        return self._do(
            "WatchdogRegistry", "object", bytes(ca), first_serial, bytes(commitment), reason
        )

    def relay_confirmations(self, confirmations: Sequence[Confirmation]) -> Outcome:
        """Bring watchdogs' signed confirmations (anybody); those that don't count are skipped."""
        given = [
            (
                bytes(c.ca),
                c.first_serial,
                bytes(c.commitment),
                str(c.watchdog),
                to_timestamp(c.deadline),
                c.signature,
            )
            for c in confirmations
        ]
        return self._do("WatchdogRegistry", "relay", given)

    # --- devices ---------------------------------------------------------------------------------

    def enroll_device(
        self, device: Address, key_document: Hash32, deadline: datetime, signature: bytes
    ) -> Outcome:
        """Enrol a device with its own signature (registrar)."""
        return self._do(
            "DeviceRegistry",
            "enroll",
            str(device),
            bytes(key_document),
            to_timestamp(deadline),
            signature,
        )

    def enroll_devices(self, requests: Sequence[SignedDocument]) -> Outcome:
        """Enrol several devices, all or none (registrar)."""
        return self._do("DeviceRegistry", "enrollBatch", [one.given for one in requests])

    def update_devices(self, requests: Sequence[SignedDocument]) -> Outcome:
        """Relay several devices' signed key document updates, all or none (anybody)."""
        return self._do("DeviceRegistry", "updateBatch", [one.given for one in requests])

    def update_device(
        self, device: Address, key_document: Hash32, deadline: datetime, signature: bytes
    ) -> Outcome:
        """Relay a device's signed key document update (anybody)."""
        return self._do(
            "DeviceRegistry",
            "update",
            str(device),
            bytes(key_document),
            to_timestamp(deadline),
            signature,
        )

    def retire_device(self, device: Address) -> Outcome:
        """Retire a device for ever (registrar)."""
        return self._do("DeviceRegistry", "retire", str(device))

    def set_registrar(self, registrar: Address, *, allowed: bool) -> Outcome:
        """Allow or forbid an account to enrol and retire devices (governor)."""
        return self._do("DeviceRegistry", "setRegistrar", str(registrar), allowed)

    # --- the domain ------------------------------------------------------------------------------

    def set_guardian(self, guardian: Address) -> Outcome:
        """Change the account that may suspend CAs; zero for none (governor)."""
        return self._do("TrustDomain", "setGuardian", str(guardian))

    def offer_governor(self, successor: Address) -> Outcome:
        """Offer the governor's role; zero withdraws an offer (governor)."""
        return self._do("TrustDomain", "offerGovernor", str(successor))

    def accept_governor(self) -> Outcome:
        """Take the governor's role (the account that it was offered to)."""
        return self._do("TrustDomain", "acceptGovernor")

    def _do(self, contract: str, function: str, *arguments: Any) -> Outcome:
        addresses = {
            "TrustDomain": self.domain.id.address,
            "AuthorityRegistry": self.domain.authorities,
            "CertificateRegistry": self.domain.certificates,
            "DeviceRegistry": self.domain.devices,
            "WatchdogRegistry": self.domain.watchdogs,
        }
        return self._perform(addresses[contract], encode_call(contract, function, *arguments))


class DomainCalls(DomainActions[GovernanceCall]):
    """Each action as a call, for whoever is to make it."""

    def _perform(self, contract: Address, data: bytes) -> GovernanceCall:
        return GovernanceCall(contract, data)


def _minutes(lifetime: timedelta) -> int:
    minutes, rest = divmod(lifetime, timedelta(minutes=1))
    if rest or not 1 <= minutes <= _MAXIMUM_MINUTES:
        raise UsageError(
            f"a maximum lifetime is a whole number of minutes, at most {_MAXIMUM_MINUTES} (31"
            f" years), not {lifetime}"
        )
    return minutes
