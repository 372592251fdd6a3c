"""Reading a trust domain at a block that witnesses signed (claim T4).

Enough witnesses stand in for the endpoints' agreement on a block's hash; any one endpoint may then
serve its state, since header and proofs are checked against that hash. Unlike with a quorum of
endpoints nothing else will do: what is not proven is not believed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dpki.chain.comparable import block_object
from dpki.chain.connect import Connection
from dpki.chain.domain import fetch_domain
from dpki.chain.header import verify_header
from dpki.chain.panel import TAGS, Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Call, Endpoint, Reader
from dpki.chain.storage import Slot
from dpki.errors import ConfigError, CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.model import Block, DomainId, Hash32
from dpki.verification.checkpoint import Checkpoint


class PinnedReader:
    """A reader to which one block is the newest, and final. A `Reader`, and a `WordReader`."""

    def __init__(self, reader: ProvenReader, block: Block) -> None:
        self._reader = reader
        self._block = block

    @property
    def name(self) -> str:
        """Return the name of whom it asks."""
        return self._reader.name

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        if method == "eth_getBlockByNumber" and params and params[0] in TAGS:
            return block_object(self._block)
        return self._reader.call(method, params)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions; see `Reader.batch`."""
        return self._reader.batch(calls)

    def words(self, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
        """Return a block's storage words; see `WordReader.words`."""
        return self._reader.words(block, slots)


class SignedPanel(Panel[Any]):
    """Endpoints none of which is believed about state: what they say of one block is proven.

    Of everything else the first answer is taken, for nothing rests on it: events are leads, and
    batches are recomputed against commitments.

    Args:
        checkpoint: What witnesses signed.
        signed: Who, in words.
    """

    def __init__(self, sources: Sequence[Reader], checkpoint: Checkpoint, signed: str) -> None:
        super().__init__(sources, 1, checkpoint.domain.chain_id)
        self._checkpoint = checkpoint
        self._signed = signed
        self._block: Block | None = None

    def evidence(self, *, proven: bool, why_not: str = "") -> Evidence:
        """Return what stands behind the answers."""
        asked = super().evidence(proven=proven, why_not=why_not)
        return Evidence(asked.endpoints, 0, True, aside=asked.aside, signed=self._signed)

    def signed_block(self) -> Block:
        """Return the block that witnesses signed, its header checked against its hash.

        Raises:
            EndpointUnavailable: No endpoint has it.
            CouldNotCheck: The witnesses signed a number that is not the block's.
        """
        if self._block is not None:
            return self._block
        hash = self._checkpoint.block_hash
        header = self.any_of(
            lambda source: verify_header(
                source.call("eth_getBlockByHash", [str(hash), False]), hash
            )
        )
        if header.block.number != self._checkpoint.number:
            raise CouldNotCheck(
                f"the witnesses say that {hash} is block {self._checkpoint.number}, and it is"
                f" {header.block.number}",
                hint="these witnesses are wrong; nothing was changed",
            )
        self._block = header.block
        return self._block

    def agreed_block(self, hash: Hash32) -> Block | None:
        """Return the block of this hash, if it is the one that witnesses signed."""
        return self._block if hash == self._checkpoint.block_hash else None

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return an endpoint's answers; none about state."""
        if any(call.method == "eth_getStorageAt" for call in calls):
            raise EndpointUnavailable(
                f"no endpoint proves the state at block {self._checkpoint.number}, which the"
                " witnesses signed",
                hint="name an endpoint whose node keeps the state of that block (an archive node),"
                " or witnesses that sign sooner",
            )
        return super().batch(calls)


@contextmanager
def connect_signed(
    urls: Sequence[str], checkpoint: Checkpoint, signed: str
) -> Iterator[Connection]:
    """Yield a reader of the domain at the block of a checkpoint, whoever serves it.

    Args:
        checkpoint: What enough witnesses signed.
        signed: Who, in words.

    Raises:
        WrongDomain: No endpoint holds the domain.
        CouldNotCheck: No endpoint has the block, or shows the domain.
        ConfigError: There is none to try.
    """
    if not urls:
        raise ConfigError("no RPC endpoint is configured", hint="name one with --rpc URL")
    # Any order, and another one each time: so none can be in the way for long.
    endpoints = [Endpoint(url) for url in random.sample(urls, len(urls))]
    panels: list[SignedPanel] = []
    try:
        yield _first_that_shows(endpoints, checkpoint, signed, panels)
    finally:
        idle = [set(map(id, panel.idle())) for panel in panels]
        for endpoint in endpoints:
            if all(id(endpoint) in free for free in idle):
                endpoint.close()


def _first_that_shows(
    endpoints: Sequence[Endpoint], checkpoint: Checkpoint, signed: str, panels: list[SignedPanel]
) -> Connection:
    """Return a connection in which the first endpoint to be asked is one that shows the domain."""
    failures: list[CouldNotCheck | WrongDomain] = []
    for turn in range(len(endpoints)):
        panel = SignedPanel([*endpoints[turn:], *endpoints[:turn]], checkpoint, signed)
        panels.append(panel)
        try:
            return read_signed(panel, checkpoint.domain)
        except (CouldNotCheck, WrongDomain) as error:
            failures.append(error)
    raise failures[0]


def read_signed(panel: SignedPanel, domain: DomainId) -> Connection:
    """Return the reader of a domain at the block that the panel's witnesses signed.

    Raises:
        WrongDomain: The endpoints' chain does not hold the domain.
        CouldNotCheck: No endpoint has the block, or shows the domain.
    """
    proven = ProvenReader(panel)
    reader = PinnedReader(proven, panel.signed_block())
    return Connection(reader, fetch_domain(reader, domain), proven.evidence)
