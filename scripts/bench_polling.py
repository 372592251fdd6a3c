"""What following a domain costs: bytes and processor time of one look at the newest block."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.rpc import Call, Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.anvil import CHAIN_ID, Anvil
from scripts.bench_proofs import ACCOUNTS, BATCH, crowd, deploy_chain


@dataclass(frozen=True)
class PollFigure:
    """One look: of what, the bytes that all endpoints answered, and processor seconds of ours."""

    what: str
    size: int
    cpu: float


class _Counting:
    """An endpoint whose answers are counted, as JSON."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = endpoint.name
        self.size = 0

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        answer = self._endpoint.call(method, params)
        self.size += len(json.dumps(answer))
        return answer

    def batch(self, calls: Sequence[Call]) -> list[object]:
        answers = self._endpoint.batch(calls)
        self.size += len(json.dumps(answers))
        return answers


def measure_polls(
    rounds: int = 20, accounts: int = ACCOUNTS, batches: int = 10
) -> list[PollFigure]:
    """Measure looks through three endpoints of which two must agree, at one Anvil."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(Path(folder)) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        chain = deploy_chain(anvil.url, endpoint)
        crowd(endpoint, accounts)
        ca = chain.issue(BATCH)[0].authority_id
        for _ in range(batches - 1):
            chain.issue(BATCH)
        chain.writer.revoke(ca, range(1, chain.next_serial, 256))
        sources = [_Counting(endpoint) for _ in range(3)]
        reader = ProvenReader(Panel(sources, 2, CHAIN_ID))

        def look(what: str) -> PollFigure:
            before, began = sum(source.size for source in sources), time.process_time()
            fetch_snapshot(reader, chain.domain)
            spent = time.process_time() - began
            return PollFigure(what, sum(source.size for source in sources) - before, spent)

        figures = [look(f"the first look, at {batches * BATCH:,} certificates")]
        idle, revoked = [], []
        for number in range(rounds):
            endpoint.call("evm_mine")
            idle.append(look("a block in which nothing changed"))
            chain.writer.revoke(ca, [2 + number])
            revoked.append(look("a block with a revocation: two words changed"))
        return [*figures, _middle(idle), _middle(revoked)]


def polls_section(figures: Sequence[PollFigure]) -> list[str]:
    """Return the lines of the report."""
    return [
        "## Following a domain",
        "",
        (
            "One look at the newest block through three endpoints of which two must agree, proven:"
            " bytes of JSON that all of them answered, and processor time of this process, which"
            " here counts those bytes, too."
        ),
        "",
        "| look | bytes | processor |",
        "|---|---|---|",
        *(f"| {f.what} | {f.size:,} | {f.cpu * 1000:.1f} ms |" for f in figures),
        "",
    ]


def _middle(figures: Sequence[PollFigure]) -> PollFigure:
    return PollFigure(
        figures[0].what,
        round(statistics.median(figure.size for figure in figures)),
        statistics.median(figure.cpu for figure in figures),
    )
