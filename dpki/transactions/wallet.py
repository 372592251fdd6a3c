"""Wallets: one account's key, in an Ethereum keystore at rest, or in a token (`token_wallet`).

Format of keystores: Web3 Secret Storage, version 3, with scrypt, as eth-account writes it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.datatypes import PrivateKey, Signature

from dpki.errors import ConfigError, PassphraseIncorrect, SignatureInvalid, UsageError
from dpki.files import create_atomic, load_bounded, make_private_directory
from dpki.keccak import keccak
from dpki.model import Address, Hash32
from dpki.signer.pin import PinSource

SCRYPT_WORK = 2**18
"""The work factor n of scrypt: about a second and 256 MiB a try."""

_SIGNATURE = 67
"""Bytes that the parity and two words take in a transaction (RLP)."""

_LIMIT = 64 * 1024
_MOST_WORK = {"n": 2**20, "r": 8, "p": 16, "c": 10**7, "dklen": 64}
"""What opening a keystore may cost at most: 1 GiB and half a minute."""


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction that can be sent.

    Attributes:
        raw: Its bytes.
        hash: Its hash.
    """

    raw: bytes
    hash: Hash32


class Wallet(ABC):
    """An account that can sign. Its key shows nowhere.

    Attributes:
        address: The account.
    """

    address: Address

    @abstractmethod
    def sign_digest(self, digest: bytes) -> Signature:
        """Sign a Keccak-256 digest: low s (EIP-2), and which of the two points is meant.

        Raises:
            TokenError: The token that holds the key failed.
        """

    def sign_transaction(self, transaction: dict[str, Any]) -> SignedTransaction:
        """Return the signed transaction, of which the account is the sender.

        Args:
            transaction: As eth-account takes it, typed (EIP-2718).

        Raises:
            SignatureInvalid: The signature is another account's; it is withheld.
            TokenError: The token that holds the key failed.
        """
        digest = bytes(TypedTransaction.from_dict(transaction).hash())
        signature = self.sign_digest(digest)
        signer = signature.recover_public_key_from_msg_hash(digest).to_canonical_address()
        if signer != bytes(self.address):
            raise SignatureInvalid("the transaction's signature is another account's; not sent")
        parts = {"v": signature.v, "r": signature.r, "s": signature.s}
        raw = TypedTransaction.from_dict({**transaction, **parts}).encode()
        return SignedTransaction(raw, Hash32(keccak(raw)))

    @staticmethod
    def create() -> KeyWallet:
        """Return a wallet with a new random key, in memory."""
        return KeyWallet.of(Account.create())

    @staticmethod
    def from_key(key: bytes) -> KeyWallet:
        """Return the wallet of a secp256k1 private key of 32 bytes."""
        try:
            return KeyWallet.of(Account.from_key(key))
        except Exception as error:  # noqa: BLE001 - eth-keys and coincurve raise types of their own
            # The cause might quote the key: it is cut off.
            raise UsageError("this is no secp256k1 private key") from _without_details(error)


@dataclass(frozen=True)
class KeyWallet(Wallet):
    """A wallet whose key is in memory."""

    address: Address
    _account: LocalAccount = field(repr=False, compare=False)

    @classmethod
    def of(cls, account: LocalAccount) -> KeyWallet:
        """Return the wallet of an eth-account account."""
        return cls(Address.parse(account.address), account)

    def sign_digest(self, digest: bytes) -> Signature:
        """Sign a Keccak-256 digest."""
        return PrivateKey(bytes(self._account.key)).sign_msg_hash(digest)

    def encrypt(self, passphrase: str, *, work: int = SCRYPT_WORK) -> bytes:
        """Return the keystore's content."""
        return json.dumps(self._account.encrypt(passphrase, kdf="scrypt", iterations=work)).encode()


def unsigned_size(transaction: dict[str, Any]) -> int:
    """Return how many bytes a transaction has without its signature, a byte or two too many.

    Args:
        transaction: As `sign_transaction` takes it.
    """
    longest = 2**256 - 1
    signed = TypedTransaction.from_dict({**transaction, "v": 1, "r": longest, "s": longest})
    return len(signed.encode()) - _SIGNATURE


def create_keystore(
    path: Path,
    passphrase: PinSource,
    *,
    wallet: KeyWallet | None = None,
    work: int = SCRYPT_WORK,
) -> KeyWallet:
    """Write a keystore, private to its owner, and return its wallet.

    Args:
        path: A file that must not exist yet; its folder is made.
        passphrase: Asked once; it must not be empty.
        wallet: The wallet to keep; None makes a new one.
        work: scrypt's n.

    Raises:
        UsageError: The file exists, or the passphrase is empty; nothing was written.
    """
    if path.exists():
        raise UsageError(
            f"{path} exists already",
            hint="a keystore is never overwritten: choose another path or move it away",
        )
    secret = passphrase(f"passphrase for the new wallet {path.name}")
    if not secret:
        raise UsageError(
            "the passphrase is empty", hint="a keystore without a passphrase protects nothing"
        )
    wallet = wallet or Wallet.create()
    make_private_directory(path.parent)
    create_atomic(path, wallet.encrypt(secret, work=work))
    return wallet


def load_wallet(path: Path, passphrase: PinSource) -> KeyWallet:
    """Open a keystore.

    Raises:
        ConfigError: It is missing or no keystore.
        PassphraseIncorrect: The passphrase does not open it.
    """
    keystore = _load_keystore(path)
    claimed = keystore["address"]
    secret = passphrase(f"passphrase for the wallet {path.name}")
    try:
        key = Account.decrypt(keystore, secret)
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise PassphraseIncorrect(
                f"the passphrase does not open the wallet {path}",
                hint="nothing was sent; try again",
            ) from None
        raise ConfigError(
            f"{path} is no Ethereum keystore that can be read",
            hint="restore it from a backup",
        ) from _without_details(error)
    # NotImplementedError: a version that nobody wrote yet.
    except (TypeError, KeyError, AttributeError, NotImplementedError, OverflowError) as error:
        raise ConfigError(
            f"{path} is a damaged Ethereum keystore", hint="restore it from a backup"
        ) from error
    wallet = Wallet.from_key(bytes(key))
    if not isinstance(claimed, str) or claimed.lower().removeprefix("0x") != wallet.address.hex():
        raise ConfigError(
            f"{path} names another account than the one in it", hint="restore it from a backup"
        )
    return wallet


def claimed_account(path: Path) -> Address:
    """Return the account that a keystore says it holds, without opening it.

    Raises:
        ConfigError: It is missing or no keystore.
    """
    try:
        return Address(bytes.fromhex(str(_load_keystore(path)["address"]).removeprefix("0x")))
    except ValueError as error:
        raise ConfigError(f"{path} names no account", hint="restore it from a backup") from error


def _load_keystore(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"there is no wallet at {path}", hint="`dpki init` makes one")
    try:
        keystore: dict[str, Any] = json.loads(load_bounded(path, limit=_LIMIT))
        if not keystore["address"]:
            raise ValueError
        _verify_work(keystore["crypto" if "crypto" in keystore else "Crypto"]["kdfparams"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no Ethereum keystore", hint="restore it from a backup"
        ) from error
    return keystore


def _verify_work(parameters: Mapping[str, object]) -> None:
    """Refuse a keystore that would take minutes or gigabytes to open, whatever the passphrase.

    Raises:
        ValueError: A parameter of its key derivation is out of all proportion.
    """
    for name, most in _MOST_WORK.items():
        value = parameters.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"its key derivation has an impossible {name}")


def _without_details(error: BaseException) -> Exception:
    """Return an error that tells the type and no more, for causes that might quote a secret."""
    return ValueError(type(error).__name__)
