"""Looking: from the chain and the stores to everything that a decision needs.

Reads only. What an endpoint or a gateway withholds ends up as a problem, not as an answer:
removals still take effect, additions wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent.finality import drop_orphaned_candidate, fetch_finalized
from dpki.agent.memory import remember, verify_floor, with_memory
from dpki.agent.observation import (
    HostPair,
    Known,
    Observation,
    WatchedBatch,
)
from dpki.agent.state import AgentState, Coverage
from dpki.agent.watching import for_additions, still_unconfirmed
from dpki.bundle.cid import digest_of
from dpki.bundle.content import Bundle, bundle_context, open_bundle
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import public_blob
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.domain import Domain
from dpki.chain.events import Batch, fetch_batches, fetch_issued, verify_batch
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Authority, Snapshot, extend_snapshot, fetch_snapshot
from dpki.config.device import DeviceConfig
from dpki.devices.keys import DeviceKeys
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError, MalformedInput
from dpki.files import PRIVATE, make_private_directory, write_atomic
from dpki.http import Deadline
from dpki.model import AuthorityKind, Block, Hash32
from dpki.store.base import BlockSource
from dpki.store.publish import Backoff, fetch_first
from dpki.verification.policies import Anchoring, judge
from dpki.verification.verdict import Verdict

FETCH_DEADLINE = timedelta(seconds=30)
"""For one bundle, all sources together."""

FETCH_BUDGET = timedelta(seconds=60)
"""For all bundles of one run: a stolen operator wallet could else hold a device up for hours."""

BUNDLES = "bundles"


def observe(
    reader: Reader,
    domain: Domain,
    config: DeviceConfig,
    keys: DeviceKeys,
    sources: Sequence[BlockSource],
    state: AgentState,
    directory: Path,
    now: datetime,
    *,
    before: Observation | None = None,
    search: bool = True,
) -> Observation:
    """Look at chain and stores, and remember what must never be forgotten.

    Args:
        before: What was observed last, to save what would only be found again: given by whoever
            looks every few seconds, and now and then not.
        search: Whether to search the chain from the domain's first block on where there is no host
            certificate.

    Raises:
        CouldNotCheck: The chain could not be read, or contradicts what is known to be final.
            Nothing was remembered.
    """
    remembered = state.memory()
    memory = drop_orphaned_candidate(reader, remembered)
    finalized = fetch_finalized(reader, domain, config.chain.authority_finality)
    fresh = fetch_snapshot(
        reader,
        domain,
        devices=[keys.address],
        batches=[(batch.authority, batch.first_serial) for batch in state.watched()],
    )
    verify_floor(memory, fresh)
    memory = remember(memory, fresh, finalized, now)
    snapshot = with_memory(fresh, memory)
    problems: list[str] = []
    look = _Look(reader, snapshot, finalized, keys, state)
    is_moved = False
    with state.transaction():
        if memory != remembered:
            state.save_memory(memory)
        for authority in snapshot.authorities.values():
            try:
                is_moved |= look.read(authority)
            except (CouldNotCheck, CheckedFalse) as error:
                problems.append(f"CA {authority.id}: {error.message}")
        if memory.floor is not None:
            state.settle(memory.floor.accepted)
        # By the earlier of the two: a clock that jumps ahead must not make us forget.
        state.forget_expired(min(now, snapshot.block.time))
    is_still = not (is_moved or problems or state.watched())
    if before is not None and is_still and before.holds_in(snapshot, now):
        return replace(before, snapshot=snapshot, finalized=finalized)
    settled = for_additions(reader, snapshot, config.chain.confirmations)
    unconfirmed = still_unconfirmed(reader, settled, state.watched())
    opener = _Opener(reader, snapshot, settled, keys, sources, directory / BUNDLES, now)
    confirmed = snapshot.block.number - config.chain.confirmations + 1
    everything = state.known()
    known = tuple(k for k in everything if k.block <= confirmed)
    host = opener.best(known, problems)
    if host is None and search and look.reread_hosts(problems):
        everything = state.known()
        known = tuple(k for k in everything if k.block <= confirmed)
        host = opener.best(known, problems)
    opener.forget_others(known)
    return Observation(
        snapshot,
        finalized,
        known,
        host,
        tuple(dict.fromkeys(problems)),
        unconfirmed,
        tuple(dict.fromkeys(opener.waiting)),
        len(everything) - len(known),
    )


@dataclass(frozen=True)
class _Look:
    """Reading the certificates of one domain at one block."""

    reader: Reader
    snapshot: Snapshot
    finalized: Block
    keys: DeviceKeys
    state: AgentState

    def read(self, authority: Authority) -> bool:
        """Read a CA's certificates that matter here and are not known yet; return whether any.

        Of a user CA all, each batch recomputed against its commitment, without a gap: that is what
        login decides from. Of a host CA those of this device, as leads: each proves itself by the
        path in its bundle.

        Raises:
            CouldNotCheck: The endpoint withholds or forges events; what could be checked is saved.
        """
        start = Coverage(1, self.snapshot.domain.block.number)
        watch = authority.watch
        if watch is not None and self.state.has_unwatched(authority.id, watch.first_serial):
            # An endpoint hid that the CA is watched. What it made of that must not last.
            self.state.forget_coverage(authority.id)
        coverage = self.state.coverage(authority.id) or start
        if coverage.serial >= authority.next_serial:
            return False
        if authority.kind is AuthorityKind.SSH_USER:
            self._read_users(authority, coverage)
        elif authority.kind is AuthorityKind.SSH_HOST:
            self._read_hosts(authority, coverage)
        else:
            return False
        return True

    def reread_hosts(self, problems: list[str]) -> bool:
        """Search for this device's certificates from the domain's first block on.

        An endpoint that once withheld one can thus only delay it. Returns whether there was
        anything left to search.
        """
        searched = False
        for authority in self.snapshot.authorities.values():
            start = Coverage(1, self.snapshot.domain.block.number)
            if authority.kind is not AuthorityKind.SSH_HOST or authority.next_serial == 1:
                continue
            with self.state.transaction():
                self.state.forget_coverage(authority.id)
                try:
                    self._read_hosts(authority, start)
                    searched = True
                except CouldNotCheck as error:
                    problems.append(f"CA {authority.id}: {error.message}")
        return searched

    def _read_users(self, authority: Authority, coverage: Coverage) -> None:
        domain, head = self.snapshot.domain, self.snapshot.block.number
        found = fetch_batches(self.reader, domain, coverage.block, head, ca=authority.id)
        batches = [batch for batch in found if batch.first_serial >= coverage.serial]
        verified = _verify_batches(self.reader, self.snapshot, batches)
        self.state.save_known(
            authority.id,
            _advance(coverage, verified, self.finalized),
            [known for batch in verified for known in _known_of(batch)],
            [
                WatchedBatch(batch.ca, batch.first_serial, batch.count, batch.block_number)
                for batch in verified
                if authority.watch is not None and authority.watch.covers(batch.first_serial)
            ],
        )
        _verify_complete(coverage.serial, verified, authority)

    def _read_hosts(self, authority: Authority, coverage: Coverage) -> None:
        domain, head = self.snapshot.domain, self.snapshot.block.number
        events = fetch_issued(
            self.reader, domain, coverage.block, head, ca=authority.id, device=self.keys.address
        )
        self.state.save_known(
            authority.id,
            Coverage(authority.next_serial, max(coverage.block, self.finalized.number)),
            [Known(e.ca, e.serial, e.entry, e.block_number) for e in events],
        )


def _verify_batches(
    reader: Reader, snapshot: Snapshot, batches: Sequence[Batch]
) -> tuple[Batch, ...]:
    """Return those that stand at the snapshot's block, after recomputing each."""
    extended = extend_snapshot(
        reader, snapshot, batches=[(batch.ca, batch.first_serial) for batch in batches]
    )
    return tuple(verify_batch(batch, extended) for batch in batches)


def _advance(coverage: Coverage, batches: Sequence[Batch], finalized: Block) -> Coverage:
    """Return how far reading got, without a gap and in blocks that can't change any more."""
    for batch in batches:
        if batch.first_serial != coverage.serial or batch.block_number > finalized.number:
            break
        coverage = Coverage(batch.last_serial + 1, batch.block_number)
    return coverage


def _verify_complete(serial: int, batches: Sequence[Batch], authority: Authority) -> None:
    """Check that the batches cover every serial up to the CA's next.

    Raises:
        CouldNotCheck: Some are missing.
    """
    for batch in batches:
        if batch.first_serial != serial:
            break
        serial = batch.last_serial + 1
    if serial != authority.next_serial:
        raise CouldNotCheck(
            f"certificates from serial {serial} on were issued, but the endpoint does not show them"
        )


def _known_of(batch: Batch) -> list[Known]:
    return [
        Known(batch.ca, batch.first_serial + index, entry, batch.block_number)
        for index, entry in enumerate(batch.entries)
    ]


class _Unconfirmed(CheckedFalse):
    """A certificate's batch waits for watchdogs: nothing is wrong, and it does not count."""


@dataclass(frozen=True)
class _Opener:
    """Turning leads into host pairs.

    Attributes:
        settled: The snapshot with batches as they are where additions count.
        waiting: The certificates that watchdogs have yet to confirm, a sentence each.
    """

    reader: Reader
    snapshot: Snapshot
    settled: Snapshot
    keys: DeviceKeys
    sources: Sequence[BlockSource]
    cache: Path
    now: datetime
    backoff: Backoff = field(default_factory=Backoff)
    waiting: list[str] = field(default_factory=list)

    def best(self, known: Sequence[Known], problems: list[str]) -> HostPair | None:
        """Return the newest host certificate of this device that is valid and whose key is here."""
        budget = Deadline(FETCH_BUDGET)
        leads = [lead for lead in known if self._is_live(lead)]
        for lead in sorted(leads, key=lambda lead: (lead.block, lead.serial), reverse=True):
            what = f"host certificate {lead.serial} of CA {lead.authority}"
            try:
                return self._open(lead, budget, problems)
            except _Unconfirmed as error:
                self.waiting.append(f"{what}: {error.message}")
            except DpkiError as error:
                problems.append(f"{what}: {error.message}")
        return None

    def forget_others(self, known: Sequence[Known]) -> None:
        """Remove the kept bundles of certificates that no longer matter."""
        keep = set()
        for lead in known:
            # A CA with an unusable issuer's key has no bundles; `best` has said so.
            with suppress(MalformedInput):
                if self._is_live(lead):
                    keep.add(self._digest(lead).hex())
        for path in self.cache.glob("*"):
            if path.name not in keep:
                # What can't be removed now does no harm, and is tried again.
                with suppress(OSError):
                    path.unlink()

    def _is_live(self, lead: Known) -> bool:
        ca = self.snapshot.authorities.get(lead.authority)
        return (
            ca is not None
            and ca.kind is AuthorityKind.SSH_HOST
            and ca.state.is_trusted
            and lead.entry.device == self.keys.address
            and not ca.is_revoked(lead.serial)
        )

    def _digest(self, lead: Known) -> Hash32:
        authority = self.snapshot.authorities[lead.authority]
        return digest_from_locator(
            self.keys.sealing,
            authority.issuer_key,
            authority.id,
            self.keys.address,
            lead.entry.certificate_hash,
            lead.entry.locator,
        )

    def _open(self, lead: Known, budget: Deadline, problems: list[str]) -> HostPair:
        """Fetch, open and judge one host certificate.

        Raises:
            DpkiError: It can't be had, or is not good; the message says why.
        """
        device = self.keys.address
        context = bundle_context(self.snapshot.domain.id, lead.authority, lead.serial, device)
        sealed = self._fetch(self._digest(lead), budget, problems)
        bundle = open_bundle(sealed, self.keys.sealing, context)
        certificate = parse_ssh_certificate(bundle.certificate)
        if certificate.hash != lead.entry.certificate_hash:
            raise CheckedFalse("the bundle holds another certificate than the anchored one")
        batch = (lead.authority, bundle.path.first_serial)
        extended = replace(
            extend_snapshot(self.reader, self.settled, batches=[batch]), block=self.snapshot.block
        )
        finding = judge(certificate, Anchoring(device, bundle.path), extended, self.now)
        if finding.verdict is not Verdict.VALID:
            if finding.reason == extended.awaited(*batch):
                raise _Unconfirmed(finding.reason)
            raise CheckedFalse(f"{finding.verdict.value}: {finding.reason}")
        key = self._private_key(bundle, certificate)
        return HostPair(certificate, key, finding, bundle.overlap)

    def _private_key(self, bundle: Bundle, certificate: SshCertificate) -> bytes:
        if bundle.key is None:
            own = self.keys.host_key_for(certificate.subject_key)
            if own is None:
                raise CheckedFalse("its private key is neither on this device nor in the bundle")
            return own
        if public_blob(bundle.key) != certificate.subject_key:
            raise CheckedFalse("the private key in the bundle is not the certificate's")
        return bundle.key

    def _fetch(self, digest: Hash32, budget: Deadline, problems: list[str]) -> bytes:
        """Return a sealed bundle; what was fetched once is kept, still sealed.

        A disk that can't keep it must not cost the device its certificate.
        """
        path = self.cache / digest.hex()
        with suppress(OSError):
            kept = path.read_bytes()
            if digest_of(kept) == digest:
                return kept
        left = timedelta(seconds=budget.remaining())
        if not left:
            raise CouldNotCheck("its bundle was not fetched: this run's time for that is used up")
        share = min(FETCH_DEADLINE, left)
        sealed = fetch_first(digest, self.sources, share, backoff=self.backoff)
        try:
            make_private_directory(self.cache)
            write_atomic(path, sealed, mode=PRIVATE)
        except DpkiError as error:
            problems.append(f"its bundle is not kept: {error.message}; {error.hint}")
        return sealed
