"""One trust domain on a real Anvil for all of these tests; ape takes back what each test does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import pytest
from ape.logging import LogLevel, logger
from ape_ethereum.trace import Trace

from tests.contracts import reference
from tests.contracts.fresh import compile_fresh
from tests.contracts.reference import ZERO, Entry
from tests.contracts.reverting import plain

NOBODY = "0x" + "00" * 20
ISSUER_KEY = b"\x42" * 32
LIFETIME = 60 * 24 * 30


class Kind(IntEnum):
    UNREGISTERED = 0
    SSH_USER = 1
    SSH_HOST = 2
    TLS = 3


class State(IntEnum):
    UNREGISTERED = 0
    ACTIVE = 1
    CLOSED = 2
    SUSPENDED = 3
    CLOSED_SUSPENDED = 4
    RETIRED = 5


class Verdict(IntEnum):
    NOT_ANCHORED = 0
    VALID = 1
    EXPIRED = 2
    REVOKED = 3
    SUSPENDED = 4


class DeviceState(IntEnum):
    UNREGISTERED = 0
    ACTIVE = 1
    RETIRED = 2


#: The governor's calls that lead a fresh authority into a state.
WAY_INTO = {
    State.ACTIVE: (),
    State.CLOSED: ("close",),
    State.SUSPENDED: ("suspend",),
    State.CLOSED_SUSPENDED: ("close", "suspend"),
    State.RETIRED: ("retire",),
}


@dataclass
class World:
    """A trust domain with everybody that can have a role in it."""

    project: Any
    chain: Any
    roles: dict[str, Any]
    domain: Any
    authorities: Any
    certificates: Any
    devices: Any
    watchdogs: Any
    ca: bytes = ZERO
    other_ca: bytes = ZERO
    _keys: int = field(default=0)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["roles"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def now(self) -> int:
        return int(self.chain.pending_timestamp)

    def fresh_key(self) -> bytes:
        """Return a public key (as far as the contracts can tell) that was never used before."""
        self._keys += 1
        return self._keys.to_bytes(44, "big")

    def register(
        self,
        key: bytes | None = None,
        kind: Kind = Kind.SSH_USER,
        parent: bytes = ZERO,
        operator: Any = None,
        lifetime: int = LIFETIME,
    ) -> bytes:
        """Register an authority as the governor, and return its id."""
        key = self.fresh_key() if key is None else key
        operator = self.operator if operator is None else operator
        self.authorities.register(
            kind, key, ISSUER_KEY, parent, operator, lifetime, sender=self.governor
        )
        return hashlib.sha256(key).digest()

    def entries(
        self, count: int, device: str = NOBODY, not_after: int | None = None
    ) -> list[Entry]:
        """Return entries that differ from one another."""
        end = self.now + 3600 if not_after is None else not_after
        return [
            Entry(
                certificate_hash=hashlib.sha256(b"certificate %d" % i).digest(),
                device=device,
                not_after=end,
                locator=hashlib.sha256(b"locator %d" % i).digest(),
            )
            for i in range(count)
        ]

    def issue(self, entries: Sequence[Entry], first: int = 1, ca: bytes | None = None) -> Any:
        """Anchor a batch as the operator, and return the receipt."""
        ca = self.ca if ca is None else ca
        return self.certificates.issue(ca, first, [e.abi for e in entries], sender=self.operator)

    def leaves(
        self, entries: Sequence[Entry], first: int = 1, ca: bytes | None = None
    ) -> list[bytes]:
        """Return a batch's leaves as the reference implementation has them."""
        ca = self.ca if ca is None else ca
        registry = str(self.certificates.address)
        return [
            reference.leaf(self.chain.chain_id, registry, ca, first + i, entry)
            for i, entry in enumerate(entries)
        ]

    def lead_into(self, state: State, ca: bytes | None = None) -> None:
        """Lead a fresh authority into a state."""
        for step in WAY_INTO[state]:
            getattr(self.certificates, step)(self.ca if ca is None else ca, sender=self.governor)

    def signed(
        self,
        kind: str,
        device: Any,
        document: bytes,
        nonce: int,
        deadline: int | None = None,
        *,
        chain_id: int | None = None,
        contract: str | None = None,
        signer: Any = None,
    ) -> tuple[str, bytes, int, bytes]:
        """Return the arguments of `enroll` or `update`; the keywords sign something else."""
        deadline = self.now + 3600 if deadline is None else deadline
        digest = reference.message_digest(
            kind,
            self.chain.chain_id if chain_id is None else chain_id,
            str(self.devices.address) if contract is None else contract,
            str(device.address),
            document,
            nonce,
            deadline,
        )
        key = (device if signer is None else signer).private_key
        return (str(device.address), document, deadline, reference.sign(key, digest))

    def watched_by(self, *weights: int) -> list[tuple[Any, int, bytes]]:
        """Return watchdogs of these weights, each as the contract takes it."""
        names = ("watchdog", "other_watchdog", "third_watchdog")
        return [
            (str(getattr(self, name).address), weight, bytes([7 + i]) * 32)
            for i, (name, weight) in enumerate(zip(names, weights, strict=False))
        ]

    def confirmation(
        self,
        first: int,
        commitment: bytes,
        watchdog: Any,
        deadline: int | None = None,
        version: int = 1,
        signer: Any = None,
        signed: dict[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """Return a confirmation for `relay`; `signed` says what is signed instead."""
        deadline = self.now + 3600 if deadline is None else deadline
        told = (self.ca, first, commitment, str(watchdog.address), deadline)
        meant = {
            "chain_id": self.chain.chain_id,
            "contract": str(self.watchdogs.address),
            "ca": self.ca,
            "version": version,
            "first": first,
            "commitment": commitment,
            "watchdog": str(watchdog.address),
            "deadline": deadline,
        }
        digest = reference.confirmation_digest(**(meant | (signed or {})))
        return (*told, reference.sign((signer or watchdog).private_key, digest))

    def changed_storage(self, receipt: Any) -> set[tuple[str, int]]:
        """Return (contract, slot) of every storage word that a transaction changed."""
        difference = self.chain.provider.make_request(
            "debug_traceTransaction",
            [receipt.txn_hash, {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}}],
        )
        names = {
            str(getattr(self, name).address).lower(): name
            for name in ("domain", "authorities", "certificates", "devices", "watchdogs")
        }
        found = set()
        for side in ("pre", "post"):
            for address, account in difference[side].items():
                for slot in account.get("storage") or {}:
                    found.add((names.get(address.lower(), "council"), int(slot, 16)))
        return found

    def storage_at(self, contract: Any, slot: int) -> int:
        answer = self.chain.provider.make_request(
            "eth_getStorageAt", [str(contract.address), hex(slot), "latest"]
        )
        return int(answer, 16)

    def set_storage(self, contract: Any, slot: int, value: int) -> None:
        """Write a word that no sequence of transactions could bring about in a test's time."""
        self.chain.provider.make_request(
            "anvil_setStorageAt",
            [str(contract.address), f"0x{slot:064x}", f"0x{value:064x}"],
        )


def events(receipt: Any, abis: Any = None) -> list[tuple[str, dict[str, Any]]]:
    """Return every event of a transaction, in order: its name and all of its arguments.

    With `abis`, those of contracts that ape does not know the address of.
    """
    logs = receipt.events if abis is None else receipt.decode_logs(abis)
    return [
        (log.event_name, {name: plain(value) for name, value in log.event_arguments.items()})
        for log in logs
    ]


def event(name: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Return an event as `events` has it."""
    return (name, {key: plain(value) for key, value in arguments.items()})


def unauthorized(world: World, part: str) -> Any:
    """Return the error with which a contract of the domain refuses a caller."""
    contract = getattr(world, part)
    return getattr(contract, f"{contract.contract_type.name}Unauthorized")


ROLES = (
    "governor",
    "guardian",
    "operator",
    "revoker",
    "registrar",
    "other_operator",
    "other_revoker",
    "stranger",
    "newcomer",
    "device",
    "watchdog",
    "other_watchdog",
    "third_watchdog",
)


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    """Keep ape from printing each of thousands of transactions, and the trace of each revert.

    The reverts are meant, and drawing their traces takes as long as all the rest.
    """
    before = logger.level
    logger.set_level(LogLevel.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trace, "show", lambda *_, **__: None)
        yield
    logger.set_level(before)


def deploy_world(project: Any, chain: Any, accounts: Iterable[Any]) -> World:
    """Deploy a trust domain, governed by the first of `accounts`."""
    roles = dict(zip(ROLES, accounts, strict=False))
    domain = project.TrustDomain.deploy(
        roles["governor"], roles["guardian"], [roles["registrar"]], sender=roles["stranger"]
    )
    return World(
        project=project,
        chain=chain,
        roles=roles,
        domain=domain,
        authorities=project.AuthorityRegistry.at(domain.authorities()),
        certificates=project.CertificateRegistry.at(domain.certificates()),
        devices=project.DeviceRegistry.at(domain.devices()),
        watchdogs=project.WatchdogRegistry.at(domain.watchdogs()),
    )


@pytest.fixture(scope="session")
def world(project: Any, chain: Any, accounts: Any) -> World:
    """A domain with two authorities, each with an operator and a revoker of its own."""
    compile_fresh(project)
    world = deploy_world(project, chain, [accounts[i] for i in range(len(ROLES))])
    world.ca = world.register()
    world.other_ca = world.register(kind=Kind.SSH_HOST, operator=world.other_operator)
    setter = world.certificates.setRevoker
    setter(world.ca, world.revoker, True, sender=world.governor)
    setter(world.other_ca, world.other_revoker, True, sender=world.governor)
    return world
