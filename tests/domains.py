"""A trust domain on a real node, and accounts to write to it with; no CA has a real key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Protocol

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import Address, AuthorityId, AuthorityKind, Entry, Hash32
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.wallet import Wallet
from dpki.transactions.writer import DomainWriter

ISSUER_KEY = Hash32(b"\x42" * 32)
LIFETIME = timedelta(days=30)

_keys = count(1)


class Node(Protocol):
    """A private chain with the devnet's accounts: Anvil, or go-ethereum."""

    @property
    def url(self) -> str: ...


@dataclass
class Deployed:
    """A domain: its governor (registrar as well), its guardian, its CAs' operator, a stranger."""

    node: Node
    endpoint: Endpoint
    domain: Domain
    governor: Wallet
    guardian: Wallet
    operator: Wallet
    stranger: Wallet

    def writer(self, wallet: Wallet | None = None) -> DomainWriter:
        """Return the domain's writer for an account, the governor's if none is named."""
        return DomainWriter(self.endpoint, self.domain, wallet or self.governor)

    def register(
        self, kind: AuthorityKind = AuthorityKind.SSH_USER, length: int = 91
    ) -> AuthorityId:
        """Register a CA with a made-up key, operated by the operator."""
        key = next(_keys).to_bytes(length)
        self.writer().register_authority(
            kind, key, ISSUER_KEY, operator=self.operator.address, maximum_lifetime=LIFETIME
        )
        return AuthorityId(sha256(key).digest())


def deploy(node: Node, endpoint: Endpoint) -> Deployed:
    """Deploy a fresh domain."""
    governor, guardian, operator, stranger = (
        development_wallet(i, chain_id=CHAIN_ID) for i in range(4)
    )
    domain_id, _ = deploy_domain(
        endpoint,
        governor,
        governor=governor.address,
        guardian=guardian.address,
        registrars=[governor.address],
    )
    domain = fetch_domain(endpoint, domain_id)
    return Deployed(node, endpoint, domain, governor, guardian, operator, stranger)


@contextmanager
def open_domain(logs: Path, *, optimism: bool = False) -> Iterator[Deployed]:
    """Start an Anvil, deploy a domain, and end the Anvil."""
    with Anvil(logs, optimism=optimism) as anvil, Endpoint(anvil.url) as endpoint:
        yield deploy(anvil, endpoint)


def fresh_entries(number: int, device: Address | None = None) -> list[Entry]:
    """Return entries that were never used before and end in an hour."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    return [
        Entry(
            Hash32(sha256(b"certificate %d" % next(_keys)).digest()),
            device or Address.zero(),
            end,
            Hash32(b"\x77" * 32),
        )
        for _ in range(number)
    ]
