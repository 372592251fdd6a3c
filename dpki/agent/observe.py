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
from dpki.agent.memory import newest_final, remember, verify_floor, with_memory
from dpki.agent.observation import (
    HostPair,
    Known,
    Observation,
)
from dpki.agent.reading import Reading
from dpki.agent.state import AgentState
from dpki.agent.watching import for_additions, still_unconfirmed
from dpki.bundle.cid import digest_of
from dpki.bundle.content import Bundle, bundle_context, open_bundle
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import public_blob
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot, extend_snapshot, fetch_snapshot
from dpki.config.device import DeviceConfig
from dpki.devices.keys import DeviceKeys
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError, MalformedInput
from dpki.files import PRIVATE, make_private_directory, write_atomic
from dpki.http import Deadline
from dpki.model import AuthorityKind, Hash32
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
    finalized = newest_final(
        memory, fetch_finalized(reader, domain, config.chain.authority_finality)
    )
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
    look = Reading(reader, snapshot, finalized, keys, state)
    with state.transaction():
        if memory != remembered:
            state.save_memory(memory)
        is_moved = look.read_all(problems)
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
    with state.transaction():
        for lead in opener.failed:
            # It may be the endpoint's invention: an older certificate that serves must not keep us
            # from looking again.
            state.rewind(lead.authority, lead.block - 1)
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


class _Unconfirmed(CheckedFalse):
    """A certificate's batch waits for watchdogs: nothing is wrong, and it does not count."""


@dataclass(frozen=True)
class _Opener:
    """Turning leads into host pairs.

    Attributes:
        settled: The snapshot with batches as they are where additions count.
        waiting: The certificates that watchdogs have yet to confirm, a sentence each.
        failed: Leads that led nowhere.
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
    failed: list[Known] = field(default_factory=list)

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
                self.failed.append(lead)
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
