"""Reading which certificates there are: from events, each held against what is proven or counted.

Of user CAs everything, complete by the count of their serials. Of host CAs what names this device,
which nothing can show to be complete: those are leads. A device that checks other hosts reads
everything of host CAs, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpki.agent.observation import Known, WatchedBatch
from dpki.agent.state import AgentState, Coverage
from dpki.chain.events import Batch, fetch_batches, fetch_issued, verify_batch
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Authority, Snapshot, extend_snapshot
from dpki.devices.keys import DeviceKeys
from dpki.errors import CheckedFalse, CouldNotCheck
from dpki.model import AuthorityId, AuthorityKind, Block
from dpki.verification.revocations import SSH_KINDS


@dataclass(frozen=True)
class Reading:
    """Reading the certificates of one domain at one block, into the agent's database.

    Attributes:
        every_host: Whether every host's certificates matter, and not this device's alone.
    """

    reader: Reader
    snapshot: Snapshot
    finalized: Block
    keys: DeviceKeys
    state: AgentState
    every_host: bool = False

    def read_counted(self, problems: list[str]) -> bool:
        """Read what can be checked to be all there is; return whether there was any.

        Args:
            problems: What could not be read is added.
        """
        if self.state.reads_every_host() is not self.every_host:
            # What was read until now covers something else.
            for authority in self._host_authorities():
                self.state.forget_coverage(authority.id)
            self.state.save_every_host(self.every_host)
        return self._read_each(lambda id: not self.are_leads(id), problems)

    def read_leads(self, problems: list[str]) -> None:
        """Read what nothing shows to be complete: this device's own certificates.

        Whoever withholds or forges what can be checked is not believed about them either: they are
        read again the next time.

        Args:
            problems: What could not be read until now; more is added.
        """
        before = {id: self.state.coverage(id) for id in self.snapshot.authorities}
        self._read_each(self.are_leads, problems)
        if not problems:
            return
        for id in filter(self.are_leads, self.snapshot.authorities):
            earlier = before[id]
            start = self.snapshot.domain.block.number if earlier is None else earlier.block
            self.state.rewind(id, start)

    def _read_each(self, is_meant: Callable[[AuthorityId], bool], problems: list[str]) -> bool:
        is_moved = False
        for authority in self.snapshot.authorities.values():
            if is_meant(authority.id):
                try:
                    is_moved |= self.read(authority)
                except (CouldNotCheck, CheckedFalse) as error:
                    problems.append(f"CA {authority.id}: {error.message}")
        return is_moved

    def are_leads(self, authority: AuthorityId) -> bool:
        """Whether nothing shows that what was read of a CA is all there is."""
        is_host = self.snapshot.authorities[authority].kind is AuthorityKind.SSH_HOST
        return is_host and not self.every_host

    def read(self, authority: Authority) -> bool:
        """Read a CA's certificates that matter here and are not known yet; return whether any.

        Of a user CA all, each batch recomputed against its commitment, without a gap: that is what
        login decides from; of a host CA likewise, where every host matters. Else those of this
        device, as leads: each proves itself by the path in its bundle.

        Raises:
            CouldNotCheck: The endpoint withholds or forges events; what could be checked is saved.
        """
        start = Coverage(1, self.snapshot.domain.block.number)
        watch = authority.watch
        if watch is not None and self.state.has_unwatched(authority.id, watch.first_serial):
            # An endpoint hid that the CA is watched. What it made of that must not last.
            self.state.forget_coverage(authority.id)
        coverage = self.state.coverage(authority.id) or start
        if coverage.serial > authority.next_serial:
            self.state.forget_coverage(authority.id)
            coverage = start
        # A reorg may have thrown out what was known, and put nothing in its place.
        is_moved = self.state.forget_from(authority.id, authority.next_serial)
        if coverage.serial >= authority.next_serial:
            return is_moved
        if authority.kind not in SSH_KINDS:
            return is_moved
        if self.are_leads(authority.id):
            self._read_hosts(authority, coverage)
        else:
            self._read_everything(authority, coverage)
        return True

    def reread_hosts(self, problems: list[str]) -> bool:
        """Search for this device's certificates from the domain's first block on.

        An endpoint that once withheld one can thus only delay it. Returns whether there was
        anything left to search.
        """
        searched = False
        for authority in self._host_authorities():
            start = Coverage(1, self.snapshot.domain.block.number)
            if authority.next_serial == 1 or not self.are_leads(authority.id):
                continue
            with self.state.transaction():
                self.state.forget_coverage(authority.id)
                try:
                    self._read_hosts(authority, start)
                    searched = True
                except CouldNotCheck as error:
                    problems.append(f"CA {authority.id}: {error.message}")
        return searched

    def _host_authorities(self) -> list[Authority]:
        cas = self.snapshot.authorities.values()
        return [ca for ca in cas if ca.kind is AuthorityKind.SSH_HOST]

    def _read_everything(self, authority: Authority, coverage: Coverage) -> None:
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
