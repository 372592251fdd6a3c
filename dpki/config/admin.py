"""The admin's configuration and home folder.

`$DPKI_HOME` (default `~/.config/dpki`) holds `config.toml`, the wallet's keystore, the issuers'
X25519 keys and the journal. No secret stands in the configuration: only where to ask for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpki.config.broker import dump_broker, parse_broker
from dpki.config.finality import Finality, dump_finality, parse_finality
from dpki.config.signing import TokenConfig as TokenConfig
from dpki.config.signing import (
    WalletConfig,
    dump_token,
    dump_wallet,
    parse_keys,
    parse_token,
    parse_wallet,
)
from dpki.config.storing import StoreConfig as StoreConfig
from dpki.config.storing import dump_store, parse_store
from dpki.config.storing import verify_copies as verify_copies
from dpki.config.toml import Table, Value, dump_toml, load_table, parse_table
from dpki.config.urls import verify_url, verify_urls
from dpki.config.values import (
    verify_name,
)
from dpki.errors import ConfigError
from dpki.files import make_private_directory, write_atomic
from dpki.model import DomainId
from dpki.signer.uri import FileUri, KeyUri, Pkcs11Uri
from dpki.transport.address import Broker

VERSION = 1


@dataclass(frozen=True)
class Home:
    """Where an admin's things are; every path in one place."""

    directory: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "config.toml"

    @property
    def keystore(self) -> Path:
        """The wallet: an eth-account keystore, encrypted."""
        return self.directory / "wallets" / "admin.json"

    @property
    def journal(self) -> Path:
        """The journal of issued certificates, with the index of CAs and devices."""
        return self.directory / "journal.db"

    @property
    def lock(self) -> Path:
        """The file whose lock one issuing process holds at a time."""
        return self.directory / "issue.lock"

    @property
    def work_lock(self) -> Path:
        """The file whose lock is held by who first reads off what is left to do, and then does it.

        Of two at once, each would do all of it. Whoever holds it may take the other lock, too.
        """
        return self.directory / "work.lock"

    @property
    def certificates(self) -> Path:
        """Folder for issued certificates that go nowhere else."""
        return self.directory / "certificates"

    @property
    def devnet(self) -> Path:
        """Folder of the local development network."""
        return self.directory / "devnet"

    @property
    def store(self) -> Path:
        """The directory store that is used where there is no IPFS node."""
        return self.directory / "store"

    @property
    def watchdog_key(self) -> Path:
        """The X25519 key that a watchdog reads parcels with."""
        return self.directory / "watchdog.key"

    @property
    def acknowledgement_key(self) -> Path:
        """The X25519 key that devices seal acknowledgements for."""
        return self.directory / "acknowledgement.key"

    def profile(self, name: str) -> Path:
        """Return the file that says what a CA may issue; it need not exist."""
        return self.directory / "profiles" / f"{verify_name(name)}.toml"

    def issuer_key(self, name: str) -> Path:
        """Return the file with the X25519 key that masks a CA's locators."""
        return self.directory / "issuers" / f"{verify_name(name)}.key"


def find_home(option: Path | None) -> Home:
    """Return the home folder: the option, else `$DPKI_HOME`, else `~/.config/dpki`."""
    if option is None:
        chosen = os.environ.get("DPKI_HOME", "")
        option = Path(chosen) if chosen else Path("~/.config/dpki")
    return Home(option.expanduser().absolute())


@dataclass(frozen=True)
class ChainConfig:
    """The chain to write to.

    Attributes:
        chain_id: What `eth_chainId` must say.
        rpc: The endpoints.
        explorer: Base URL of a block explorer, for links; empty for none.
        optimism: Whether fees have an OP-stack part for the layer below.
        finality: When what the chain says takes effect.
        quorum: How many endpoints must agree on what is decided from; None for half of them,
            rounded up.
    """

    chain_id: int
    rpc: tuple[str, ...]
    explorer: str = ""
    optimism: bool = False
    finality: Finality = field(default_factory=Finality)
    quorum: int | None = None


@dataclass(frozen=True)
class AdminConfig:
    """Everything that an admin decided.

    Attributes:
        chain: The chain.
        token: The HSM.
        passphrase: Where the keystore's passphrase comes from; never the passphrase.
        store: Where bundles go.
        domain: The trust domain, once there is one.
        wallet: Which account signs transactions, and what they may cost.
        keys: Where the keys of CAs are that are not the token's of the CA's name.
        broker: Through which devices and this home leave each other messages, if any.
    """

    chain: ChainConfig
    token: TokenConfig
    passphrase: str
    store: StoreConfig
    domain: DomainId | None = None
    wallet: WalletConfig = field(default_factory=WalletConfig)
    keys: Mapping[str, KeyUri] = field(default_factory=dict)
    broker: Broker | None = None

    def require_domain(self) -> DomainId:
        """Return the domain.

        Raises:
            ConfigError: None was deployed yet.
        """
        if self.domain is None:
            raise ConfigError("there is no trust domain yet", hint="make one with: dpki deploy")
        return self.domain


def key_uri(home: Home, config: AdminConfig, name: str) -> KeyUri:
    """Return where a CA's key is: as configured, else in the token under the CA's name.

    Where there is no token, it is in a file in the home.
    """
    if name in config.keys:
        return config.keys[name]
    if not config.token.is_there:
        return FileUri(str(home.directory / "keys" / f"{name}.pem"))
    return Pkcs11Uri(token=config.token.label, object=name)


def load_admin_config(home: Home) -> AdminConfig:
    """Load and check the admin's configuration.

    Raises:
        ConfigError: It is missing, unsafe, malformed or contradictory; the message names the file
            and the key.
    """
    return _parse(load_table(home.config, version=VERSION, missing="make one with: dpki init"))


def parse_admin_config(text: str, path: Path) -> AdminConfig:
    """Parse the text of a `config.toml`; `path` is for messages.

    Raises:
        ConfigError: It is malformed or contradictory.
    """
    return _parse(parse_table(text.encode(), path, version=VERSION))


def _parse(table: Table) -> AdminConfig:
    passphrase, wallet = parse_wallet(table.table("wallet"))
    config = AdminConfig(
        domain=table.parsed("domain", DomainId.parse) if "domain" in table else None,
        chain=_parse_chain(table.table("chain")),
        token=parse_token(table.table("token")),
        passphrase=passphrase,
        wallet=wallet,
        keys=parse_keys(table.table("keys")),
        store=parse_store(table.table("store")),
        broker=parse_broker(table.table("broker")),
    )
    table.close()
    if config.domain is not None and config.domain.chain_id != config.chain.chain_id:
        raise table.error(
            "domain",
            f"is on chain {config.domain.chain_id}, but chain.chain_id is {config.chain.chain_id}",
        )
    return config


def create_admin_config(home: Home, config: AdminConfig) -> None:
    """Write the first configuration of a home.

    Raises:
        ConfigError: There is one already; it is left as it is.
    """
    verify_no_config(home)
    make_private_directory(home.directory)
    _save(home, config)


def verify_no_config(home: Home) -> None:
    """Refuse a home that is already in use.

    Raises:
        ConfigError: It has a configuration.
    """
    if home.config.exists():
        raise ConfigError(
            f"{home.config} exists already",
            hint="choose another home with --home, or move that one away",
        )


def save_domain(home: Home, domain: DomainId) -> AdminConfig:
    """Enter the trust domain into a configuration that has none, and return the new one.

    Raises:
        ConfigError: It has one; certificates of that one would be forgotten.
    """
    config = load_admin_config(home)
    if config.domain not in (None, domain):
        raise ConfigError(
            f"{home.config} already names the domain {config.domain}",
            hint="use another home for another domain: --home",
        )
    config = replace(config, domain=domain)
    _save(home, config)
    return config


def with_key(home: Home, config: AdminConfig, name: str, uri: KeyUri) -> AdminConfig:
    """Return the configuration that says where a CA's key is.

    Raises:
        ConfigError: Another key is entered for this name.
    """
    if config.keys.get(name, uri) != uri:
        raise ConfigError(
            f"{home.config} already says that the key of {name} is {config.keys[name]}",
            hint="leave --key out, or choose another name",
        )
    return replace(config, keys={**config.keys, name: uri})


def save_key(home: Home, name: str, uri: KeyUri) -> None:
    """Enter where a CA's key is.

    Raises:
        ConfigError: Another key is entered for this name.
    """
    config = load_admin_config(home)
    if name not in config.keys or config.keys[name] != uri:
        _save(home, with_key(home, config, name, uri))


def save_wallet_key(home: Home, uri: Pkcs11Uri | None) -> None:
    """Enter that the wallet's key is in a token; None for the keystore."""
    config = load_admin_config(home)
    _save(home, replace(config, wallet=replace(config.wallet, key=uri)))


def dump_admin_config(config: AdminConfig) -> str:
    """Return the text of `config.toml`; the same configuration always gives the same text."""
    top: dict[str, Value] = {"version": VERSION}
    if config.domain is not None:
        top["domain"] = str(config.domain)
    return dump_toml(
        top
        | {
            "chain": {
                "chain_id": config.chain.chain_id,
                "rpc": config.chain.rpc,
                **({} if config.chain.quorum is None else {"quorum": config.chain.quorum}),
                "explorer": config.chain.explorer,
                "optimism": config.chain.optimism,
                **dump_finality(config.chain.finality),
            },
            "token": dump_token(config.token),
            "wallet": dump_wallet(config.passphrase, config.wallet),
            **(
                {"keys": {n: str(k) for n, k in sorted(config.keys.items())}} if config.keys else {}
            ),
            "store": dump_store(config.store),
            **({} if config.broker is None else {"broker": dump_broker(config.broker)}),
        }
    )


def _save(home: Home, config: AdminConfig) -> None:
    write_atomic(home.config, dump_admin_config(config).encode())


def _parse_chain(table: Table) -> ChainConfig:
    rpc = table.texts("rpc")
    with table.blame("rpc"):
        verify_urls(rpc)
    if not rpc:
        raise table.error("rpc", "names no endpoint")
    quorum = table.integer("quorum", minimum=1) if "quorum" in table else None
    if quorum is not None and quorum > len(rpc):
        raise table.error("quorum", f"is {quorum}, and only {len(rpc)} endpoints are named")
    explorer = table.text("explorer", "")
    with table.blame("explorer"):
        explorer = verify_url(explorer) if explorer else ""
    return ChainConfig(
        chain_id=table.integer("chain_id", minimum=1),
        rpc=rpc,
        explorer=explorer,
        optimism=table.flag("optimism", False),
        quorum=quorum,
        finality=parse_finality(table),
    )
