"""The CertificateRegistry's events: what was anchored, by block, authority, device or serial.

Logs are an endpoint's word and nothing more: one that withholds or forges them can delay, but a
batch counts only when `verify_batch` has found its recomputed root behind the commitment in a
snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpki.chain import decode, merkle
from dpki.chain.domain import Domain
from dpki.chain.logs import Log, fetch_logs
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot
from dpki.errors import CheckedFalse, CouldNotCheck, UsageError
from dpki.keccak import keccak
from dpki.model import MAXIMUM_BATCH, MAXIMUM_PARCELS, Address, AuthorityId, Entry, Hash32, Path

CERTIFICATE_ISSUED = Hash32(
    keccak(b"CertificateIssued(bytes32,address,uint32,bytes32,uint96,bytes32)")
)
BATCH_ISSUED = Hash32(keccak(b"BatchIssued(bytes32,uint32,uint32,bytes32)"))
REVIEW_REQUESTED = Hash32(keccak(b"ReviewRequested(bytes32,uint32,bytes32[])"))
WATCH_CHANGED = Hash32(
    keccak(b"WatchChanged(bytes32,uint32,uint32,uint32,(address,uint32,bytes32)[])")
)


@dataclass(frozen=True)
class IssuedCertificate:
    """A CertificateIssued event.

    Attributes:
        ca: The issuing CA.
        serial: The certificate's serial.
        entry: What was put on chain.
        block_number: The block that it happened in.
        block_hash: That block's hash.
    """

    ca: AuthorityId
    serial: int
    entry: Entry
    block_number: int
    block_hash: Hash32


@dataclass(frozen=True)
class Batch:
    """A BatchIssued event with its CertificateIssued events, complete and in order."""

    ca: AuthorityId
    first_serial: int
    count: int
    root: Hash32
    entries: tuple[Entry, ...]
    block_number: int
    block_hash: Hash32

    @property
    def last_serial(self) -> int:
        """Return the last certificate's serial."""
        return self.first_serial + self.count - 1

    def holds(self, serial: int) -> bool:
        """Whether the serial lies in this batch."""
        return self.first_serial <= serial <= self.last_serial

    def entry(self, serial: int) -> Entry:
        """Return the entry of a serial that the batch holds."""
        if not self.holds(serial):
            raise UsageError(
                f"the batch {self.first_serial} to {self.last_serial} does not hold serial {serial}"
            )
        return self.entries[serial - self.first_serial]


def fetch_issued(
    reader: Reader,
    domain: Domain,
    from_block: int,
    to_block: int,
    *,
    ca: AuthorityId | None = None,
    device: Address | None = None,
    serial: int | None = None,
) -> tuple[IssuedCertificate, ...]:
    """Return the CertificateIssued events of the blocks, both ends included, in the chain's order.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    topics: list[object] = [
        str(CERTIFICATE_ISSUED),
        None if ca is None else str(ca),
        None if device is None else f"0x{device.hex():0>64}",
        None if serial is None else f"0x{serial:064x}",
    ]
    found = tuple(
        parse_issued(log, reader.name)
        for log in _fetch_logs(reader, domain, from_block, to_block, topics)
    )
    for event in found:
        if (
            (ca is not None and event.ca != ca)
            or (device is not None and event.entry.device != device)
            or (serial is not None and event.serial != serial)
        ):
            raise decode.nonsense(reader.name, "events that were not asked for")
    return found


def fetch_batches(
    reader: Reader,
    domain: Domain,
    from_block: int,
    to_block: int,
    *,
    ca: AuthorityId | None = None,
) -> tuple[Batch, ...]:
    """Return the batches anchored in the blocks, both ends included, each with all of its entries.

    They are well-formed, and not yet believed: see `verify_batch`.

    Raises:
        EndpointUnavailable: No answer, or nonsense: a batch with entries missing, doubled or left
            over.
    """
    topics: list[object] = [
        [str(CERTIFICATE_ISSUED), str(BATCH_ISSUED)],
        None if ca is None else str(ca),
    ]
    entries: dict[tuple[AuthorityId, int, Hash32], Entry] = {}
    batches: list[Batch] = []
    for log in _fetch_logs(reader, domain, from_block, to_block, topics):
        if log.topics[:1] == (CERTIFICATE_ISSUED,):
            event = parse_issued(log, reader.name)
            key = (event.ca, event.serial, event.block_hash)
            if key in entries:
                raise decode.nonsense(reader.name, f"serial {event.serial} was anchored twice")
            entries[key] = event.entry
        else:
            batches.append(_batch(log, entries, reader.name))
        found = AuthorityId(log.topics[1])
        if ca is not None and found != ca:
            raise decode.nonsense(reader.name, "events that were not asked for")
    if entries:
        raise decode.nonsense(reader.name, f"{len(entries)} certificates were anchored in no batch")
    return tuple(batches)


def fetch_reviews(
    reader: Reader, domain: Domain, from_block: int, to_block: int, *, ca: AuthorityId
) -> dict[int, tuple[Hash32, ...]]:
    """Return the parcels that a CA's operator laid out for its watchdogs, by first serial.

    The newest of each batch; none of before the watchdogs were named anew, for others than they
    can read those.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    topics: list[object] = [[str(REVIEW_REQUESTED), str(WATCH_CHANGED)], str(ca)]
    found: dict[int, tuple[Hash32, ...]] = {}
    start = max(from_block, domain.block.number)
    for log in fetch_logs(reader, domain.watchdogs, start, to_block, topics):
        if log.topics[1:2] != (Hash32(ca),):
            raise decode.nonsense(reader.name, "events that were not asked for")
        if log.topics[0] == WATCH_CHANGED:
            found.clear()
        else:
            first, parcels = _review(log, reader.name)
            found[first] = parcels
    return found


def batch_tree(batch: Batch, domain: Domain) -> merkle.Tree:
    """Return the tree over the batch's entries, recomputed."""
    context = merkle.leaf_context(domain.id.chain_id, domain.certificates, batch.ca)
    return merkle.Tree(
        [
            merkle.leaf(context, batch.first_serial + i, entry)
            for i, entry in enumerate(batch.entries)
        ]
    )


def batch_path(batch: Batch, domain: Domain, serial: int) -> Path:
    """Return the path of one of the batch's certificates."""
    batch.entry(serial)
    return batch_tree(batch, domain).path(serial - batch.first_serial, batch.first_serial)


def verify_batch(batch: Batch, snapshot: Snapshot) -> Batch:
    """Return the batch after finding its recomputed root behind the commitment on chain.

    Raises:
        CheckedFalse: No batch starts at this serial.
        CouldNotCheck: The snapshot does not hold the batch's commitment (extend it), or the events
            contradict it: whoever delivered them made them up, and the true ones are still to be
            found.
    """
    expected = snapshot.commitments.get((batch.ca, batch.first_serial))
    if expected is None:
        raise CouldNotCheck(
            f"the snapshot does not hold the batch that starts at serial {batch.first_serial} of"
            f" {batch.ca}"
        )
    if expected == Hash32.zero():
        raise CheckedFalse(
            f"no batch starts at serial {batch.first_serial} of authority {batch.ca} at block"
            f" {snapshot.block.number}"
        )
    if batch_tree(batch, snapshot.domain).commitment != expected:
        raise CouldNotCheck(
            f"the events of the batch that starts at serial {batch.first_serial} of authority"
            f" {batch.ca} are not the"
            " ones that the chain committed to",
            hint="ask another RPC endpoint; this one forges events",
        )
    return batch


def _fetch_logs(
    reader: Reader, domain: Domain, from_block: int, to_block: int, topics: Sequence[object]
) -> list[Log]:
    start = max(from_block, domain.block.number)
    return fetch_logs(reader, domain.certificates, start, to_block, topics)


def parse_issued(log: Log, source: str) -> IssuedCertificate:
    """Return the CertificateIssued event in a log.

    Raises:
        EndpointUnavailable: It is none.
    """
    if len(log.topics) != 4 or log.topics[0] != CERTIFICATE_ISSUED or len(log.data) != 96:
        raise decode.nonsense(source, "a CertificateIssued event is malformed")
    device, serial = log.topics[2], int.from_bytes(log.topics[3])
    if any(device[:12]) or not 1 <= serial < 2**32 or any(log.data[32:52]):
        raise decode.nonsense(source, "a CertificateIssued event is malformed")
    return IssuedCertificate(
        ca=AuthorityId(log.topics[1]),
        serial=serial,
        entry=Entry(
            certificate_hash=Hash32(log.data[:32]),
            device=Address(device[12:]),
            not_after=decode.time(int.from_bytes(log.data[32:64]), source),
            locator=Hash32(log.data[64:]),
        ),
        block_number=log.block_number,
        block_hash=log.block_hash,
    )


def _batch(log: Log, entries: dict[tuple[AuthorityId, int, Hash32], Entry], source: str) -> Batch:
    """Return the batch of a BatchIssued event, taking its certificates out of `entries`."""
    if len(log.topics) != 3 or log.topics[0] != BATCH_ISSUED or len(log.data) != 64:
        raise decode.nonsense(source, "a BatchIssued event is malformed")
    ca, first = AuthorityId(log.topics[1]), int.from_bytes(log.topics[2])
    count = int.from_bytes(log.data[:32])
    if not 1 <= count <= MAXIMUM_BATCH or not 1 <= first < 2**32:
        raise decode.nonsense(source, "a BatchIssued event is malformed")
    try:
        taken = tuple(entries.pop((ca, first + i, log.block_hash)) for i in range(count))
    except KeyError as error:
        raise decode.nonsense(
            source, f"the batch from serial {first} has certificates missing"
        ) from error
    return Batch(ca, first, count, Hash32(log.data[32:]), taken, log.block_number, log.block_hash)


def _review(log: Log, source: str) -> tuple[int, tuple[Hash32, ...]]:
    words = [log.data[start : start + 32] for start in range(0, len(log.data), 32)]
    count = int.from_bytes(words[1]) if len(words) > 1 else 0
    if (
        len(log.topics) != 3
        or log.topics[0] != REVIEW_REQUESTED
        or not 1 <= count <= MAXIMUM_PARCELS
        or len(log.data) != 32 * (2 + count)
        or int.from_bytes(words[0]) != 32
    ):
        raise decode.nonsense(source, "a ReviewRequested event is malformed")
    return int.from_bytes(log.topics[2]), tuple(Hash32(word) for word in words[2:])
