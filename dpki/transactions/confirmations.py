"""Confirmations that a watchdog signs and anyone brings (EIP-712)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from eth_abi.abi import encode as abi_encode
from eth_hash.auto import keccak

from dpki.chain.domain import Domain
from dpki.errors import SignatureInvalid
from dpki.model import Address, AuthorityId, Hash32, to_timestamp
from dpki.transactions.wallet import Wallet

_DOMAIN_TYPE = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_NAME = keccak(b"dpki WatchdogRegistry")
_CONTRACT_VERSION = keccak(b"1")
_TYPE = keccak(
    b"Confirmation(bytes32 ca,uint32 version,uint32 firstSerial,bytes32 commitment,"
    b"address watchdog,uint256 deadline)"
)


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
    separator = keccak(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [_DOMAIN_TYPE, _NAME, _CONTRACT_VERSION, domain.id.chain_id, bytes(domain.watchdogs)],
        )
    )
    struct = keccak(
        abi_encode(
            ["bytes32", "bytes32", "uint32", "uint32", "bytes32", "address", "uint256"],
            [
                _TYPE,
                bytes(ca),
                version,
                first_serial,
                bytes(commitment),
                bytes(watchdog),
                to_timestamp(deadline),
            ],
        )
    )
    return keccak(b"\x19\x01" + separator + struct)


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
