"""An issuing office in memory: a chain that counts serials, real keys, a real journal and store.

`FakeDomain` plays the contracts by their rules; tests/conformance holds it against real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.bundle.locator import IssuerKey
from dpki.certificates.keys import ssh_blob
from dpki.chain.domain import Domain
from dpki.chain.snapshot import DeviceRecord, Snapshot
from dpki.devices.document import KeyDocument, make_key_document
from dpki.devices.keys import DeviceKeys, generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import TransactionForbidden, TransactionReverted
from dpki.issuance.bench import Bench
from dpki.issuance.database import Database
from dpki.issuance.journal import Journal
from dpki.issuance.plan import CertificateRequest, Recipient
from dpki.issuance.progress import Progress, Step
from dpki.issuance.publishing import Publisher
from dpki.issuance.sealing import batch_tree
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    AuthorityState,
    Block,
    DeviceState,
    Entry,
    Hash32,
    to_timestamp,
)
from dpki.signer.base import Signer
from dpki.signer.software import SoftwareSigner
from dpki.store.directory import DirectoryStore
from tests.world import DOMAIN, NOW, Ca, block, snapshot

OPERATOR = Address(b"\x05" * 20)


class Killed(BaseException):
    """The process ends here: nothing may catch it and go on."""


@dataclass(frozen=True)
class FakeAnchored:
    """A transaction in a block."""

    transaction_hash: Hash32
    block: Block


@dataclass
class FakeDomain:
    """A trust domain whose rules about serials are the contract's.

    Attributes:
        before_issue: Called when a transaction is on its way, before it takes effect.
        after_issue: Called when it took effect, before the writer hears of it.
    """

    cas: dict[AuthorityId, Ca]
    devices: dict[Address, DeviceRecord] = field(default_factory=dict)
    account: Address = OPERATOR
    number: int = 100
    now: datetime = NOW
    before_issue: Callable[[], None] = lambda: None
    after_issue: Callable[[], None] = lambda: None
    sent: int = 0

    @classmethod
    def of(cls, *cas: Ca) -> FakeDomain:
        return cls({ca.id: ca for ca in cas})

    @property
    def domain(self) -> Domain:
        return DOMAIN

    def snapshot(
        self,
        *,
        devices: Iterable[Address] = (),
        batches: Iterable[tuple[AuthorityId, int]] = (),
    ) -> Snapshot:
        found = snapshot(*self.cas.values(), at=block(self.number, self.now), missing=list(batches))
        unknown = {a: DeviceRecord(a, Hash32.zero(), DeviceState.UNREGISTERED, 0) for a in devices}
        return replace(found, devices=MappingProxyType(unknown | self.devices))

    def issue(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> FakeAnchored:
        self.before_issue()
        self.put(ca, first_serial, entries)
        self.after_issue()
        return self._mined()

    def put(self, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]) -> None:
        """Do what CertificateRegistry.issue does, in the order of its checks."""
        authority = self.cas[ca]
        if self.account != OPERATOR:
            raise TransactionForbidden(
                "CertificateRegistryUnauthorized", {"caller": str(self.account)}
            )
        if authority.state is not AuthorityState.ACTIVE:
            raise TransactionReverted(
                "CertificateRegistryNotActive", {"ca": str(ca), "state": int(authority.state)}
            )
        if not 1 <= len(entries) <= MAXIMUM_BATCH:
            raise TransactionReverted(
                "CertificateRegistryInvalidBatchSize", {"count": len(entries)}
            )
        if first_serial != authority.next_serial:
            raise TransactionReverted(
                "CertificateRegistryUnexpectedSerial",
                {"ca": str(ca), "given": first_serial, "expected": authority.next_serial},
            )
        for entry in entries:
            if entry.not_after > self.now + authority.maximum_lifetime:
                raise TransactionReverted(
                    "CertificateRegistryLifetimeExceeded",
                    {"notAfter": to_timestamp(entry.not_after)},
                )
        tree = batch_tree(DOMAIN, ca, first_serial, entries)
        authority.commitments[first_serial] = tree.commitment
        authority.next_serial += len(entries)

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> FakeAnchored:
        self.cas[ca].revoked |= set(serials)
        return self._mined()

    def put_by_another(self, ca: AuthorityId, count: int = 1) -> None:
        """Anchor somebody else's certificates, with the same operator's rights."""
        later = self.now + timedelta(hours=1)
        entries = [
            Entry(Hash32(i.to_bytes(32)), Address.zero(), later, Hash32.zero())
            for i in range(1, count + 1)
        ]
        self.put(ca, self.cas[ca].next_serial, entries)

    def remember(self) -> dict[AuthorityId, Ca]:
        """Return the state, for a reorganisation back to it."""
        return {
            ca: replace(
                authority,
                commitments=dict(authority.commitments),
                revoked=set(authority.revoked),
            )
            for ca, authority in self.cas.items()
        }

    def reorganise(self, state: dict[AuthorityId, Ca]) -> None:
        self.cas = {ca: deepcopy_state(authority) for ca, authority in state.items()}

    def _mined(self) -> FakeAnchored:
        self.number += 1
        self.sent += 1
        return FakeAnchored(Hash32(self.number.to_bytes(32)), block(self.number, self.now))


def deepcopy_state(authority: Ca) -> Ca:
    return replace(
        authority,
        commitments=deepcopy(authority.commitments),
        revoked=set(authority.revoked),
    )


@dataclass
class FakeDevice:
    """An enrolled device with real keys."""

    name: str
    keys: DeviceKeys
    document: KeyDocument

    @classmethod
    def make(cls, name: str, prekeys: int = 0) -> FakeDevice:
        supply = tuple(PrekeySecret.generate(number + 1) for number in range(prekeys))
        keys = replace(generate_device_keys(), prekeys=supply)
        return cls(name, keys, make_key_document(keys))

    @property
    def address(self) -> Address:
        return self.keys.address

    def record(self, state: DeviceState = DeviceState.ACTIVE) -> DeviceRecord:
        return DeviceRecord(self.address, self.document.digest, state, 1)


@dataclass
class Office:
    """Everything to issue with, each part replaceable; what is on disk survives `bench`."""

    directory: Path
    ca: Ca
    chain: FakeDomain
    database: Database
    devices: dict[Address, FakeDevice] = field(default_factory=dict)
    issuer_key: IssuerKey = field(default_factory=IssuerKey.generate)
    now: datetime = NOW
    openings: int = 0

    @classmethod
    def open(cls, directory: Path, ca: Ca | None = None) -> Office:
        ca = ca or Ca.hosts()
        database = Database(directory / "journal.db", DOMAIN.id)
        return cls(directory, ca, FakeDomain.of(ca), database)

    @property
    def journal(self) -> Journal:
        return Journal(self.database)

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.directory / "store")

    def enroll(self, name: str = "gate-1", prekeys: int = 0) -> FakeDevice:
        device = FakeDevice.make(name, prekeys)
        self.devices[device.address] = device
        self.chain.devices[device.address] = device.record()
        return device

    def bench(self, progress: Progress | None = None, publisher: Publisher | None = None) -> Bench:
        return Bench(
            chain=self.chain,
            ca=self.ca.id,
            issuer_key=self.issuer_key,
            open_signer=self.open_signer,
            journal=self.journal,
            publisher=publisher or Publisher([self.store], [self.store], 1),
            find_document=lambda address: (
                self.devices[address].document if address in self.devices else None
            ),
            lock=self.directory / "issue.lock",
            clock=lambda: self.now,
            progress=progress or (lambda step, done, total: None),
        )

    def open_signer(self) -> Signer:
        self.openings += 1
        return SoftwareSigner(self.ca.key, "ca")

    def for_key(self, name: str = "alice", **changes: object) -> CertificateRequest:
        """Return a request for somebody's key."""
        request = CertificateRequest(
            subject=name,
            principals=("ops",),
            until=self.now + timedelta(hours=8),
            public_key=ssh_blob(Ed25519PrivateKey.generate().public_key()),
            release=self.directory / f"{name}-cert.pub",
        )
        return replace(request, **changes)  # type: ignore[arg-type]

    def for_prekey(self, device: FakeDevice, place: int = 0) -> CertificateRequest:
        """Return a request for one of a device's one-time keys."""
        prekey = device.document.prekeys[place]
        return replace(self.for_device(device), public_key=prekey.blob, prekey=prekey)

    def for_device(self, device: FakeDevice, *, pair_here: bool = False) -> CertificateRequest:
        """Return a request for a device's bundle."""
        return CertificateRequest(
            subject=device.name,
            principals=("gate-1.example",),
            until=self.now + timedelta(hours=8),
            public_key=None if pair_here else device.document.ssh_host[-1],
            recipient=Recipient(device.address, device.document.sealing),
            release=self.directory / f"{device.name}-cert.pub",
        )


@dataclass
class KillAt:
    """A progress callback that ends the process at its n-th call."""

    at: int
    calls: int = 0
    where: str = ""

    def __call__(self, step: Step, done: int, total: int) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.where = f"{step.value} {done}/{total}"
            raise Killed(self.where)
