"""The state of a trust domain at one block.

Everything downstream (agent, verification, KRL, audit) works from a snapshot, never from loose
questions, so that what is decided together was true together. Every word is asked for by the
block's hash (EIP-1898), and what can be counted is: the list of authorities by its length,
revocations by their number, public keys by their hash. Whatever does not add up is `CouldNotCheck`,
never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from dpki.chain import decode, layout
from dpki.chain.domain import Domain
from dpki.chain.rpc import Call, Reader, fetch_block
from dpki.errors import CouldNotCheck, UsageError, WrongDomain
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Block,
    DeviceState,
    Hash32,
)

MAXIMUM_AUTHORITIES = 1024
"""Authorities that a reader is willing to follow; more can only be an endpoint's invention."""

MAXIMUM_REVOCATION_WORDS = 65_536
"""Revocation words of one CA that a reader is willing to fetch (16.7 million certificates)."""


_NONE: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Authority:
    """A CA as both registries know it.

    Attributes:
        id: SHA-256 of `public_key`; this was checked.
        kind: What it signs.
        public_key: Its SubjectPublicKeyInfo as registered; whether it is canonical is for its
            parser to say.
        issuer_key: The X25519 public key for locators.
        parent: The CA above it; None for a root.
        registered_at: When it was registered.
        operator: The account that anchors its certificates.
        next_serial: The serial that the next certificate gets.
        revoked_count: Serials with their revocation bit set.
        maximum_lifetime: The longest that a certificate may have left when it is anchored.
        state: Its state.
        revoked_below: Every serial below this is revoked.
        revoked: Serials with their revocation bit set; complete, by `revoked_count`.
        watch: From which serial on watchdogs have to confirm, and how many; None where nobody has.
    """

    id: AuthorityId
    kind: AuthorityKind
    public_key: bytes
    issuer_key: Hash32
    parent: AuthorityId | None
    registered_at: datetime
    operator: Address
    next_serial: int
    revoked_count: int
    maximum_lifetime: timedelta
    state: AuthorityState
    revoked_below: int
    revoked: frozenset[int]
    watch: layout.Watch | None = None

    def is_revoked(self, serial: int) -> bool:
        """Whether the serial is revoked, one by one or by the watermark."""
        return serial < self.revoked_below or serial in self.revoked

    def is_issued(self, serial: int) -> bool:
        """Whether a certificate of this serial was ever anchored."""
        return 1 <= serial < self.next_serial


@dataclass(frozen=True)
class DeviceRecord:
    """A device as the DeviceRegistry knows it; one that it doesn't know is UNREGISTERED."""

    address: Address
    key_document: Hash32
    state: DeviceState
    nonce: int


@dataclass(frozen=True)
class Snapshot:
    """A trust domain's state at one block.

    Attributes:
        domain: The domain.
        block: The block.
        authorities: Every CA that was ever registered, in the order of registration.
        devices: The devices that were asked for.
        commitments: The batches that were asked for, by CA and first serial; zero where no batch
            starts.
        progress: How far they are confirmed; only of those that have to be.
    """

    domain: Domain
    block: Block
    authorities: Mapping[AuthorityId, Authority]
    devices: Mapping[Address, DeviceRecord]
    commitments: Mapping[tuple[AuthorityId, int], Hash32]
    progress: Mapping[tuple[AuthorityId, int], layout.Progress] = field(
        default_factory=lambda: _NONE
    )

    def awaited(self, ca: AuthorityId, first_serial: int) -> str | None:
        """Return what a batch waits for before it counts, in words; None where for nothing.

        The batch must have been asked for.
        """
        authority = self.authorities.get(ca)
        if authority is None:
            return "its CA is not registered"
        watch = authority.watch
        if watch is None or not watch.covers(first_serial):
            return None
        return watch.missing(self.progress[ca, first_serial])


def fetch_snapshot(
    reader: Reader,
    domain: Domain,
    *,
    block: int | str = "latest",
    confirmations: int = 1,
    devices: Iterable[Address] = (),
    batches: Iterable[tuple[AuthorityId, int]] = (),
) -> Snapshot:
    """Return the domain's state at one block.

    Args:
        block: A number, or a tag: "latest", "safe", "finalized".
        confirmations: How many blocks, the chosen one included, must stand: 1 takes the block
            itself, n the one n-1 before it.
        devices: Devices to include.
        batches: Batches to include, by CA and first serial.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The answers don't add up.
        WrongDomain: The block is older than the domain.
    """
    if confirmations < 1:
        raise UsageError(f"confirmations start at 1, not {confirmations}")
    chosen = _fetch_block(reader, domain, block)
    if confirmations > 1:
        chosen = _fetch_block(
            reader, domain, max(chosen.number - confirmations + 1, domain.block.number)
        )
    storage = _Storage(reader, chosen)
    empty = Snapshot(domain, chosen, MappingProxyType(_authorities(storage, domain)), _NONE, _NONE)
    return extend_snapshot(reader, empty, devices=devices, batches=batches)


def extend_snapshot(
    reader: Reader,
    snapshot: Snapshot,
    *,
    devices: Iterable[Address] = (),
    batches: Iterable[tuple[AuthorityId, int]] = (),
) -> Snapshot:
    """Return the snapshot with more devices and batches, read at the very same block.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The answers don't add up.
    """
    storage = _Storage(reader, snapshot.block)
    domain = snapshot.domain
    wanted_devices = [d for d in dict.fromkeys(devices) if d not in snapshot.devices]
    wanted_batches = [b for b in dict.fromkeys(batches) if b not in snapshot.commitments]
    if not wanted_devices and not wanted_batches:
        return snapshot
    slots = [
        (domain.devices, slot) for device in wanted_devices for slot in layout.device_slots(device)
    ]
    slots += [
        (domain.certificates, layout.commitment_slot(ca, first)) for ca, first in wanted_batches
    ]
    watched = [batch for batch in wanted_batches if _is_watched(snapshot, batch)]
    slots += [(domain.watchdogs, layout.progress_slot(ca, first)) for ca, first in watched]
    words = storage.read(slots)
    records = dict(snapshot.devices)
    for index, device in enumerate(wanted_devices):
        try:
            document, state, nonce = layout.decode_device(words[2 * index], words[2 * index + 1])
        except ValueError as error:
            raise _contradiction(reader, f"the record of device {device}") from error
        records[device] = DeviceRecord(device, document, state, nonce)
    rest = iter(words[2 * len(wanted_devices) :])
    commitments = {batch: Hash32(next(rest)) for batch in wanted_batches}
    progress = {batch: _progress(reader, batch, next(rest)) for batch in watched}
    return replace(
        snapshot,
        devices=MappingProxyType(records),
        commitments=MappingProxyType({**snapshot.commitments, **commitments}),
        progress=MappingProxyType({**snapshot.progress, **progress}),
    )


def _is_watched(snapshot: Snapshot, batch: tuple[AuthorityId, int]) -> bool:
    authority = snapshot.authorities.get(batch[0])
    watch = None if authority is None else authority.watch
    return watch is not None and watch.covers(batch[1])


def _progress(reader: Reader, batch: tuple[AuthorityId, int], word: bytes) -> layout.Progress:
    try:
        return layout.decode_progress(word)
    except ValueError as error:
        raise _contradiction(
            reader, f"the confirmations of batch {batch[1]} of authority {batch[0]}"
        ) from error


class _Storage:
    """Storage words of one block."""

    def __init__(self, reader: Reader, block: Block) -> None:
        self.reader = reader
        # requireCanonical: a block that a reorg has thrown out must not be answered from.
        self._at = {"blockHash": str(block.hash), "requireCanonical": True}

    def read(self, slots: Sequence[tuple[Address, int]]) -> list[bytes]:
        """Return one word a slot, in order."""
        calls = [
            Call("eth_getStorageAt", [str(contract), f"0x{slot:064x}", self._at])
            for contract, slot in slots
        ]
        return [decode.word(answer, self.reader.name) for answer in self.reader.batch(calls)]


def _fetch_block(reader: Reader, domain: Domain, which: int | str) -> Block:
    block = fetch_block(reader, which)
    if block is None:
        raise CouldNotCheck(
            f"{reader.name} has no block {which}", hint="wait for it, or ask another RPC endpoint"
        )
    if block.number < domain.block.number:
        raise WrongDomain(
            f"block {block.number} is older than the trust domain, which was deployed in block"
            f" {domain.block.number}",
            hint="the RPC endpoint may still be catching up",
        )
    return block


def _authorities(storage: _Storage, domain: Domain) -> dict[AuthorityId, Authority]:
    """Return every authority; three rounds of questions, whatever their number."""
    source = storage.reader
    (length,) = storage.read([(domain.authorities, layout.authority_count_slot())])
    count = int.from_bytes(length)
    if count > MAXIMUM_AUTHORITIES:
        raise _contradiction(source, f"the list of authorities ({count} of them)")
    ids = [
        AuthorityId(word)
        for word in storage.read(
            [(domain.authorities, layout.authority_id_slot(i)) for i in range(count)]
        )
    ]
    if len(set(ids)) != count:
        raise _contradiction(source, "the list of authorities (one stands there twice)")
    heads = storage.read([slot for ca in ids for slot in _head_slots(domain, ca)])
    partial = [_Head.decode(source, ca, heads[7 * i : 7 * i + 7]) for i, ca in enumerate(ids)]
    rest = iter(storage.read([slot for head in partial for slot in head.rest_slots(domain)]))
    return {head.ca: head.complete(source, rest) for head in partial}


def _head_slots(domain: Domain, ca: AuthorityId) -> list[tuple[Address, int]]:
    return [
        *((domain.authorities, slot) for slot in layout.authority_slots(ca)),
        (domain.certificates, layout.issuer_slot(ca)),
        (domain.certificates, layout.revoked_below_slot(ca)),
        (domain.watchdogs, layout.watch_slot(ca)),
    ]


@dataclass(frozen=True)
class _Head:
    """What a CA's fixed words say, before its public key and revocation words are there."""

    ca: AuthorityId
    kind: AuthorityKind
    registered_at: datetime
    issuer_key: Hash32
    parent: AuthorityId
    key_head: bytes
    key_length: int
    issuer: layout.IssuerWord
    revoked_below: int
    watch: layout.Watch | None

    @classmethod
    def decode(cls, source: Reader, ca: AuthorityId, words: list[bytes]) -> _Head:
        try:
            kind, registered_at = layout.decode_authority_head(words[0])
            head = cls(
                ca=ca,
                kind=kind,
                registered_at=decode.time(registered_at, source.name),
                issuer_key=Hash32(words[1]),
                parent=AuthorityId(words[2]),
                key_head=words[3],
                key_length=layout.decode_public_key_length(words[3]),
                issuer=layout.decode_issuer(words[4]),
                revoked_below=layout.decode_watermark(words[5]),
                watch=layout.decode_watch(words[6]),
            )
        except ValueError as error:
            raise _contradiction(source, f"the record of authority {ca}") from error
        issuer = head.issuer
        if (
            issuer.state is AuthorityState.UNREGISTERED
            or issuer.next_serial < 1
            or issuer.revoked_count >= issuer.next_serial
            or head.revoked_below > issuer.next_serial
            or (head.watch is not None and head.watch.first_serial > issuer.next_serial)
        ):
            raise _contradiction(source, f"the issuing state of authority {ca}")
        if layout.revocation_words(issuer.next_serial) > MAXIMUM_REVOCATION_WORDS:
            raise CouldNotCheck(
                f"authority {ca} claims {issuer.next_serial - 1} certificates, more than a reader"
                " follows",
                hint="ask another RPC endpoint",
            )
        return head

    def rest_slots(self, domain: Domain) -> list[tuple[Address, int]]:
        words = layout.revocation_words(self.issuer.next_serial)
        return [
            *(
                (domain.authorities, slot)
                for slot in layout.public_key_slots(self.ca, self.key_length)
            ),
            *((domain.certificates, layout.revocation_slot(self.ca, i)) for i in range(words)),
        ]

    def complete(self, source: Reader, words: Iterable[bytes]) -> Authority:
        stream = iter(words)
        rest = [next(stream) for _ in layout.public_key_slots(self.ca, self.key_length)]
        try:
            public_key = layout.decode_public_key(self.key_head, rest)
        except ValueError as error:
            raise _contradiction(source, f"the public key of authority {self.ca}") from error
        if sha256(public_key).digest() != self.ca:
            raise _contradiction(
                source, f"the public key of authority {self.ca}, which has another hash"
            )
        issuer = self.issuer
        revoked: list[int] = []
        for index in range(layout.revocation_words(issuer.next_serial)):
            revoked += layout.decode_revocations(index, next(stream))
        if len(revoked) != issuer.revoked_count or any(
            not 1 <= s < issuer.next_serial for s in revoked
        ):
            raise CouldNotCheck(
                f"{source.name} gives {len(revoked)} revocations of authority {self.ca}, and the"
                " chain counts"
                f" {issuer.revoked_count}",
                hint="ask another RPC endpoint; this one withholds or invents revocations",
            )
        return Authority(
            id=self.ca,
            kind=self.kind,
            public_key=public_key,
            issuer_key=self.issuer_key,
            parent=None if self.parent == AuthorityId.zero() else self.parent,
            registered_at=self.registered_at,
            operator=issuer.operator,
            next_serial=issuer.next_serial,
            revoked_count=issuer.revoked_count,
            maximum_lifetime=issuer.maximum_lifetime,
            state=issuer.state,
            revoked_below=self.revoked_below,
            revoked=frozenset(revoked),
            watch=self.watch,
        )


def _contradiction(source: Reader, what: str) -> CouldNotCheck:
    return CouldNotCheck(
        f"{source.name} answered something that the contracts can't have written: {what}",
        hint="ask another RPC endpoint; nothing was changed",
    )
