"""A domain's history in memory, event by event, behind the same `Reader` as an endpoint.

Nothing in it is checked: whoever tells a history may tell an impossible one. What the chain holds
is what a replay of the history comes to (`settle`); that real contracts hold the same is what the
state machines in tests/property find out. Then it can be told to lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from dpki.audit.index import Index
from dpki.audit.occurrence import contracts_of
from dpki.audit.prove import expected_words
from dpki.audit.run import AuditReport, audit, replay
from dpki.chain import merkle
from dpki.chain.domain import Domain, registries_of
from dpki.chain.rpc import Call, RpcError
from dpki.model import (
    Address,
    AuthorityId,
    Block,
    DomainId,
    Entry,
    Hash32,
    from_timestamp,
    to_timestamp,
)
from dpki.transactions import abi
from dpki.transactions.artifacts import load_artifact

START = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
GOVERNOR, GUARDIAN, REGISTRAR, OPERATOR, REVOKER, STRANGER, DOG, CAT, NEXT = (
    Address(bytes([n]) * 20) for n in range(0xA1, 0xAA)
)
ISSUER_KEY = Hash32(b"\x42" * 32)
LIFETIME = 60
"""Minutes."""

Json = dict[str, Any]


@dataclass
class Chronicle:
    """The history, and a reader of it.

    Attributes:
        lie: From a question and the true answer to the one given.
    """

    logs: list[Json] = field(default_factory=list)
    transactions: dict[str, Json] = field(default_factory=dict)
    words: dict[tuple[Address, int], int] = field(default_factory=dict)
    codes: dict[Address, bytes] = field(default_factory=dict)
    lie: Callable[[Call, Any], Any] = lambda _, answer: answer
    asked: list[Call] = field(default_factory=list)
    salt: bytes = b""
    number: int = 1
    _sent: Hash32 = field(default_factory=Hash32.zero)

    name = "chronicle"

    def __post_init__(self) -> None:
        home = Address(b"\x01" * 20)
        block = Block(1, self.hash(1), from_timestamp(START))
        self.domain = Domain(DomainId(31337, home, block.hash), *registries_of(home), block)
        self.addresses = {name: address for address, name in contracts_of(self.domain).items()}
        for name, address in self.addresses.items():
            self.codes[address] = load_artifact(name).runtime
        self.serials: dict[AuthorityId, int] = {}

    # -- telling ---------------------------------------------------------------------------------

    def hash(self, number: int) -> Hash32:
        return Hash32(keccak(self.salt + number.to_bytes(8)))

    def time(self, number: int | None = None) -> int:
        return START + 2 * ((self.number if number is None else number) - 1)

    @contextmanager
    def sent(self, sender: Address, to: str | Address | None) -> Iterator[None]:
        """Tell of a transaction, in a block of its own."""
        target = self.addresses[to] if isinstance(to, str) else to
        self._sent = Hash32(keccak(b"sent" + len(self.transactions).to_bytes(8)))
        self.transactions[str(self._sent)] = {
            "hash": str(self._sent),
            "blockHash": str(self.hash(self.number)),
            "from": str(sender).lower(),
            "to": None if target is None else str(target).lower(),
        }
        yield
        self.number += 1

    def event(self, contract: str, name: str, *values: Any) -> None:
        """Tell of an event; the values in the order of the event's parameters."""
        event = abi.find_event(contract if contract in self.addresses else "RootCouncil", name)
        plain, topics = [], [str(event.topic)]
        for parameter, value in zip(event.parameters, values, strict=True):
            told = str(value) if isinstance(value, Address) else value
            if parameter.is_indexed:
                topics.append(f"0x{abi.encode([parameter.kind], [told]).hex()}")
            else:
                plain.append((parameter.kind, told))
        self.logs.append(
            {
                "address": str(self.addresses[contract]).lower(),
                "topics": topics,
                "data": f"0x{abi.encode([k for k, _ in plain], [v for _, v in plain]).hex()}",
                "blockNumber": hex(self.number),
                "blockHash": str(self.hash(self.number)),
                "transactionHash": str(self._sent),
                "logIndex": hex(len(self.logs)),
                "removed": False,
            }
        )

    def tell(
        self, sender: Address, contract: str, name: str, *values: Any, to: str | None = None
    ) -> None:
        """Tell of a transaction with one event."""
        with self.sent(sender, to or contract):
            self.event(contract, name, *values)

    def create(self) -> Chronicle:
        with self.sent(STRANGER, None):
            self.event("DeviceRegistry", "RegistrarChanged", REGISTRAR, True)
            home, *parts = self.addresses.values()
            self.event("TrustDomain", "DomainCreated", GOVERNOR, *parts)
            self.event("TrustDomain", "GuardianChanged", Address.zero(), GUARDIAN)
        assert home == self.domain.id.address
        return self

    def register(
        self, key: bytes = b"k" * 44, kind: int = 1, parent: bytes = bytes(32)
    ) -> AuthorityId:
        ca = AuthorityId(hashlib.sha256(key).digest())
        with self.sent(GOVERNOR, "AuthorityRegistry"):
            self.event(
                "AuthorityRegistry", "AuthorityRegistered", ca, kind, parent, key, ISSUER_KEY
            )
            self.event("CertificateRegistry", "IssuerOpened", ca, OPERATOR, LIFETIME)
        self.serials[ca] = 1
        return ca

    def entries(self, ca: AuthorityId, count: int) -> list[Entry]:
        first = self.serials[ca]
        return [
            Entry(
                Hash32(keccak(ca + (first + i).to_bytes(4))),
                Address.zero(),
                from_timestamp(self.time() + 600),
                Hash32.zero(),
            )
            for i in range(count)
        ]

    def announce(self, ca: AuthorityId, entries: Sequence[Entry]) -> Hash32:
        """Tell of certificates, and return what their root is."""
        first, leaves = self.serials[ca], []
        context = merkle.leaf_context(31337, self.domain.certificates, ca)
        for i, entry in enumerate(entries):
            end = to_timestamp(entry.not_after)
            self.event(
                "CertificateRegistry",
                "CertificateIssued",
                ca,
                entry.device,
                first + i,
                entry.certificate_hash,
                end,
                entry.locator,
            )
            leaves.append(merkle.leaf(context, first + i, entry))
        return merkle.Tree(leaves).root

    def issue(self, ca: AuthorityId, count: int = 1, sender: Address = OPERATOR) -> int:
        first = self.serials[ca]
        with self.sent(sender, "CertificateRegistry"):
            root = self.announce(ca, self.entries(ca, count))
            self.event("CertificateRegistry", "BatchIssued", ca, first, count, root)
        self.serials[ca] = first + count
        return first

    def watch(self, ca: AuthorityId, version: int = 1, first: int = 1, threshold: int = 3) -> None:
        dogs = [(str(DOG), 2, b"\x07" * 32), (str(CAT), 1, b"\x08" * 32)]
        values = (ca, version, first, threshold, dogs)
        self.tell(GOVERNOR, "WatchdogRegistry", "WatchChanged", *values)

    def settle(self, folder: Path) -> Chronicle:
        """Let the chain hold what the history so far comes to."""
        folder.mkdir(exist_ok=True)
        with Index(folder / f"honest-{self.number}.sqlite", self.domain.id) as index:
            head = Block(self.number - 1, self.hash(self.number - 1), from_timestamp(self.time()))
            history = replay(self, self.domain, index, head)
            state, councils = history.state, history.councils
            words = expected_words(self.domain, state, councils, index)
            self.words = {(word.contract, word.slot): word.value for word in words}
        return self

    def audit(self, index: Index, to: int | str = "latest", **options: Any) -> AuditReport:
        return audit(self, self.domain, index, to=to, **options)

    # -- Reader ----------------------------------------------------------------------------------

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        call = Call(method, params)
        self.asked.append(call)
        return self.lie(call, getattr(self, f"_{method}")(*params))

    def batch(self, calls: Sequence[Call]) -> list[object]:
        return [self.call(call.method, call.params) for call in calls]

    def _show(self, number: int) -> Json:
        return {
            "number": hex(number),
            "hash": str(self.hash(number)),
            "timestamp": hex(self.time(number)),
        }

    def _eth_chainId(self) -> str:  # noqa: N802
        return hex(self.domain.id.chain_id)

    def _eth_getBlockByNumber(self, which: str, _: bool) -> Json | None:  # noqa: N802
        head = self.number - 1
        number = head if which in ("latest", "safe", "finalized") else int(which, 16)
        return self._show(number) if number <= head else None

    def _eth_getTransactionByHash(self, hash: str) -> Json | None:  # noqa: N802
        return self.transactions.get(hash)

    def _eth_getCode(self, address: str, _: Json) -> str:  # noqa: N802
        return f"0x{self.codes.get(Address.parse(address), b'').hex()}"

    def _eth_getStorageAt(self, contract: str, slot: str, _: Json) -> str:  # noqa: N802
        return f"0x{self.words.get((Address.parse(contract), int(slot, 16)), 0):064x}"

    def _eth_getLogs(self, query: Json) -> list[Json]:  # noqa: N802
        asked = query["address"]
        wanted = {one.lower() for one in (asked if isinstance(asked, list) else [asked])}
        start, end = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        found = [
            dict(log)
            for log in self.logs
            if start <= int(log["blockNumber"], 16) <= end
            and log["address"] in wanted
            and all(
                t is None or t == o for t, o in zip(query["topics"], log["topics"], strict=False)
            )
        ]
        if len(found) > 5_000:
            raise RpcError(self.name, "eth_getLogs", -32005, "too many")
        return found


def _matches(wanted: Sequence[Any], topics: Sequence[str]) -> bool:
    return all(one is None or one == topic for one, topic in zip(wanted, topics, strict=False))


def everything(chronicle: Chronicle) -> AuthorityId:
    """Tell a history with each kind of event of the five contracts in it; return its first CA."""
    c = chronicle.create()
    ca = c.register()
    c.issue(ca, 3)
    c.tell(GOVERNOR, "CertificateRegistry", "RevokerChanged", ca, REVOKER, True)
    c.tell(REVOKER, "CertificateRegistry", "CertificateRevoked", ca, 2, REVOKER)
    c.tell(OPERATOR, "CertificateRegistry", "RevokedBelow", ca, 2, OPERATOR)
    c.watch(ca, first=4)
    batch = c.issue(ca, 2)
    c.tell(OPERATOR, "WatchdogRegistry", "ReviewRequested", ca, batch, [b"\x01" * 32])
    c.tell(CAT, "WatchdogRegistry", "BatchObjected", ca, batch, CAT, "who is that?")
    c.tell(STRANGER, "WatchdogRegistry", "ConfirmationSkipped", ca, batch, STRANGER, 0)
    c.watch(ca, version=2, first=4, threshold=2)
    with c.sent(DOG, "WatchdogRegistry"):
        c.event("WatchdogRegistry", "BatchConfirmed", ca, batch, DOG, 2)
        c.event("WatchdogRegistry", "BatchAccepted", ca, batch)
    c.tell(GUARDIAN, "CertificateRegistry", "StateChanged", ca, 1, 3, GUARDIAN)
    c.tell(GOVERNOR, "CertificateRegistry", "StateChanged", ca, 3, 1, GOVERNOR)
    c.tell(GOVERNOR, "CertificateRegistry", "MaximumLifetimeChanged", ca, 30)
    c.tell(GOVERNOR, "CertificateRegistry", "OperatorChanged", ca, OPERATOR, NEXT)
    c.tell(GOVERNOR, "CertificateRegistry", "OperatorChanged", ca, NEXT, OPERATOR)
    device = Address(b"\xd1" * 20)
    c.tell(REGISTRAR, "DeviceRegistry", "DeviceEnrolled", device, b"\x01" * 32, REGISTRAR)
    c.tell(STRANGER, "DeviceRegistry", "KeyDocumentUpdated", device, b"\x02" * 32, 1)
    c.tell(REGISTRAR, "DeviceRegistry", "DeviceRetired", device, REGISTRAR)
    c.tell(GOVERNOR, "DeviceRegistry", "RegistrarChanged", NEXT, True)
    c.tell(GOVERNOR, "TrustDomain", "GuardianChanged", GUARDIAN, NEXT)
    c.tell(GOVERNOR, "TrustDomain", "GuardianChanged", NEXT, GUARDIAN)
    old = c.register(b"o" * 44, parent=ca)
    c.tell(GOVERNOR, "CertificateRegistry", "StateChanged", old, 1, 2, GOVERNOR)
    c.tell(GOVERNOR, "CertificateRegistry", "StateChanged", old, 2, 5, GOVERNOR)
    c.tell(GOVERNOR, "TrustDomain", "GovernorOffered", GOVERNOR, NEXT)
    return ca
