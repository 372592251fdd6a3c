"""Every state change of a trust domain, as a typed method.

Each one simulates, sends, waits and returns a `Receipt`, and raises what `Sender.send` raises. Who
may call what is the contracts' business alone: nothing is checked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.exceptions import Web3Exception

from dpki.chain import merkle
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
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
from dpki.transactions.artifacts import load_artifact
from dpki.transactions.sender import MAXIMUM_FEE, WAIT, Receipt, Sender
from dpki.transactions.wallet import Wallet

_MAXIMUM_MINUTES = 2**24 - 1


class DomainWriter:
    """Changes a trust domain, with one account.

    Args:
        reader: The endpoint.
        domain: The domain, as found on the endpoint's chain.
        wallet: The account that signs.
        confirmations: Blocks that a transaction must have, its own included, before it counts.
        wait: How long to wait for that.
        maximum_fee: Wei that one transaction may cost.

    Raises:
        WrongDomain: The endpoint serves another chain.
        EndpointUnavailable: No answer, or nonsense.
    """

    def __init__(
        self,
        reader: Reader,
        domain: Domain,
        wallet: Wallet,
        *,
        confirmations: int = 1,
        wait: timedelta = WAIT,
        maximum_fee: int = MAXIMUM_FEE,
    ) -> None:
        self.domain = domain
        self._sender = Sender(
            reader,
            wallet,
            domain.id.chain_id,
            confirmations=confirmations,
            wait=wait,
            maximum_fee=maximum_fee,
        )

    @property
    def account(self) -> Address:
        """Return the account that signs."""
        return self._sender.wallet.address

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
    ) -> Receipt:
        """Register a CA (governor). Its id is the SHA-256 of the public key.

        Args:
            kind: What it signs.
            public_key: Canonical SubjectPublicKeyInfo, DER.
            issuer_key: X25519 public key for locators.
            operator: The account that anchors its certificates.
            maximum_lifetime: Whole minutes.
            parent: The CA above it.
        """
        return self._send(
            "AuthorityRegistry",
            "register",
            int(kind),
            public_key,
            bytes(issuer_key),
            bytes(parent or AuthorityId.zero()),
            str(operator),
            _minutes(maximum_lifetime),
        )

    def suspend(self, ca: AuthorityId) -> Receipt:
        """Suspend a CA: nothing of it is accepted until `lift` (governor, guardian)."""
        return self._send("CertificateRegistry", "suspend", bytes(ca))

    def lift(self, ca: AuthorityId) -> Receipt:
        """End a suspension (governor)."""
        return self._send("CertificateRegistry", "lift", bytes(ca))

    def close(self, ca: AuthorityId) -> Receipt:
        """Let a CA issue no more; what it issued lives on (governor)."""
        return self._send("CertificateRegistry", "close", bytes(ca))

    def retire(self, ca: AuthorityId) -> Receipt:
        """End a CA for ever, with all that it issued (governor)."""
        return self._send("CertificateRegistry", "retire", bytes(ca))

    def set_operator(self, ca: AuthorityId, operator: Address) -> Receipt:
        """Change the account that anchors a CA's certificates (governor)."""
        return self._send("CertificateRegistry", "setOperator", bytes(ca), str(operator))

    def set_revoker(self, ca: AuthorityId, revoker: Address, *, allowed: bool) -> Receipt:
        """Allow or forbid an account to revoke a CA's certificates (governor)."""
        return self._send("CertificateRegistry", "setRevoker", bytes(ca), str(revoker), allowed)

    def set_maximum_lifetime(self, ca: AuthorityId, lifetime: timedelta) -> Receipt:
        """Change a CA's maximum lifetime for later certificates; whole minutes (governor)."""
        return self._send(
            "CertificateRegistry", "setMaximumLifetime", bytes(ca), _minutes(lifetime)
        )

    # --- certificates ----------------------------------------------------------------------------

    def issue(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> Receipt:
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
        return self._send("CertificateRegistry", "issue", bytes(ca), first_serial, words)

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> Receipt:
        """Revoke certificates by serial, for ever (operator, revoker, governor)."""
        return self._send("CertificateRegistry", "revoke", bytes(ca), sorted(set(serials)))

    def revoke_below(self, ca: AuthorityId, serial: int) -> Receipt:
        """Revoke every certificate with a lower serial, for ever (operator, revoker, governor)."""
        return self._send("CertificateRegistry", "revokeBelow", bytes(ca), serial)

    # --- devices ---------------------------------------------------------------------------------

    def enroll_device(
        self, device: Address, key_document: Hash32, deadline: datetime, signature: bytes
    ) -> Receipt:
        """Enrol a device with its own signature (registrar)."""
        return self._send(
            "DeviceRegistry",
            "enroll",
            str(device),
            bytes(key_document),
            to_timestamp(deadline),
            signature,
        )

    def update_device(
        self, device: Address, key_document: Hash32, deadline: datetime, signature: bytes
    ) -> Receipt:
        """Relay a device's signed key document update (anybody)."""
        return self._send(
            "DeviceRegistry",
            "update",
            str(device),
            bytes(key_document),
            to_timestamp(deadline),
            signature,
        )

    def retire_device(self, device: Address) -> Receipt:
        """Retire a device for ever (registrar)."""
        return self._send("DeviceRegistry", "retire", str(device))

    def set_registrar(self, registrar: Address, *, allowed: bool) -> Receipt:
        """Allow or forbid an account to enrol and retire devices (governor)."""
        return self._send("DeviceRegistry", "setRegistrar", str(registrar), allowed)

    # --- the domain ------------------------------------------------------------------------------

    def set_guardian(self, guardian: Address) -> Receipt:
        """Change the account that may suspend CAs; zero for none (governor)."""
        return self._send("TrustDomain", "setGuardian", str(guardian))

    def offer_governor(self, successor: Address) -> Receipt:
        """Offer the governor's role; zero withdraws an offer (governor)."""
        return self._send("TrustDomain", "offerGovernor", str(successor))

    def accept_governor(self) -> Receipt:
        """Take the governor's role (the account that it was offered to)."""
        return self._send("TrustDomain", "acceptGovernor")

    def _send(self, contract: str, function: str, *arguments: Any) -> Receipt:
        addresses = {
            "TrustDomain": self.domain.id.address,
            "AuthorityRegistry": self.domain.authorities,
            "CertificateRegistry": self.domain.certificates,
            "DeviceRegistry": self.domain.devices,
        }
        return self._sender.send(addresses[contract], encode_call(contract, function, *arguments))


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Return the call data of a function.

    Raises:
        UsageError: An argument does not fit its type: a serial beyond 32 bits, for example.
    """
    try:
        encoded: str = _contract(contract).encode_abi(function, args=list(arguments))
    except (Web3Exception, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{contract}.{function} can't take these values: a number or key is out of range"
        ) from error
    return bytes.fromhex(encoded[2:])


def encode_deployment(contract: str, *arguments: Any) -> bytes:
    """Return a contract's init code with its constructor's arguments."""
    encoded: str = _contract(contract).constructor(*arguments).data_in_transaction
    return bytes.fromhex(encoded[2:])


@cache
def _contract(name: str) -> type[Contract]:
    """Return web3's view of a contract: its ABI's types, and no connection to anything."""
    artifact = load_artifact(name)
    return Web3().eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)


def _minutes(lifetime: timedelta) -> int:
    minutes, rest = divmod(lifetime, timedelta(minutes=1))
    if rest or not 1 <= minutes <= _MAXIMUM_MINUTES:
        raise UsageError(
            f"a maximum lifetime is a whole number of minutes, at most {_MAXIMUM_MINUTES} (31"
            f" years), not {lifetime}"
        )
    return minutes
