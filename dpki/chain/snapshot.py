"""The state of a trust domain at one block.

Everything downstream (agent, verification, KRL, audit) works from a snapshot, never from loose
questions, so that what is decided together was true together. Every word is asked for by the
block's hash (EIP-1898), and what can be counted is: the list of authorities by its length,
revocations by their number, public keys by their hash. Whatever does not add up is `CouldNotCheck`,
never an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from dpki.chain import layout
from dpki.chain.authority import (
    HEAD_WORDS,
    MAXIMUM_REVOCATION_WORDS,
    Authority,
    AuthorityRecord,
    Head,
    head_slots,
)
from dpki.chain.domain import Contracts, Domain
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.storage import Storage, contradiction
from dpki.errors import CouldNotCheck, UsageError, WrongDomain
from dpki.model import Address, AuthorityId, Block, DeviceState, Hash32

__all__ = [
    "MAXIMUM_AUTHORITIES",
    "MAXIMUM_REVOCATION_WORDS",
    "Authority",
    "DeviceRecord",
    "Places",
    "Snapshot",
    "extend_snapshot",
    "fetch_domain_block",
    "fetch_places",
    "fetch_snapshot",
]

MAXIMUM_AUTHORITIES = 1024
"""Authorities that a reader is willing to follow; more can only be an endpoint's invention."""


_NONE: Mapping[Any, Any] = MappingProxyType({})


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
        return authority.awaited(first_serial, self.progress.get((ca, first_serial)))

    def find(self, ca: AuthorityId) -> Authority | None:
        """Return the CA of this id, if it was ever registered."""
        return self.authorities.get(ca)


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
    chosen = fetch_domain_block(reader, domain, block)
    if confirmations > 1:
        chosen = fetch_domain_block(
            reader, domain, max(chosen.number - confirmations + 1, domain.block.number)
        )
    storage = Storage(reader, chosen)
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
    wanted_devices = [d for d in dict.fromkeys(devices) if d not in snapshot.devices]
    wanted_batches = [b for b in dict.fromkeys(batches) if b not in snapshot.commitments]
    if not wanted_devices and not wanted_batches:
        return snapshot
    found = fetch_places(
        Storage(reader, snapshot.block),
        snapshot.domain,
        wanted_devices,
        wanted_batches,
        snapshot.authorities.get,
    )
    return replace(
        snapshot,
        devices=MappingProxyType({**snapshot.devices, **found.devices}),
        commitments=MappingProxyType({**snapshot.commitments, **found.commitments}),
        progress=MappingProxyType({**snapshot.progress, **found.progress}),
    )


@dataclass(frozen=True)
class Places:
    """Devices and batches as they stand on chain; see `Snapshot`."""

    devices: Mapping[Address, DeviceRecord]
    commitments: Mapping[tuple[AuthorityId, int], Hash32]
    progress: Mapping[tuple[AuthorityId, int], layout.Progress]


def fetch_places(
    storage: Storage,
    contracts: Contracts,
    devices: Sequence[Address],
    batches: Sequence[tuple[AuthorityId, int]],
    find: Callable[[AuthorityId], AuthorityRecord | None],
) -> Places:
    """Return devices and batches, in one round of questions.

    Args:
        find: Returns a CA, which says whether its batches have to be confirmed.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The answers don't add up.
    """
    watched = [(ca, first) for ca, first in batches if (found := find(ca)) and found.awaits(first)]
    words = iter(
        storage.read(
            [
                *((contracts.devices, s) for d in devices for s in layout.device_slots(d)),
                *((contracts.certificates, layout.commitment_slot(*batch)) for batch in batches),
                *((contracts.watchdogs, layout.progress_slot(*batch)) for batch in watched),
            ]
        )
    )
    return Places(
        {device: _device(storage.reader, device, next(words), next(words)) for device in devices},
        {batch: Hash32(next(words)) for batch in batches},
        {batch: _progress(storage.reader, batch, next(words)) for batch in watched},
    )


def _device(reader: Reader, device: Address, digest: bytes, word: bytes) -> DeviceRecord:
    try:
        document, state, nonce = layout.decode_device(digest, word)
    except ValueError as error:
        raise contradiction(reader, f"the record of device {device}") from error
    return DeviceRecord(device, document, state, nonce)


def _progress(reader: Reader, batch: tuple[AuthorityId, int], word: bytes) -> layout.Progress:
    try:
        return layout.decode_progress(word)
    except ValueError as error:
        raise contradiction(
            reader, f"the confirmations of batch {batch[1]} of authority {batch[0]}"
        ) from error


def fetch_domain_block(reader: Reader, domain: Domain, which: int | str) -> Block:
    """Return a block that is no older than the domain; see `fetch_block`.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: There is no such block.
        WrongDomain: It is older.
    """
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


def _authorities(storage: Storage, domain: Contracts) -> dict[AuthorityId, Authority]:
    """Return every authority; three rounds of questions, whatever their number."""
    source = storage.reader
    (length,) = storage.read([(domain.authorities, layout.authority_count_slot())])
    count = int.from_bytes(length)
    if count > MAXIMUM_AUTHORITIES:
        raise contradiction(source, f"the list of authorities ({count} of them)")
    ids = [
        AuthorityId(word)
        for word in storage.read(
            [(domain.authorities, layout.authority_id_slot(i)) for i in range(count)]
        )
    ]
    if len(set(ids)) != count:
        raise contradiction(source, "the list of authorities (one stands there twice)")
    heads = storage.read([slot for ca in ids for slot in head_slots(domain, ca)])
    partial = [
        Head.decode(source, ca, heads[HEAD_WORDS * i : HEAD_WORDS * (i + 1)])
        for i, ca in enumerate(ids)
    ]
    rest = iter(storage.read([slot for head in partial for slot in head.rest_slots(domain)]))
    return {head.ca: head.complete(source, rest) for head in partial}
