"""A device's configuration: `device.toml` in the folder that its agent works from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from dpki.certificates.principals import verify_principals
from dpki.config.access import Access as Access
from dpki.config.access import Ending as Ending
from dpki.config.access import Outage as Outage
from dpki.config.access import dump_access, parse_access
from dpki.config.broker import dump_broker, parse_broker
from dpki.config.finality import Finality, dump_finality, parse_finality
from dpki.config.following import (
    Following,
    Metrics,
    dump_following,
    dump_metrics,
    parse_following,
    parse_metrics,
)
from dpki.config.news import News, dump_news, parse_acknowledge, parse_news
from dpki.config.outbound import Outbound, dump_outbound, parse_outbound
from dpki.config.sshd import Sshd, dump_sshd, parse_sshd, plain_path
from dpki.config.toml import Table, Value, dump_toml, load_table, parse_table
from dpki.config.urls import HTTP, SOCKETS, verify_urls
from dpki.config.values import verify_account
from dpki.config.witnesses import Witnesses, dump_witnesses, parse_witnesses
from dpki.errors import ConfigError, UsageError
from dpki.files import write_atomic
from dpki.model import AuthorityId, DomainId
from dpki.transport.address import Broker

FILE_NAME = "device.toml"
VERSION = 1

FIRST = "first"
"""What the domain that stands at the top of the file is called among several."""


@dataclass(frozen=True)
class Grant:
    """Who may log in to one account: holders of one CA's certificates with one principal."""

    authority: AuthorityId
    principal: str

    @classmethod
    def parse(cls, text: str) -> Grant:
        """Parse `0x<CA id>/<principal>`; the principal may itself hold a slash.

        Raises:
            MalformedInput: The CA id is misspelled.
            InvalidPrincipal: The principal is missing or holds a forbidden character.
        """
        authority, _, principal = text.partition("/")
        return cls(AuthorityId.parse(authority), verify_principals([principal])[0])

    def __str__(self) -> str:
        """Return the written form."""
        return f"{self.authority}/{self.principal}"


@dataclass(frozen=True)
class DomainConfig:
    """What somebody decided about one trust domain.

    Attributes:
        domain: The trust domain; with an endpoint, the root of all trust.
        rpc: JSON-RPC endpoints, at least one.
        quorum: How many of them must agree; None for half of them, rounded up.
        subscribe: WebSocket endpoints that may say when to look; None for those of `rpc`.
        gateways: Trustless IPFS gateways.
        directories: Content-addressed folders that bundles may also come from.
        accounts: Local account to what lets somebody in; an account not named lets nobody in.
        successors: Whether what is granted to a CA goes to those that the governor registered to
            succeed it, too. Off, a new CA must be named here before it lets anybody in; on, the
            governor, and as long as one endpoint is believed also that, can name it.
        witnesses: Whose word counts beside the endpoints', or instead; None for nobody's.
        news: What the device says of what it has installed, and whether it listens to a doorbell.
    """

    domain: DomainId
    rpc: tuple[str, ...]
    quorum: int | None = None
    subscribe: tuple[str, ...] | None = None
    gateways: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    accounts: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict)
    successors: bool = False
    chain: Finality = field(default_factory=Finality)
    witnesses: Witnesses | None = None
    news: News = field(default_factory=News)

    @property
    def hints(self) -> tuple[str, ...]:
        """Return the WebSocket endpoints to listen to."""
        if self.subscribe is not None:
            return self.subscribe
        return tuple(f"ws{url.removeprefix('http')}" for url in self.rpc)


@dataclass(frozen=True)
class DeviceConfig(DomainConfig):
    """Everything that somebody decided about one device; the fields above are its first domain's.

    Attributes:
        sshd: Its OpenSSH server.
        access: The way in when certificates can't decide.
        following: How the agent follows the chain.
        metrics: Where its figures can be had.
        outbound: Who logs in elsewhere with the device's own user certificate; None for nobody.
        domains: Further trust domains, by the name that they have here.
        broker: Through which this device and its admins leave each other messages, if any.
    """

    sshd: Sshd = field(default_factory=Sshd)
    access: Access = field(default_factory=Access)
    following: Following = field(default_factory=Following)
    metrics: Metrics = field(default_factory=Metrics)
    outbound: Outbound | None = None
    domains: Mapping[str, DomainConfig] = field(default_factory=dict)
    broker: Broker | None = None

    @property
    def account_names(self) -> frozenset[str]:
        """Every account that one of the domains lets somebody into."""
        return frozenset(name for each in self.each().values() for name in each.accounts)

    def each(self) -> dict[str, DeviceConfig]:
        """Return the configuration as each domain sees it, by name, the first one's first."""
        first = replace(self, domains={})
        return {FIRST: first} | {
            name: replace(first, **{f.name: getattr(other, f.name) for f in fields(DomainConfig)})
            for name, other in self.domains.items()
        }


def load_device_config(directory: Path) -> DeviceConfig:
    """Load and check `device.toml` in `directory`.

    Raises:
        ConfigError: It is missing, unsafe, malformed or contradictory; the message names the file
            and the key.
    """
    path = directory / FILE_NAME
    table = load_table(path, version=VERSION, missing="make one with: dpki device init")
    owner = path.stat().st_uid
    if owner not in (0, os.geteuid()):
        # Its `reload` command and its accounts are run and opened with the agent's rights.
        raise ConfigError(
            f"{path} belongs to another user (uid {owner})",
            hint="it must belong to root or to the user that runs the agent",
        )
    return _parse(table)


def parse_device_config(text: str, path: Path = Path(FILE_NAME)) -> DeviceConfig:
    """Parse the text of a `device.toml`; `path` is for messages.

    Raises:
        ConfigError: It is malformed or contradictory.
    """
    return _parse(parse_table(text.encode(), path, version=VERSION))


def _parse(table: Table) -> DeviceConfig:
    broker = parse_broker(table.table("broker"))
    has_broker = broker is not None
    first = _parse_domain(table, parse_news(table, has_broker=has_broker))
    config = DeviceConfig(
        **{f.name: getattr(first, f.name) for f in fields(DomainConfig)},
        sshd=parse_sshd(table.table("sshd")),
        access=parse_access(table.table("access")),
        following=parse_following(table.table("following")),
        metrics=parse_metrics(table.table("metrics")),
        outbound=parse_outbound(table.table("outbound")),
        domains=_parse_domains(table.table("domains"), has_broker=has_broker),
        broker=broker,
    )
    table.close()
    ids = [each.domain for each in config.each().values()]
    if len(set(ids)) != len(ids):
        raise table.error("domains", "names a trust domain twice", hint="name each domain once")
    told = [each.news.acknowledge for each in config.each().values()]
    places = [said.to for said in told if said is not None]
    if len(set(places)) != len(places):
        # A device has one message in a place, and the next one takes its room.
        raise table.error(
            "domains",
            "has two trust domains told in one place",
            hint="give each a folder of its own in acknowledge.to, or the broker to one of them",
        )
    theirs = (config.sshd.directory, *config.sshd.others_folders)
    if config.outbound is not None and config.outbound.directory in theirs:
        raise table.error("outbound", "uses sshd's folder", hint="give it a folder of its own")
    return config


def _parse_domains(table: Table, *, has_broker: bool) -> dict[str, DomainConfig]:
    domains = {}
    for name in table.names():
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name) or name == FIRST:
            raise table.error(
                name, "is no name for a domain", hint="use a to z, 0 to 9 and -, at most 32"
            )
        below = table.table(name)
        news = News(parse_acknowledge(below, has_broker=has_broker))
        domains[name] = _parse_domain(below, news)
        below.close()
    return domains


def _parse_domain(table: Table, news: News) -> DomainConfig:
    config = DomainConfig(
        domain=table.parsed("domain", DomainId.parse),
        rpc=_urls(table, "rpc"),
        quorum=table.integer("quorum", minimum=1) if "quorum" in table else None,
        subscribe=_urls(table, "subscribe", schemes=SOCKETS) if "subscribe" in table else None,
        gateways=_urls(table, "gateways", ()),
        directories=tuple(
            plain_path(table, "directories", d) for d in table.texts("directories", ())
        ),
        accounts=_parse_accounts(table.table("accounts")),
        successors=table.flag("successors", default=False),
        chain=parse_finality(table.table("chain")),
        witnesses=parse_witnesses(table.table("witnesses")),
        news=news,
    )
    if not config.rpc:
        raise table.error("rpc", "names no endpoint", hint='such as rpc = ["https://…"]')
    if config.quorum is not None and config.quorum > len(config.rpc):
        raise table.error(
            "quorum",
            f"is {config.quorum}, and only {len(config.rpc)} endpoints are named",
            hint="name more in rpc, or ask for fewer to agree",
        )
    return config


def save_device_config(directory: Path, config: DeviceConfig) -> Path:
    """Write `device.toml`, for its owner only, and return its path."""
    path = directory / FILE_NAME
    write_atomic(path, dump_device_config(config).encode())
    return path


def dump_device_config(config: DeviceConfig) -> str:
    """Return the text of `device.toml`; the same configuration always gives the same text."""
    return dump_toml(
        {
            "version": VERSION,
            **_dump_domain(config),
            "sshd": dump_sshd(config.sshd),
            "access": dump_access(config.access),
            "following": dump_following(config.following),
            "metrics": dump_metrics(config.metrics),
            **({} if config.outbound is None else {"outbound": dump_outbound(config.outbound)}),
            **({} if config.broker is None else {"broker": dump_broker(config.broker)}),
            "domains": {name: _dump_domain(other) for name, other in config.domains.items()},
        }
    )


def _dump_domain(config: DomainConfig) -> dict[str, Value]:
    return {
        "domain": str(config.domain),
        "rpc": config.rpc,
        **({} if config.quorum is None else {"quorum": config.quorum}),
        **({} if config.subscribe is None else {"subscribe": config.subscribe}),
        "gateways": config.gateways,
        "directories": [str(path) for path in config.directories],
        "successors": config.successors,
        "accounts": {
            account: [str(grant) for grant in grants] for account, grants in config.accounts.items()
        },
        "chain": dump_finality(config.chain),
        **({} if config.witnesses is None else {"witnesses": dump_witnesses(config.witnesses)}),
        **dump_news(config.news),
    }


def parse_allowances(texts: Iterable[str]) -> dict[str, tuple[Grant, ...]]:
    """Parse `ACCOUNT=0x<CA id>/<principal>`, as on a command line, into accounts.

    Raises:
        UsageError: An account, CA id or principal is misspelled, or something stands there twice.
    """
    accounts: dict[str, tuple[Grant, ...]] = {}
    for text in texts:
        account, equals, grant = text.partition("=")
        if not equals:
            raise UsageError(
                f"{text[:120]!r} does not say who may log in where",
                hint="write ACCOUNT=0x<CA id>/<principal>, such as root=0x12…ef/ops",
            )
        accounts[verify_account(account)] = (*accounts.get(account, ()), Grant.parse(grant))
    for account, grants in accounts.items():
        if len(set(grants)) != len(grants):
            raise UsageError(f"account {account} is given the same principal twice")
    return accounts


def _parse_accounts(table: Table) -> dict[str, tuple[Grant, ...]]:
    accounts: dict[str, tuple[Grant, ...]] = {}
    for account in table.names():
        grants = table.texts(account)
        with table.blame(account):
            verify_account(account)
            accounts |= parse_allowances(f"{account}={grant}" for grant in grants)
    return accounts


def _urls(
    table: Table,
    key: str,
    default: tuple[str, ...] | None = None,
    *,
    schemes: tuple[str, ...] = HTTP,
) -> tuple[str, ...]:
    texts = table.texts(key, default)
    with table.blame(key):
        return verify_urls(texts, schemes=schemes)
