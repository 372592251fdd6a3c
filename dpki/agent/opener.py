"""From what the chain says of this device's certificates to key pairs that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from dpki.agent.observation import ClientPair, HostPair, Known
from dpki.agent.opened import SUFFIX, OpenedBundles, load_opened, open_with_any
from dpki.bundle.cid import digest_of
from dpki.bundle.content import Bundle, bundle_context
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import public_blob
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot, extend_snapshot
from dpki.devices.keys import HOST_DIRECTORY, USER_DIRECTORY, DeviceKeys
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError, MalformedInput
from dpki.files import PRIVATE, make_private_directory, write_atomic
from dpki.http import Deadline
from dpki.model import AuthorityKind, AuthorityState, Hash32
from dpki.store.base import BlockSource
from dpki.store.publish import Backoff, fetch_first
from dpki.verification.policies import Anchoring, judge
from dpki.verification.verdict import Verdict

FETCH_DEADLINE = timedelta(seconds=30)
"""For one bundle, all sources together."""

FETCH_BUDGET = timedelta(seconds=60)
"""For all bundles of one run: a stolen operator wallet could else hold a device up for hours."""


_Pair = TypeVar("_Pair", HostPair, ClientPair)

_SORTS: Mapping[type[HostPair] | type[ClientPair], tuple[AuthorityKind, str, str]] = {
    HostPair: (AuthorityKind.SSH_HOST, "host", HOST_DIRECTORY),
    ClientPair: (AuthorityKind.SSH_USER, "client", USER_DIRECTORY),
}
"""Which CAs sign it, what it is called, and where a one-time key goes that was used for it."""


class _Unconfirmed(CheckedFalse):
    """A certificate's batch waits for watchdogs: nothing is wrong, and it does not count."""


@dataclass(frozen=True)
class Opener:
    """Turning leads into key pairs.

    Attributes:
        settled: The snapshot with batches as they are where additions count.
        opened: What one-time keys have opened; beside it, what was fetched is kept sealed.
        budget: The time that is left to fetch.
        waiting: The certificates that watchdogs have yet to confirm, a sentence each.
        failed: Leads that led nowhere.
        begins: When those of them begin that are not valid yet.
    """

    reader: Reader
    snapshot: Snapshot
    settled: Snapshot
    keys: DeviceKeys
    sources: Sequence[BlockSource]
    opened: OpenedBundles
    now: datetime
    backoff: Backoff = field(default_factory=Backoff)
    budget: Deadline = field(default_factory=lambda: Deadline(FETCH_BUDGET))
    waiting: list[str] = field(default_factory=list)
    failed: list[Known] = field(default_factory=list)
    begins: list[datetime] = field(default_factory=list)

    def best_host(self, known: Sequence[Known], problems: list[str]) -> HostPair | None:
        """Return the newest host certificate of this device that is valid and whose key is here."""
        return self._best(HostPair, known, problems)

    def best_client(self, known: Sequence[Known], problems: list[str]) -> ClientPair | None:
        """Return its newest user certificate likewise."""
        return self._best(ClientPair, known, problems)

    def _best(self, sort: type[_Pair], known: Sequence[Known], problems: list[str]) -> _Pair | None:
        kind, word, _ = _SORTS[sort]
        leads = [lead for lead in known if self._is_live(lead, kind)]
        for lead in sorted(leads, key=lambda lead: (lead.block, lead.serial), reverse=True):
            what = f"{word} certificate {lead.serial} of CA {lead.authority}"
            try:
                return self._open(sort, lead, problems)
            except _Unconfirmed as error:
                self.waiting.append(f"{what}: {error.message}")
            except DpkiError as error:
                self.failed.append(lead)
                problems.append(f"{what}: {error.message}")
        return None

    def forget_others(self, known: Sequence[Known]) -> None:
        """Remove the kept bundles of certificates that will not count any more.

        Args:
            known: All that are known of this device, the unconfirmed ones too.
        """
        keep = set()
        for lead in known:
            # A CA with an unusable issuer's key has no bundles; `best` has said so.
            with suppress(MalformedInput):
                if any(self._may_count(lead, kind) for kind, *_ in _SORTS.values()):
                    keep.add(self._digest(lead).hex())
        for path in self.opened.folder.glob("*"):
            if path.stem not in keep and not self._may_return(path):
                # What can't be removed now does no harm, and is tried again.
                with suppress(OSError):
                    path.unlink()

    def _may_return(self, path: Path) -> bool:
        """Whether this is what a one-time key opened, of a certificate that may count again.

        Nothing else opens it. So nobody must be able to take it away by telling of a chain that is
        behind, and does not know of the certificate yet.
        """
        if path.suffix != SUFFIX:
            return False
        with suppress(DpkiError, OSError):
            certificate = parse_ssh_certificate(load_opened(path).certificate)
            ca = self.snapshot.authorities.get(certificate.authority_id)
            is_gone = ca is not None and (
                ca.state is AuthorityState.RETIRED or ca.is_revoked(certificate.serial)
            )
            # By the earlier of the two: a clock that jumps ahead must not make us forget.
            by = min(self.now, self.snapshot.block.time)
            return not is_gone and by < certificate.valid_before
        return False

    def _is_live(self, lead: Known, kind: AuthorityKind) -> bool:
        is_it = self._may_count(lead, kind)
        return is_it and self.snapshot.authorities[lead.authority].state.is_trusted

    def _may_count(self, lead: Known, kind: AuthorityKind) -> bool:
        """Whether it counts, now or once its CA is lifted."""
        ca = self.snapshot.authorities.get(lead.authority)
        return (
            ca is not None
            and ca.kind is kind
            and ca.state is not AuthorityState.RETIRED
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

    def _open(self, sort: type[_Pair], lead: Known, problems: list[str]) -> _Pair:
        """Fetch, open and judge one certificate.

        Raises:
            DpkiError: It can't be had, or is not good; the message says why.
        """
        device = self.keys.address
        context = bundle_context(self.snapshot.domain.id, lead.authority, lead.serial, device)
        digest, prekey = self._digest(lead), None
        bundle = self.opened.find(digest, context)
        if bundle is None:
            sealed = self._fetch(digest, problems)
            bundle, prekey = open_with_any(sealed, self.keys, context)
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
            if finding.verdict is Verdict.NOT_YET_VALID:
                self.begins.append(certificate.valid_after)
            raise CheckedFalse(f"{finding.verdict.value}: {finding.reason}")
        key = self._private_key(bundle, certificate)
        # Also one that an earlier look did not come to the end with.
        prekey = prekey or self.keys.prekey_for(certificate.subject_key)
        if prekey is not None:
            self._use_up(sort, digest, bundle, prekey, problems)
        return sort(certificate, key, finding, bundle.overlap)

    def _use_up(
        self,
        sort: type[_Pair],
        digest: Hash32,
        bundle: Bundle,
        prekey: PrekeySecret,
        problems: list[str],
    ) -> None:
        """Keep what the bundle said, and erase the one-time key: nothing opens it again."""
        try:
            self.opened.keep(digest, bundle, prekey, _SORTS[sort][2])
        except DpkiError as error:
            # The certificate counts all the same; the next look tries again.
            problems.append(f"one-time key {prekey.number} is not erased: {error.message}")

    def _private_key(self, bundle: Bundle, certificate: SshCertificate) -> bytes:
        if bundle.key is None:
            # It was judged: its kind is its CA's.
            is_host = certificate.kind is AuthorityKind.SSH_HOST
            find = self.keys.host_key_for if is_host else self.keys.user_key_for
            own = find(certificate.subject_key)
            if own is None:
                raise CheckedFalse("its private key is neither on this device nor in the bundle")
            return own
        if public_blob(bundle.key) != certificate.subject_key:
            raise CheckedFalse("the private key in the bundle is not the certificate's")
        return bundle.key

    def _fetch(self, digest: Hash32, problems: list[str]) -> bytes:
        """Return a sealed bundle; what was fetched once is kept, still sealed.

        A disk that can't keep it must not cost the device its certificate.
        """
        path = self.opened.folder / digest.hex()
        with suppress(OSError):
            kept = path.read_bytes()
            if digest_of(kept) == digest:
                return kept
        left = timedelta(seconds=self.budget.remaining())
        if not left:
            raise CouldNotCheck("its bundle was not fetched: this run's time for that is used up")
        share = min(FETCH_DEADLINE, left)
        sealed = fetch_first(digest, self.sources, share, backoff=self.backoff)
        try:
            make_private_directory(self.opened.folder)
            write_atomic(path, sealed, mode=PRIVATE)
        except DpkiError as error:
            problems.append(f"its bundle is not kept: {error.message}; {error.hint}")
        return sealed
