"""A trust domain in memory: real keys, certificates, trees, and the snapshot a chain would give.

For tests of pure code. The contracts are played by a few lines that count serials; that real ones
give the same is shown by tests/integration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import authority_id, spki_of, ssh_blob
from dpki.certificates.profile import ANYBODY, Profile, Subject
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.certificates.ssh import SshCertificate, build_ssh_certificate
from dpki.chain import merkle
from dpki.chain.domain import Domain
from dpki.chain.layout import Progress, Watch
from dpki.chain.snapshot import Authority, DeviceRecord, Snapshot
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Block,
    DeviceState,
    DomainId,
    Entry,
    Hash32,
    Path,
)
from dpki.verification.policies import Anchoring

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOBODY = Address.zero()


def block(number: int, time: datetime = NOW) -> Block:
    """Return a block whose hash follows from its number."""
    return Block(number, Hash32(number.to_bytes(32)), time)


DOMAIN = Domain(
    id=DomainId(31337, Address(b"\x01" * 20), block(1).hash),
    authorities=Address(b"\x02" * 20),
    certificates=Address(b"\x03" * 20),
    devices=Address(b"\x04" * 20),
    watchdogs=Address(b"\x05" * 20),
    block=block(1, NOW - timedelta(days=1)),
)


@dataclass
class Ca:
    """A CA with its private key, and what its operator anchored."""

    kind: AuthorityKind
    key: AuthorityPrivateKey
    maximum_lifetime: timedelta = timedelta(days=30)
    state: AuthorityState = AuthorityState.ACTIVE
    next_serial: int = 1
    revoked: set[int] = field(default_factory=set)
    revoked_below: int = 0
    registered_at: datetime = NOW - timedelta(hours=12)
    commitments: dict[int, Hash32] = field(default_factory=dict)
    parent: AuthorityId | None = None
    watch: Watch | None = None
    progress: dict[int, Progress] = field(default_factory=dict)

    @classmethod
    def users(cls) -> Ca:
        return cls(AuthorityKind.SSH_USER, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def hosts(cls) -> Ca:
        return cls(AuthorityKind.SSH_HOST, Ed25519PrivateKey.generate())

    @property
    def spki(self) -> bytes:
        return spki_of(self.key.public_key())

    @property
    def id(self) -> AuthorityId:
        return authority_id(self.spki)

    @property
    def blob(self) -> bytes:
        return ssh_blob(self.key.public_key())

    def sign(
        self,
        serial: int | None = None,
        *,
        kind: AuthorityKind | None = None,
        principals: Iterable[str] = ("ops",),
        valid_after: datetime = NOW - timedelta(minutes=5),
        valid_before: datetime = NOW + timedelta(hours=8),
        subject: Ed25519PrivateKey | bytes | None = None,
        extensions: Iterable[str] = (),
    ) -> SshCertificate:
        """Return a certificate signed by this CA, anchored or not; for a key, or a key's blob."""
        if not isinstance(subject, bytes):
            subject = ssh_blob((subject or Ed25519PrivateKey.generate()).public_key())
        lifetime = timedelta(days=36500)
        return build_ssh_certificate(
            self.key,
            Profile(kind or self.kind, lifetime, frozenset(extensions), principals=ANYBODY),
            Subject(subject, tuple(principals), "alice"),
            serial=self.next_serial if serial is None else serial,
            key_id="test",
            valid_after=valid_after,
            valid_before=valid_before,
        )

    def anchor(
        self, certificates: Iterable[SshCertificate], device: Address = NOBODY
    ) -> list[Anchoring]:
        """Put certificates on the imagined chain as one batch, and return their places."""
        entries = [
            Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
            for certificate in certificates
        ]
        first = self.next_serial
        context = merkle.leaf_context(DOMAIN.id.chain_id, DOMAIN.certificates, self.id)
        tree = merkle.Tree(
            [merkle.leaf(context, first + i, entry) for i, entry in enumerate(entries)]
        )
        self.commitments[first] = tree.commitment
        self.next_serial += len(entries)
        return [Anchoring(device, tree.path(i, first)) for i in range(len(entries))]

    def issue(self, device: Address = NOBODY, **asked: object) -> tuple[SshCertificate, Anchoring]:
        """Sign and anchor one certificate."""
        certificate = self.sign(**asked)  # type: ignore[arg-type]
        return certificate, self.anchor([certificate], device)[0]

    def on_chain(self) -> Authority:
        """Return the CA as a snapshot shows it."""
        return Authority(
            id=self.id,
            kind=self.kind,
            public_key=self.spki,
            issuer_key=Hash32(b"\x09" * 32),
            parent=self.parent,
            registered_at=self.registered_at,
            operator=Address(b"\x05" * 20),
            next_serial=self.next_serial,
            revoked_count=len(self.revoked),
            maximum_lifetime=self.maximum_lifetime,
            state=self.state,
            revoked_below=self.revoked_below,
            revoked=frozenset(self.revoked),
            watch=self.watch,
        )

    def watched(self, threshold: int = 40) -> None:
        """Have watchdogs that weigh 60 confirm from the next serial on."""
        self.watch = Watch(1, self.next_serial, threshold, 60)

    def confirm(self, first: int, weight: int) -> None:
        """Say how much of its watchdogs confirmed a batch."""
        assert self.watch is not None
        is_enough = weight >= self.watch.threshold
        self.progress[first] = Progress(self.watch.version, weight, 1, 0, is_enough)


def snapshot(
    *cas: Ca,
    at: Block | None = None,
    devices: dict[Address, DeviceState] | None = None,
    missing: Iterable[tuple[AuthorityId, int]] = (),
) -> Snapshot:
    """Return the snapshot of a domain with these CAs.

    Args:
        devices: State by device.
        missing: Batches that the chain does not hold, to be asked for nevertheless.
    """
    commitments = {(ca.id, first): found for ca in cas for first, found in ca.commitments.items()}
    nothing = Progress(0, 0, 0, 0)
    progress = {
        (ca.id, first): ca.progress.get(first, nothing)
        for ca in cas
        for first in ca.commitments
        if ca.watch is not None and ca.watch.covers(first)
    }
    records = {
        address: DeviceRecord(address, Hash32(b"\x07" * 32), state, 1)
        for address, state in (devices or {}).items()
    }
    return Snapshot(
        domain=DOMAIN,
        block=at or block(100),
        authorities=MappingProxyType({ca.id: ca.on_chain() for ca in cas}),
        devices=MappingProxyType(records),
        commitments=MappingProxyType({**{m: Hash32.zero() for m in missing}, **commitments}),
        progress=MappingProxyType(progress),
    )


def moved(anchoring: Anchoring, **changes: object) -> Anchoring:
    """Return the anchoring with another path."""
    fields = {
        "first_serial": anchoring.path.first_serial,
        "count": anchoring.path.count,
        "siblings": anchoring.path.siblings,
        **changes,
    }
    return replace(anchoring, path=Path(**fields))  # type: ignore[arg-type]
