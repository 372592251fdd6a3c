"""A whole audit: follow, replay, prove, and say what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby

from dpki.audit.certificates import Given, verify_given
from dpki.audit.code import fetch_code, is_made_for, other_versions
from dpki.audit.council import CouncilRules
from dpki.audit.digest import state_digest
from dpki.audit.evidence import Contradiction, HistoryContradicted
from dpki.audit.feed import Feed
from dpki.audit.history import History
from dpki.audit.index import Index
from dpki.audit.occurrence import COUNCIL, contracts_of, decode_log
from dpki.audit.prove import verify_state
from dpki.audit.state import State
from dpki.chain.domain import Domain
from dpki.chain.logs import Log, fetch_range
from dpki.chain.rpc import Reader, fetch_block
from dpki.errors import CouldNotCheck, UsageError
from dpki.model import Address, Block, Hash32
from dpki.transactions.abi import Event, find_event

_ROLES = ("DomainCreated", "GovernorOffered", "GovernorChanged", "GuardianChanged")


@dataclass(frozen=True)
class Progress:
    """How far an audit is.

    Attributes:
        block: Everything up to this block was replayed.
        last: The block to audit.
        events: Events that were replayed, of all times.
        words: Storage words that were compared.
    """

    block: int
    last: int
    events: int
    words: int = 0


@dataclass(frozen=True)
class Standing:
    """What a domain had come to at a block.

    Attributes:
        digest: Of its state (docs/formats.md, "State digest").
    """

    block: Block
    digest: Hash32


@dataclass(frozen=True)
class AuditReport:
    """What an audit came to: nothing contradicts anything, up to this block.

    Attributes:
        block: The block that was audited.
        is_final: Whether the chain calls it final.
        digest: Of the state at that block (docs/formats.md, "State digest").
        counts: How many of what was replayed.
        words: Storage words that were compared.
        state: Who holds what now.
        councils: The councils, each with its members.
        certificates: Certificates that were given and are in order.
        foreign: Certificates that were given and are of no CA of this domain.
        versions: Contracts that run another program than this dpki ships.
        stops: What it had come to at earlier blocks that were asked about.
    """

    domain: Domain
    block: Block
    is_final: bool
    digest: Hash32
    counts: Mapping[str, int]
    words: int
    state: State
    councils: Mapping[Address, CouncilRules]
    certificates: int
    foreign: tuple[str, ...]
    versions: tuple[str, ...]
    stops: tuple[Standing, ...] = ()


def silent(progress: Progress) -> None:
    """Report to nobody."""


def audit(
    reader: Reader,
    domain: Domain,
    index: Index,
    *,
    to: int | str = "finalized",
    stops: Iterable[int] = (),
    certificates: Iterable[Given] = (),
    report: Callable[[Progress], None] = silent,
) -> AuditReport:
    """Replay a domain from where the index stands up to a block, and hold it against its state.

    Args:
        to: A block's number, or "finalized", "safe" or "latest".
        stops: Numbers of earlier blocks, not before where the index stands, whose state digests are
            wanted, too; ascending.
        certificates: To be held against their anchors.
        report: Told how far it is.

    Raises:
        HistoryContradicted: The first contradiction, with the evidence.
        EndpointUnavailable, CouldNotCheck: The means to find out were not there.
        UsageError: The index is further than the block.
    """
    block = _fetch_target(reader, domain, to)
    way = _Replay(reader, domain, index, block, report)
    way.resume()
    try:
        stood = [way.stand_at(number) for number in stops]
        words = way.prove(block)
    except HistoryContradicted:
        # What was kept of it may be the lie: whoever tells the truth next is heard from the start.
        index.clear()
        raise
    history = way.history
    checked, foreign = 0, []
    for given in certificates:
        if verify_given(given, history.state, index, block):
            checked += 1
        else:
            foreign.append(given.name)
    versions = other_versions(reader, domain, block)
    _verify_canonical(reader, block)
    return AuditReport(
        domain,
        block,
        _is_final(reader, block),
        state_digest(domain, block, history.state, history.councils, index),
        dict(history.counts),
        words,
        history.state,
        history.councils,
        checked,
        tuple(foreign),
        versions,
        tuple(stood),
    )


def replay(
    reader: Reader,
    domain: Domain,
    index: Index,
    block: Block,
    report: Callable[[Progress], None] = silent,
) -> History:
    """Replay a domain from where the index stands up to a block; compare nothing with its state.

    Raises:
        As `audit`.
    """
    way = _Replay(reader, domain, index, block, report)
    way.resume()
    way.follow(block)
    return way.history


def standing(reader: Reader, domain: Domain, index: Index) -> Standing | None:
    """Return where an index stands; None where nothing was audited.

    Raises:
        HistoryContradicted: The chain has another block there than it had.
        EndpointUnavailable: No answer, or nonsense.
    """
    seen = index.seen()
    if seen is None:
        return None
    way = _Replay(reader, domain, index, seen.block, silent)
    way.resume()
    return way.standing(seen.block)


@dataclass
class _Replay:
    """A replay on its way."""

    reader: Reader
    domain: Domain
    index: Index
    last: Block
    report: Callable[[Progress], None]
    history: History = field(init=False)
    _next: int = field(init=False)
    _others: set[Address] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.history = History(self.domain, self.index, cache(self._has_code))
        self._next = self.domain.block.number
        self._feed = Feed(self.reader)

    @property
    def events(self) -> int:
        return self.history.counts.total()

    def resume(self) -> None:
        """Go on where the index stands.

        Raises:
            HistoryContradicted: The chain has another block there than it had.
            UsageError: It is further than what is asked for.
        """
        seen = self.index.seen()
        if seen is None:
            return
        if seen.block.number > self.last.number:
            raise UsageError(
                f"the audit's index stands at block {seen.block.number} already, and block"
                f" {self.last.number} is asked for",
                hint="ask for a later block, or for another index with --index",
            )
        now = fetch_block(self.reader, seen.block.number)
        if now is None or now.hash != seen.block.hash:
            raise HistoryContradicted(
                Contradiction(
                    "what was audited stays on the chain",
                    seen.block.number,
                    None,
                    "block hash",
                    str(seen.block.hash),
                    "no such block" if now is None else str(now.hash),
                ),
                hint="a block that was not final may go; begin again with --restart, and find out"
                " why if it was",
            )
        self.history = History(
            self.domain, self.index, self.history.has_code, seen.state, counts=seen.counts
        )
        for address in self.index.councils():
            self._adopt(address)
        for _, pairs in groupby(self.index.council_logs(), lambda pair: pair[0].transaction):
            self.history.remember([decode_log(log, COUNCIL, time) for log, time in pairs])
        self._next = seen.block.number + 1

    def stand_at(self, number: int) -> Standing:
        """Replay everything up to a block, and return what it comes to.

        Raises:
            HistoryContradicted: The first event that can't be.
            EndpointUnavailable: No answer, or nonsense.
        """
        block = self._block(number)
        self.follow(block)
        return self.standing(block)

    def standing(self, block: Block) -> Standing:
        """Return what everything up to this block, just replayed, comes to."""
        history = self.history
        return Standing(
            block, state_digest(self.domain, block, history.state, history.councils, self.index)
        )

    def follow(self, last: Block) -> None:
        """Replay everything up to a block.

        Raises:
            HistoryContradicted: The first event that can't be.
            EndpointUnavailable: No answer, or nonsense.
        """
        while self._next <= last.number:
            self.report(Progress(self._next - 1, last.number, self.events))
            followed = [*contracts_of(self.domain), *self.history.councils]
            end, logs = self._feed.logs(followed, self._next, last.number)
            found = self._new_councils(logs)
            with self.index.transaction():
                if found:
                    for address in found:
                        self._catch_up(address)
                    followed += found
                    logs = fetch_range(self.reader, followed, self._next, end)
                self._replay(logs)
                reached = last if end == last.number else self._block(end)
                self.index.save(reached, self.history.state, self.history.counts)
            self._next = end + 1
        self.report(Progress(last.number, last.number, self.events))

    def prove(self, last: Block) -> int:
        """Replay everything up to a block, and return how many words of its state agree."""
        self.follow(last)
        return verify_state(
            self.reader,
            self.domain,
            last,
            self.history.state,
            self.history.councils,
            self.index,
            lambda done: self.report(Progress(last.number, last.number, self.events, done)),
        )

    def _replay(self, logs: Sequence[Log]) -> None:
        times, transactions = self._feed.times(logs), self._feed.transactions(logs)
        names = contracts_of(self.domain)
        for log in logs:
            if log.contract not in names:
                self.index.put_council_log(log, times[log.block_number])
        for sent, group in groupby(logs, lambda log: log.transaction):
            assert sent is not None
            events = [
                decode_log(log, names.get(log.contract, COUNCIL), times[log.block_number])
                for log in group
            ]
            self.history.replay(transactions[sent], events)

    def _block(self, number: int) -> Block:
        block = fetch_block(self.reader, number)
        if block is None:
            raise CouldNotCheck(
                f"{self.reader.name} has no block {number} any more", hint="run it again"
            )
        return block

    # -- councils ----------------------------------------------------------------------------------

    def _new_councils(self, logs: Sequence[Log]) -> list[Address]:
        """Return the councils that these logs name for a role for the first time."""
        events = {event.topic: event for event in map(_role_event, _ROLES)}
        named: set[Address] = set()
        for log in logs:
            if (
                log.contract == self.domain.id.address
                and log.topics[:1]
                and log.topics[0] in events
            ):
                occurrence = decode_log(log, "TrustDomain", 0)
                named |= {
                    Address.parse(occurrence.values[name])
                    for name in ("governor", "offered", "current")
                    if name in occurrence.values
                }
        new = sorted(named - self.history.councils.keys() - self._others - {Address.zero()})
        found = [address for address in new if self._is_council(address)]
        self._others |= set(new) - set(found)
        return found

    def _is_council(self, address: Address) -> bool:
        """Whether this domain's council lies there: its program says so, whatever events do."""
        code = fetch_code(self.reader, address, self.last)
        return is_made_for(code, COUNCIL, self.domain.id.address)

    def _adopt(self, address: Address) -> None:
        self.history.councils[address] = CouncilRules(self.domain, address)

    def _catch_up(self, address: Address) -> None:
        """Replay what a council did before it was named for a role."""
        self._adopt(address)
        self.index.put_council(address)
        feed = Feed(self.reader)
        for _, logs in feed.all_logs([address], self.domain.block.number, self._next - 1):
            self._replay(logs)

    def _has_code(self, address: Address) -> bool:
        return bool(fetch_code(self.reader, address, self.last))


@cache
def _role_event(name: str) -> Event:
    return find_event("TrustDomain", name)


def _is_final(reader: Reader, block: Block) -> bool:
    final = fetch_block(reader, "finalized")
    return final is not None and final.number >= block.number


def _fetch_target(reader: Reader, domain: Domain, to: int | str) -> Block:
    block = fetch_block(reader, to)
    if block is None:
        raise CouldNotCheck(
            f"{reader.name} has no block {to}", hint="wait for it, or ask another RPC endpoint"
        )
    if block.number < domain.block.number:
        raise CouldNotCheck(
            f"block {block.number} is older than the trust domain, which was deployed in block"
            f" {domain.block.number}",
            hint="wait until its deployment is final, or audit an earlier promise: --to latest",
        )
    return block


def _verify_canonical(reader: Reader, block: Block) -> None:
    """Check that the block is still on the chain: what was read together was true together."""
    now = fetch_block(reader, block.number)
    if now is None or now.hash != block.hash:
        raise CouldNotCheck(
            f"block {block.number} left the chain while it was audited", hint="run it again"
        )
