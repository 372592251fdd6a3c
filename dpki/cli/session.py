"""What a command works with: the home, its configuration, the chain, the wallet, the token."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.ending import AT_END
from dpki.cli.output import Output
from dpki.cli.spending import limits, turn
from dpki.config.admin import AdminConfig, Home, find_home, key_uri, load_admin_config
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal

if TYPE_CHECKING:
    from dpki.chain.agreed import Access
    from dpki.chain.domain import Domain
    from dpki.chain.rpc import Reader
    from dpki.issuance.publishing import Publisher
    from dpki.issuance.registration import TokenKeys
    from dpki.model import Address
    from dpki.signer.base import KeyType, Signer
    from dpki.signer.pin import PinSource
    from dpki.signer.uri import Pkcs11Uri
    from dpki.transactions.sender import Sender
    from dpki.transactions.wallet import Wallet
    from dpki.transactions.writer import DomainWriter


_KNOWN: dict[str, dict[str, str]] = {}
"""Secrets that the command has asked for, by source and by what for: a wallet and a CA may share a
token, and one question is enough."""


def now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


def secret(spec: str, output: Output) -> PinSource:
    """Return where a secret comes from; it is asked for on a quiet terminal.

    Raises:
        UsageError: The specification has no known form; it is not repeated.
    """
    from dpki.config.values import verify_secret_source
    from dpki.signer.pin import pin_source

    source = pin_source(verify_secret_source(spec))

    def ask(what: str) -> str:
        with output.paused():
            return source(what)

    return ask


@dataclass(frozen=True)
class Desk:
    """An admin's home, opened: what needs no secret."""

    home: Home
    config: AdminConfig
    access: Access
    database: Database

    @property
    def reader(self) -> Reader:
        """What decisions rest on: enough endpoints, where several are configured."""
        return self.access.reader

    @property
    def domain(self) -> Domain:
        """The trust domain."""
        return self.access.domain

    @property
    def index(self) -> Index:
        """Names of CAs and devices."""
        return Index(self.database)

    @property
    def journal(self) -> Journal:
        """What was issued."""
        return Journal(self.database)


@contextmanager
def open_desk(home_option: Path | None) -> Iterator[Desk]:
    """Open the home and find its domain on the chain.

    Raises:
        ConfigError: There is no (proper) configuration, or no domain yet.
        WrongDomain: The endpoints are on another chain.
        DomainNotShown: They do not show the domain.
        EndpointUnavailable: Too few answer, or they don't agree.
    """
    from dpki.chain.agreed import open_access

    home = find_home(home_option)
    config = load_admin_config(home)
    domain_id = config.require_domain()
    with (
        open_access(config.chain.rpc, domain_id, config.chain.quorum) as access,
        Database(home.journal, domain_id) as database,
    ):
        yield Desk(home, config, access, database)


@contextmanager
def open_index(home_option: Path | None) -> Iterator[Index]:
    """Open a home's names alone: no chain is asked.

    Raises:
        ConfigError: There is no (proper) configuration, or no domain yet.
    """
    home = find_home(home_option)
    domain_id = load_admin_config(home).require_domain()
    with Database(home.journal, domain_id) as database:
        yield Index(database)


def publisher_of(desk: Desk, output: Output) -> Publisher:
    """Return where bundles go; the nodes' token is asked for on a quiet terminal."""
    from dpki.issuance.publishing import open_publisher

    spec = desk.config.store.ipfs_token
    return open_publisher(desk.config.store, secret(spec, output) if spec else None)


def unlock_wallet(home: Home, config: AdminConfig, spec: str | None, output: Output) -> Wallet:
    """Open the admin's wallet: a key in a token, where one is configured, or the keystore.

    Raises:
        PassphraseIncorrect, PinIncorrect: The secret is another.
        ConfigError: There is no keystore, or no way to ask.
        TokenError: The token or its key is not there.
    """
    from dpki.transactions.wallet import load_wallet

    if config.wallet.key is not None:
        from dpki.transactions.token_wallet import open_token_wallet

        pin = token_pin(config, spec, output)
        wallet = open_token_wallet(config.wallet.key, pin, module_of(config))
        AT_END.callback(wallet.close)
        return wallet
    source = secret(spec if spec is not None else config.passphrase, output)
    with output.working("opening the wallet"):
        return load_wallet(home.keystore, source)


def account_of(
    home: Home, config: AdminConfig, uri: Pkcs11Uri | None, spec: str | None, output: Output
) -> Address:
    """Return the account of a wallet that is there: a key in a token, or (None) the keystore.

    The keystore tells without its passphrase; the token's key has to be opened.

    Raises:
        PinIncorrect, TokenError: The token or its key is not there, or does not open.
        ConfigError: There is no keystore.
    """
    from dpki.transactions.token_wallet import open_token_wallet
    from dpki.transactions.wallet import claimed_account

    if uri is None:
        return claimed_account(home.keystore)
    with output.working("trying the key"):
        wallet = open_token_wallet(uri, token_pin(config, spec, output), module_of(config))
        wallet.close()
    return wallet.address


def open_sender(
    home: Home, config: AdminConfig, reader: Reader, spec: str | None, output: Output
) -> Sender:
    """Return what sends the account's transactions, whatever they do.

    Raises:
        As `unlock_wallet`, and WrongDomain or EndpointUnavailable.
    """
    from dpki.transactions.sender import Sender

    return Sender(
        reader,
        unlock_wallet(home, config, spec, output),
        config.chain.chain_id,
        confirmations=config.chain.finality.confirmations,
        turn=turn(output),
        **limits(config),
    )


def has_wallet(desk: Desk) -> bool:
    """Return whether this home has an account that signs; an HSM's admin may have none."""
    return desk.config.wallet.key is not None or desk.home.keystore.exists()


def open_writer(desk: Desk, spec: str | None, output: Output) -> DomainWriter:
    """Return a writer with the admin's account.

    Raises:
        As `unlock_wallet`, and WrongDomain or EndpointUnavailable.
    """
    from dpki.transactions.writer import DomainWriter

    wallet = unlock_wallet(desk.home, desk.config, spec, output)
    confirmations = desk.config.chain.finality.confirmations
    return DomainWriter(
        desk.access.sending(),
        desk.domain,
        wallet,
        confirmations=confirmations,
        turn=turn(output),
        confirm=desk.access.confirm,
        **limits(desk.config),
    )


def token_keys(
    desk: Desk, name: str, key_type: KeyType, spec: str | None, output: Output
) -> TokenKeys:
    """Return how to reach, or make, the key of a new CA."""
    from dpki.issuance.registration import TokenKeys
    from dpki.signer.file import create_key_file
    from dpki.signer.uri import FileUri

    pin, uri = token_pin(desk.config, spec, output), key_uri(desk.home, desk.config, name)

    def generate() -> None:
        if isinstance(uri, FileUri):
            create_key_file(uri, key_type, pin)
        else:
            from dpki.signer.pkcs11 import generate_key

            generate_key(uri, key_type, pin, module_of(desk.config))

    def remember() -> None:
        from dpki.config.admin import save_key

        if name in desk.config.keys:
            save_key(desk.home, name, uri)

    return TokenKeys(lambda: open_key(desk, name, pin), generate, remember)


def signer_source(desk: Desk, name: str, spec: str | None, output: Output) -> _SignerSource:
    """Return what opens a CA's key when it is needed; the PIN is asked for once."""
    return _SignerSource(desk, name, token_pin(desk.config, spec, output))


@dataclass(frozen=True)
class _SignerSource:
    desk: Desk
    name: str
    pin: PinSource

    def __call__(self) -> AbstractContextManager[Signer]:
        return open_key(self.desk, self.name, self.pin)


def open_key(desk: Desk, name: str, pin: PinSource) -> AbstractContextManager[Signer]:
    """Open a CA's key, in the token or in a file."""
    from dpki.signer.uri import FileUri

    uri = key_uri(desk.home, desk.config, name)
    if isinstance(uri, FileUri):
        from dpki.signer.file import open_file_signer

        return open_file_signer(uri, pin)
    from dpki.signer.pkcs11 import open_signer

    return open_signer(uri, pin, module_of(desk.config))


def module_of(config: AdminConfig) -> Path | None:
    """Return the PKCS#11 module's file; None where none is configured."""
    return config.token.module if config.token.is_there else None


def token_pin(config: AdminConfig, spec: str | None, output: Output) -> PinSource:
    """Return the PIN's source, asked once, and prepare the token library's environment."""
    for name, path in config.token.environment.items():
        # The library reads it when it is loaded; what people set themselves goes first.
        os.environ.setdefault(name, str(path))
    source = secret(spec if spec is not None else config.token.pin, output)
    AT_END.callback(_KNOWN.clear)
    known = _KNOWN.setdefault(spec if spec is not None else config.token.pin, {})

    def once(what: str) -> str:
        if what not in known:
            known[what] = source(what)
        return known[what]

    return once
