"""An admin's home on real services, and the real command line run in this process.

In this process because it is ten times as quick as a new one for each command; that the installed
command does the same is what tests/e2e shows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dpki.chain.rpc import Endpoint
from dpki.cli.app import run
from dpki.config.admin import (
    AdminConfig,
    ChainConfig,
    Home,
    StoreConfig,
    TokenConfig,
    dump_admin_config,
    load_admin_config,
)
from dpki.config.finality import Finality
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.devnet.kubo import Kubo
from dpki.files import make_private_directory, write_atomic
from dpki.transactions.wallet import create_keystore
from tests.soft_tokens import SoftToken

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PASSPHRASE = "correct horse battery staple"


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def message(self) -> str:
        """Return the one error message."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("error: "))
        return line.removeprefix("error: ")


Run = Callable[..., Result]
"""Runs `dpki` with these words and `--json`."""


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs commands and catches what they print."""

    def call(*words: str | Path) -> Result:
        capsys.readouterr()
        status = run([*(str(word) for word in words), "--json"])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@dataclass(frozen=True)
class Admin:
    """A home folder with configuration, wallet and secrets' files."""

    home: Home

    @property
    def option(self) -> tuple[str, str]:
        """The option that names the home."""
        return "--home", str(self.home.directory)

    @property
    def config(self) -> AdminConfig:
        return load_admin_config(self.home)

    def write(self, config: AdminConfig) -> None:
        write_atomic(self.home.config, dump_admin_config(config).encode())

    def copy(self, directory: Path, change: Callable[[AdminConfig], AdminConfig]) -> Admin:
        """Return a copy of this home with a changed configuration."""
        shutil.copytree(self.home.directory, directory)
        twin = Admin(Home(directory))
        twin.write(change(twin.config))
        return twin

    def with_account(self, directory: Path, index: int) -> Admin:
        """Return a copy of this home with another wallet."""
        twin = self.copy(directory, lambda config: config)
        twin.home.keystore.unlink()
        save_wallet(twin.home, index)
        return twin


def save_wallet(home: Home, index: int) -> None:
    """Save a development account's keystore, cheaply encrypted."""
    wallet = development_wallet(index, chain_id=CHAIN_ID)
    create_keystore(home.keystore, lambda _: PASSPHRASE, wallet=wallet, work=2**4)


def make_admin(
    directory: Path, anvil: Anvil, nodes: tuple[Kubo, Kubo], token: SoftToken, account: int = 0
) -> Admin:
    """Make a home whose bundles go to IPFS; see `make_admin_of`."""
    store = StoreConfig(
        ipfs=(nodes[0].addresses.api_multiaddr,), gateways=(nodes[1].addresses.gateway,)
    )
    return make_admin_of(directory, anvil, store, token, account)


def make_admin_of(
    directory: Path, anvil: Anvil, store: StoreConfig, token: SoftToken, account: int = 0
) -> Admin:
    """Make a home; the token's folder is the test process's (see the fixture `softhsm`)."""
    home = Home(directory / "home")
    secrets = directory / "secrets"
    make_private_directory(home.directory)
    make_private_directory(secrets)
    for name, secret in (("pin", token.pin), ("passphrase", PASSPHRASE)):
        write_atomic(secrets / name, f"{secret}\n".encode())
    save_wallet(home, account)
    admin = Admin(home)
    admin.write(
        AdminConfig(
            chain=ChainConfig(CHAIN_ID, (anvil.url,), finality=Finality(1, "latest")),
            token=TokenConfig(MODULE, token.label, f"file:{secrets / 'pin'}"),
            passphrase=f"file:{secrets / 'passphrase'}",
            store=store,
        )
    )
    return admin


@dataclass(frozen=True)
class State:
    """Everything that a refused command must leave as it was."""

    block: int
    files: dict[str, tuple[int, str]]
    journals: dict[str, list[str]]


def state_of(anvil: Anvil, *folders: Path) -> State:
    """Return the chain's height, every file's mode and hash, and what is in every journal.

    Left out are lock files and SQLite's side files, which come and go.
    """
    with Endpoint(anvil.url) as endpoint:
        block = int(str(endpoint.call("eth_blockNumber")), 16)
    files: dict[str, tuple[int, str]] = {}
    journals: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".lock" or path.name.endswith(("-wal", "-shm")) or path.is_dir():
                continue
            if path.suffix == ".db" and path.name != "login.db":
                with sqlite3.connect(path) as plain:
                    journals[str(path)] = list(plain.iterdump())
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[str(path)] = path.stat().st_mode, digest
    return State(block, files, journals)


def with_domain(config: AdminConfig, **changes: Any) -> AdminConfig:
    """Return the configuration with a changed domain id."""
    return replace(config, domain=replace(config.require_domain(), **changes))
