"""Confirmations that a watchdog signs and anyone brings (EIP-712)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.chain.domain import Domain
from dpki.errors import MalformedInput, SignatureInvalid, WrongContext
from dpki.keccak import keccak
from dpki.model import Address, AuthorityId, DomainId, Hash32, from_timestamp, to_timestamp
from dpki.secp256k1 import SIGNATURE_BYTES
from dpki.transactions.wallet import Wallet
from dpki.typed_data import struct_hash, typed_digest

_CONTRACT = "dpki WatchdogRegistry"
_TYPE = keccak(
    b"Confirmation(bytes32 ca,uint32 version,uint32 firstSerial,bytes32 commitment,"
    b"address watchdog,uint256 deadline)"
)

CONFIRMATION_LIMIT = 1 << 10
"""Bytes of a confirmation's file, at most."""

_VERSION = 1
_WHAT = "confirmation"
_FIELDS = {
    "v": int,
    "type": str,
    "domain": str,
    "ca": bytes,
    "first": int,
    "commitment": bytes,
    "watchdog": bytes,
    "deadline": int,
    "signature": bytes,
}
_LATEST = 253_402_300_799
"""The last second of the year 9999."""


@dataclass(frozen=True)
class Confirmation:
    """A watchdog's signed confirmation of one batch.

    Attributes:
        commitment: The batch's commitment on chain: a reorg can't put another batch under it.
        deadline: Until when the contract takes it, whole seconds.
        signature: r ‖ s ‖ v, 65 bytes, low s.
    """

    ca: AuthorityId
    first_serial: int
    commitment: Hash32
    watchdog: Address
    deadline: datetime
    signature: bytes


def confirmation_digest(
    domain: Domain,
    ca: AuthorityId,
    version: int,
    first_serial: int,
    commitment: Hash32,
    watchdog: Address,
    deadline: datetime,
) -> bytes:
    """Return the EIP-712 hash that a watchdog signs (docs/formats.md, "Confirmation")."""
    struct = struct_hash(
        _TYPE, ca, version, first_serial, commitment, watchdog, to_timestamp(deadline)
    )
    return typed_digest(_CONTRACT, domain.id.chain_id, domain.watchdogs, struct)


def sign_confirmation(
    wallet: Wallet,
    domain: Domain,
    ca: AuthorityId,
    *,
    version: int,
    first_serial: int,
    commitment: Hash32,
    deadline: datetime,
) -> Confirmation:
    """Confirm a batch as the wallet's account, for others to bring.

    Args:
        version: The watch's, as a snapshot has it: under another one the signature is void.

    Raises:
        SignatureInvalid: The signature is another account's; it is withheld.
        TokenError: The token that holds the key failed.
    """
    digest = confirmation_digest(
        domain, ca, version, first_serial, commitment, wallet.address, deadline
    )
    made = wallet.sign_digest(digest)
    signer = made.recover_public_key_from_msg_hash(digest).to_canonical_address()
    if signer != bytes(wallet.address):
        raise SignatureInvalid("the confirmation's signature is another account's; it is withheld")
    raw = made.to_bytes()
    signature = raw[:64] + bytes([raw[64] + 27])
    return Confirmation(ca, first_serial, commitment, wallet.address, deadline, signature)


def encode_confirmation(domain: DomainId, confirmation: Confirmation) -> bytes:
    """Return the file in which a signed confirmation travels (docs/formats.md, Confirmation)."""
    return dumps(
        {
            "v": _VERSION,
            "type": _WHAT,
            "domain": str(domain),
            "ca": bytes(confirmation.ca),
            "first": confirmation.first_serial,
            "commitment": bytes(confirmation.commitment),
            "watchdog": bytes(confirmation.watchdog),
            "deadline": to_timestamp(confirmation.deadline),
            "signature": confirmation.signature,
        }
    )


def parse_confirmation(data: bytes, domain: DomainId) -> Confirmation:
    """Parse a confirmation's file; whether its signature counts is the contract's business.

    Raises:
        MalformedInput: It is anything else than what `encode_confirmation` writes.
        WrongContext: It is for another domain.
    """
    value = loads_strict(data, CONFIRMATION_LIMIT)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    if fields["type"] != _WHAT:
        raise MalformedInput(f"this is a {fields['type'][:40]!r}, not a {_WHAT}")
    if (
        not 1 <= fields["first"] < 2**32
        or len(fields["signature"]) != SIGNATURE_BYTES
        or fields["deadline"] > _LATEST
    ):
        raise MalformedInput("the confirmation's serial, deadline or signature has a wrong size")
    if DomainId.parse(fields["domain"]) != domain:
        raise WrongContext(f"the confirmation is for the trust domain {fields['domain'][:120]}")
    return Confirmation(
        AuthorityId(fields["ca"]),
        fields["first"],
        Hash32(fields["commitment"]),
        Address(fields["watchdog"]),
        from_timestamp(fields["deadline"]),
        fields["signature"],
    )
