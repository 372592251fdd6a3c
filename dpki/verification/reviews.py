"""What watchdogs have yet to confirm, and who they are."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain as joined

from dpki.chain import decode, layout
from dpki.chain.events import fetch_batches, verify_batch
from dpki.chain.rpc import Call, Reader
from dpki.chain.snapshot import Authority, Snapshot, extend_snapshot
from dpki.errors import CouldNotCheck
from dpki.model import AuthorityId, AuthorityKind


def find_unconfirmed(
    reader: Reader, snapshot: Snapshot, kinds: Collection[AuthorityKind]
) -> dict[AuthorityId, list[range]]:
    """Return the serials of watched CAs that nobody is shown to have confirmed.

    An endpoint that withholds a batch only makes it count as unconfirmed.

    Args:
        kinds: CAs of which kinds.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: The events are not what the chain committed to.
        CheckedFalse: A batch that the events show is not there.
    """
    return {
        authority.id: _unconfirmed(reader, snapshot, authority, authority.watch)
        for authority in snapshot.authorities.values()
        if authority.watch is not None
        and authority.kind in kinds
        and authority.watch.covers(authority.next_serial - 1)
    }


def _unconfirmed(
    reader: Reader, snapshot: Snapshot, authority: Authority, watch: layout.Watch
) -> list[range]:
    domain, head = snapshot.domain, snapshot.block.number
    batches = [
        batch
        for batch in fetch_batches(reader, domain, domain.block.number, head, ca=authority.id)
        if watch.covers(batch.first_serial)
    ]
    places = [(batch.ca, batch.first_serial) for batch in batches]
    extended = extend_snapshot(reader, snapshot, batches=places)
    found: list[range] = []
    following = watch.first_serial
    for batch in batches:
        verify_batch(batch, extended)
        if extended.awaited(batch.ca, batch.first_serial) is None:
            found.append(range(following, batch.first_serial))
            following = batch.last_serial + 1
    found.append(range(following, authority.next_serial))
    return [serials for serials in found if serials]


def fetch_watchdogs(
    reader: Reader, snapshot: Snapshot, ca: AuthorityId
) -> tuple[layout.Watchdog, ...]:
    """Return who watches a CA, in their order; complete, for their weights add up.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
        CouldNotCheck: They do not weigh what the CA's watch says.
    """
    watch = snapshot.authorities[ca].watch
    if watch is None:
        return ()
    (length,) = _read(reader, snapshot, [layout.watchdog_count_slot(ca)])
    count = int.from_bytes(length)
    words: list[bytes] = []
    if count <= layout.MAXIMUM_WATCHDOGS:
        places = [layout.watchdog_slots(ca, index) for index in range(count)]
        words = _read(reader, snapshot, list(joined.from_iterable(places)))
    try:
        found = tuple(layout.decode_watchdog(*words[i : i + 2]) for i in range(0, len(words), 2))
    except ValueError as error:
        raise _contradiction(reader, ca) from error
    if sum(watchdog.weight for watchdog in found) != watch.total:
        raise _contradiction(reader, ca)
    return found


def _read(reader: Reader, snapshot: Snapshot, slots: list[int]) -> list[bytes]:
    at = {"blockHash": str(snapshot.block.hash), "requireCanonical": True}
    contract = str(snapshot.domain.watchdogs)
    calls = [Call("eth_getStorageAt", [contract, f"0x{slot:064x}", at]) for slot in slots]
    return [decode.word(answer, reader.name) for answer in reader.batch(calls)]


def _contradiction(reader: Reader, ca: AuthorityId) -> CouldNotCheck:
    return CouldNotCheck(
        f"{reader.name} gives watchdogs of CA {ca} that do not weigh what the chain says",
        hint="ask another RPC endpoint; nothing was changed",
    )
