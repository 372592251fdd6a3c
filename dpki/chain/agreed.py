"""Reading what endpoints agree on, and writing through one of them (claim T4).

An admin decides from what was read: which serial comes next, who governs, what a device's keys are.
So that is agreed on, and proven where it is in storage. A transaction is another matter: its
number, gas and fees are whatever the endpoint says that passes it on, and a false one costs a
refusal at most. What an endpoint says became of it counts once the others agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from dpki.chain import decode
from dpki.chain.connect import choose_quorum, connect, open_panel
from dpki.chain.domain import Domain, fetch_domain, verify_chain_id
from dpki.chain.failover import Failover
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Call, Endpoint, Reader, fetch_block
from dpki.chain.storage import Slot
from dpki.errors import CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.http import Deadline
from dpki.model import Block, DomainId, Hash32

WAIT = timedelta(seconds=60)
"""How long others may take to see a block in which one endpoint saw a transaction."""

KEPT = 2.0
"""Seconds for which questions about the newest state are put about one and the same block."""

_AT_HEAD = ("eth_call", "eth_getCode")


class AgreedReader:
    """A reader on whose newest block endpoints agree. A `Reader`; for one thread at a time.

    What contracts answer "now" is asked at that block's hash: endpoints of which one is a block
    ahead would contradict each other without lying.

    Args:
        reader: What endpoints agree on; see `ProvenReader`.
    """

    def __init__(self, reader: ProvenReader) -> None:
        self._reader = reader
        self._head: tuple[float, Block] | None = None

    @property
    def name(self) -> str:
        """Return the panel's name."""
        return self._reader.name

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        call = self._pinned(Call(method, params))
        return self._reader.call(call.method, call.params)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in their order; see `Reader.batch`."""
        return self._reader.batch([self._pinned(call) for call in calls])

    def words(self, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
        """Return a block's storage words; see `WordReader.words`."""
        return self._reader.words(block, slots)

    def confirm(self, transaction: Hash32, block: Block) -> None:
        """Return once enough endpoints show a transaction that succeeded.

        From then on nothing is read from a state without it.

        Args:
            block: The block that one endpoint saw it in.

        Raises:
            EndpointUnavailable: They don't, after `WAIT`.
        """
        self._head = None
        deadline, pause = Deadline(WAIT), 0.02
        said = "they don't have that block yet"
        while True:
            try:
                if self._newest().number >= block.number:
                    if self._has_succeeded(transaction):
                        return
                    said = "they don't"
            except EndpointUnavailable as error:
                said = error.message
            if deadline.is_over:
                raise EndpointUnavailable(
                    f"one endpoint says that transaction {transaction} is in block {block.number},"
                    f" and the others don't confirm it: {said}",
                    hint="look the transaction up before trying again; see which endpoint is to"
                    " blame with: dpki doctor",
                )
            time.sleep(min(pause, deadline.remaining()))
            pause = min(1.5 * pause, 1.0)

    def _has_succeeded(self, transaction: Hash32) -> bool:
        answer = self._reader.call("eth_getTransactionReceipt", [str(transaction)])
        if answer is None:
            return False
        fields = decode.mapping(answer, self.name)
        return (
            decode.hash32(fields.get("transactionHash"), self.name) == transaction
            and decode.quantity(fields.get("status"), self.name) == 1
        )

    def _newest(self) -> Block:
        block = fetch_block(self._reader, "latest")
        if block is None:
            raise EndpointUnavailable(f"{self.name} has no newest block", hint="try again")
        self._head = time.monotonic(), block
        return block

    def _pinned(self, call: Call) -> Call:
        if call.method not in _AT_HEAD or not call.params or call.params[-1] != "latest":
            return call
        if self._head is not None and time.monotonic() <= self._head[0] + KEPT:
            block = self._head[1]
        else:
            block = self._newest()
        return Call(call.method, [*call.params[:-1], {"blockHash": str(block.hash)}])


Confirm = Callable[[Hash32, Block], None]
"""Returns once a transaction that one endpoint saw in a block is agreed on; see `AgreedReader`."""


@dataclass(frozen=True)
class Access:
    """A way to a trust domain for who reads and writes.

    Attributes:
        reader: What decisions rest on.
        domain: The domain.
        sending: Returns what transactions go through: one endpoint, the next one where it fails.
            Of those that answer for the domain one that behaved comes first.
        confirm: What has to be called after each transaction; None where the reader is that one
            endpoint.
        evidence: Returns what stands behind what was read since the newest block was last asked
            for.
    """

    reader: Reader
    domain: Domain
    sending: Callable[[], Reader]
    confirm: Confirm | None
    evidence: Callable[[], Evidence]


@contextmanager
def open_access(
    urls: Sequence[str], domain_id: DomainId, quorum: int | None = None
) -> Iterator[Access]:
    """Yield a reader for which `quorum` endpoints must agree, and one endpoint to write through.

    Raises:
        As `connect_agreed`.
    """
    needed = choose_quorum(urls, quorum)
    if needed == 1:
        with connect(urls, domain_id) as (one, domain):
            yield Access(one, domain, lambda: one, None, one.evidence)
        return
    with open_panel(urls, needed, domain_id.chain_id) as panel:
        proven = ProvenReader(panel)
        reader = AgreedReader(proven)

        @cache
        def sending() -> Reader:
            return Failover(panel.sources, domain_id, standings=panel.standings)

        domain = fetch_domain(reader, domain_id)
        yield Access(reader, domain, sending, reader.confirm, proven.evidence)


@contextmanager
def open_agreed(
    urls: Sequence[str], chain_id: int, quorum: int | None = None
) -> Iterator[AgreedReader | None]:
    """Yield a reader of a chain for which endpoints must agree; None where one is trusted.

    Raises:
        UsageError: There are fewer endpoints than must agree.
    """
    needed = choose_quorum(urls, quorum)
    if needed == 1:
        yield None
        return
    with open_panel(urls, needed, chain_id) as panel:
        yield AgreedReader(ProvenReader(panel))


@contextmanager
def open_answering(urls: Sequence[str], chain_id: int) -> Iterator[Endpoint]:
    """Yield the first endpoint that answers and serves the chain.

    For what asks about an account: its balance, its number, what it has under way.

    Raises:
        WrongDomain, EndpointUnavailable: None does; it is what is wrong with the first.
    """
    with ExitStack() as stack:
        failures: list[CouldNotCheck | WrongDomain] = []
        for url in urls:
            endpoint = stack.enter_context(Endpoint(url))
            try:
                verify_chain_id(endpoint, chain_id)
            except (CouldNotCheck, WrongDomain) as error:
                failures.append(error)
            else:
                yield endpoint
                return
        raise failures[0]


def verify_chain(urls: Sequence[str], chain_id: int, quorum: int | None = None) -> None:
    """Check which chain endpoints serve: as many as must agree, or the first that answers.

    Raises:
        WrongDomain: It is another.
        EndpointUnavailable: Too few answer.
        UsageError: There are fewer endpoints than must agree.
    """
    with open_agreed(urls, chain_id, quorum) as agreed:
        if agreed is not None:
            verify_chain_id(agreed, chain_id)
            return
    with open_answering(urls, chain_id):
        pass
