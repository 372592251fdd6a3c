"""The state that a domain's events come to, and what is known of each batch and device.

Small things are held here; what there may be a million of (batches, certificates, revocation words,
devices) goes through a `Book`, which keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from dpki.bundle import codec
from dpki.chain.layout import Progress, Watch, Watchdog
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, DeviceState, Hash32

NOTHING = Progress(0, 0, 0, 0)
_CHECKPOINT_LIMIT = 256 * 1024 * 1024


@dataclass
class Authority:
    """A CA, as its events make it.

    Attributes:
        number: Its place in the order of registration, from 0.
        registered_at: In seconds.
        lifetime: The maximum, in minutes.
        named: Every account that ever was a revoker, and whether it is one.
    """

    id: AuthorityId
    number: int
    kind: AuthorityKind
    public_key: bytes
    issuer_key: Hash32
    parent: AuthorityId
    registered_at: int
    operator: Address = field(default_factory=Address.zero)
    lifetime: int = 0
    next_serial: int = 1
    revoked_count: int = 0
    revoked_below: int = 0
    state: AuthorityState = AuthorityState.UNREGISTERED
    named: dict[Address, bool] = field(default_factory=dict)
    watch: Watch | None = None
    watchdogs: tuple[Watchdog, ...] = ()

    def seat_of(self, account: Address) -> int | None:
        """Return the place of a watchdog; None where the account is none."""
        return next((i for i, one in enumerate(self.watchdogs) if one.account == account), None)


@dataclass(frozen=True)
class BatchRecord:
    """A batch.

    Attributes:
        lifetime: The CA's maximum when it was anchored, in minutes.
    """

    authority: int
    first_serial: int
    count: int
    commitment: Hash32
    lifetime: int
    progress: Progress = NOTHING


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate as it was anchored."""

    authority: int
    serial: int
    hash: Hash32
    device: Address
    not_after: int


@dataclass(frozen=True)
class DeviceRecord:
    """A device."""

    address: Address
    document: Hash32
    state: DeviceState
    nonce: int


class Book(Protocol):
    """What is kept of each batch, certificate, word and device. CAs go by their numbers."""

    def batch(self, authority: int, first_serial: int) -> BatchRecord | None:
        """Return the batch that begins there."""
        ...

    def put_batch(self, batch: BatchRecord) -> None:
        """Keep a batch, new or changed."""
        ...

    def put_certificates(self, certificates: list[CertificateRecord]) -> None:
        """Keep a batch's certificates."""
        ...

    def word(self, authority: int, index: int) -> int:
        """Return the revocation bits of serials 256·index and the 255 after."""
        ...

    def put_word(self, authority: int, index: int, word: int) -> None:
        """Keep revocation bits."""
        ...

    def device(self, address: Address) -> DeviceRecord | None:
        """Return a device that was enrolled."""
        ...

    def put_device(self, device: DeviceRecord) -> None:
        """Keep a device, new or changed."""
        ...

    def batches(self) -> Iterator[BatchRecord]:
        """Return every batch, by CA and first serial."""
        ...

    def words(self) -> Iterator[tuple[int, int, int]]:
        """Return every revocation word that is not zero: CA, index, bits; in that order."""
        ...

    def devices(self) -> Iterator[DeviceRecord]:
        """Return every device, by address."""
        ...


@dataclass
class State:
    """Who may do what, and every CA.

    Attributes:
        is_created: Whether DomainCreated was seen.
        is_founded: Whether the constructor's last event was seen.
        registrars: Every account that ever was one, and whether it is.
    """

    governor: Address = field(default_factory=Address.zero)
    offered: Address = field(default_factory=Address.zero)
    guardian: Address = field(default_factory=Address.zero)
    is_created: bool = False
    is_founded: bool = False
    registrars: dict[Address, bool] = field(default_factory=dict)
    authorities: dict[AuthorityId, Authority] = field(default_factory=dict)

    def authority_at(self, number: int) -> Authority:
        """Return the CA of a number."""
        return list(self.authorities.values())[number]

    def dump(self) -> bytes:
        """Return it in its one spelling (docs/formats.md, "State digest")."""
        return codec.dumps(
            {
                "governor": bytes(self.governor),
                "offered": bytes(self.offered),
                "guardian": bytes(self.guardian),
                "registrars": _flags(self.registrars),
                "authorities": [_dump_authority(one) for one in self.authorities.values()],
            }
        )

    @classmethod
    def load(cls, data: bytes) -> State:
        """Return what `dump` wrote of a founded domain.

        Raises:
            MalformedInput: It is something else.
        """
        fields = codec.loads_strict(data, _CHECKPOINT_LIMIT)
        try:
            found = [
                _load_authority(number, one) for number, one in enumerate(fields["authorities"])
            ]
            return cls(
                Address(fields["governor"]),
                Address(fields["offered"]),
                Address(fields["guardian"]),
                is_created=True,
                is_founded=True,
                registrars={Address(account): bool(flag) for account, flag in fields["registrars"]},
                authorities={one.id: one for one in found},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedInput("this is no state of a domain") from error


def _flags(accounts: dict[Address, bool]) -> list[list[object]]:
    return [[bytes(account), int(flag)] for account, flag in sorted(accounts.items())]


def _dump_authority(one: Authority) -> dict[str, object]:
    watch = one.watch
    return {
        "id": bytes(one.id),
        "kind": int(one.kind),
        "public_key": one.public_key,
        "issuer_key": bytes(one.issuer_key),
        "parent": bytes(one.parent),
        "registered_at": one.registered_at,
        "operator": bytes(one.operator),
        "lifetime": one.lifetime,
        "next_serial": one.next_serial,
        "revoked_count": one.revoked_count,
        "revoked_below": one.revoked_below,
        "state": int(one.state),
        "revokers": _flags(one.named),
        "watch": []
        if watch is None
        else [watch.version, watch.first_serial, watch.threshold, watch.total],
        "watchdogs": [
            [bytes(dog.account), dog.weight, bytes(dog.sealing_key)] for dog in one.watchdogs
        ],
    }


def _load_authority(number: int, fields: dict[str, Any]) -> Authority:
    return Authority(
        id=AuthorityId(fields["id"]),
        number=number,
        kind=AuthorityKind(fields["kind"]),
        public_key=fields["public_key"],
        issuer_key=Hash32(fields["issuer_key"]),
        parent=AuthorityId(fields["parent"]),
        registered_at=fields["registered_at"],
        operator=Address(fields["operator"]),
        lifetime=fields["lifetime"],
        next_serial=fields["next_serial"],
        revoked_count=fields["revoked_count"],
        revoked_below=fields["revoked_below"],
        state=AuthorityState(fields["state"]),
        named={Address(account): bool(flag) for account, flag in fields["revokers"]},
        watch=Watch(*fields["watch"]) if fields["watch"] else None,
        watchdogs=tuple(
            Watchdog(Address(account), weight, Hash32(key))
            for account, weight, key in fields["watchdogs"]
        ),
    )
