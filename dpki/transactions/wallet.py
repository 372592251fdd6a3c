"""Wallets: one account's key, in an Ethereum keystore at rest.

Format: Web3 Secret Storage, version 3, with scrypt, as eth-account writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_account.signers.local import LocalAccount

from dpki.errors import ConfigError, PassphraseIncorrect, UsageError
from dpki.files import create_atomic, load_bounded, make_private_directory
from dpki.model import Address
from dpki.signer.pin import PinSource

SCRYPT_WORK = 2**18
"""The work factor n of scrypt: about a second and 256 MiB a try."""

_LIMIT = 64 * 1024
_MOST_WORK = {"n": 2**20, "r": 8, "p": 16, "c": 10**7, "dklen": 64}
"""What opening a keystore may cost at most: 1 GiB and half a minute."""


@dataclass(frozen=True)
class Wallet:
    """An account that can sign transactions. Its key shows nowhere."""

    address: Address
    _account: LocalAccount = field(repr=False, compare=False)

    @classmethod
    def create(cls) -> Wallet:
        """Return a wallet with a new random key."""
        return cls.of(Account.create())

    @classmethod
    def from_key(cls, key: bytes) -> Wallet:
        """Return the wallet of a secp256k1 private key of 32 bytes."""
        try:
            return cls.of(Account.from_key(key))
        except Exception as error:  # noqa: BLE001 - eth-keys and coincurve raise types of their own
            # The cause might quote the key: it is cut off.
            raise UsageError("this is no secp256k1 private key") from _without_details(error)

    @classmethod
    def of(cls, account: LocalAccount) -> Wallet:
        """Return the wallet of an eth-account account."""
        return cls(Address.parse(account.address), account)

    def sign_transaction(self, transaction: dict[str, Any]) -> SignedTransaction:
        """Return the signed transaction."""
        return self._account.sign_transaction(transaction)

    def encrypt(self, passphrase: str, *, work: int = SCRYPT_WORK) -> bytes:
        """Return the keystore's content."""
        return json.dumps(self._account.encrypt(passphrase, kdf="scrypt", iterations=work)).encode()


def create_keystore(
    path: Path,
    passphrase: PinSource,
    *,
    wallet: Wallet | None = None,
    work: int = SCRYPT_WORK,
) -> Wallet:
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


def load_wallet(path: Path, passphrase: PinSource) -> Wallet:
    """Open a keystore.

    Raises:
        ConfigError: It is missing or no keystore.
        PassphraseIncorrect: The passphrase does not open it.
    """
    if not path.is_file():
        raise ConfigError(f"there is no wallet at {path}", hint="`dpki init` makes one")
    try:
        keystore = json.loads(load_bounded(path, limit=_LIMIT))
        claimed = keystore["address"]
        _verify_work(keystore["crypto" if "crypto" in keystore else "Crypto"]["kdfparams"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no Ethereum keystore", hint="restore it from a backup"
        ) from error
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
