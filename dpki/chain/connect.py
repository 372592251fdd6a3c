"""From a list of endpoints to a reader of a trust domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.failover import Failover
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Evidence, default_quorum
from dpki.chain.rpc import Endpoint, Reader
from dpki.chain.standings import Standings, StandingsFile
from dpki.errors import UsageError
from dpki.model import DomainId


@dataclass(frozen=True)
class Connection:
    """A way to a trust domain.

    It may be kept for months: endpoints that fail are set aside and asked again, connections are
    opened again, and what is remembered is bounded. One thread at a time may use it.

    Attributes:
        evidence: Returns what stands behind what was read since the newest block was last asked
            for.
    """

    reader: Reader
    domain: Domain
    evidence: Callable[[], Evidence]


@contextmanager
def connect_agreed(
    urls: Sequence[str],
    domain_id: DomainId,
    quorum: int | None = None,
    file: StandingsFile | None = None,
) -> Iterator[Connection]:
    """Yield a reader for which `quorum` of the endpoints must agree, and the domain.

    With a quorum of one, the first endpoint that answers is trusted; see `connect`. With a larger
    one every block is agreed on, and what is in storage is proven against its hash.

    Args:
        quorum: How many must agree; None for `default_quorum`.
        file: Where it is kept how endpoints behave; None for the user's.

    Raises:
        WrongDomain: Enough endpoints are on another chain, or it does not hold the domain.
        EndpointUnavailable: Too few answered, or they don't agree; the message names each.
        UsageError: There are fewer endpoints than must agree.
        ConfigError: There is none to try.
    """
    needed = choose_quorum(urls, quorum)
    if needed == 1:
        with connect(urls, domain_id, file) as (reader, domain):
            yield Connection(reader, domain, reader.evidence)
        return
    with open_panel(urls, needed, domain_id.chain_id, file) as panel:
        proven = ProvenReader(panel)
        yield Connection(proven, fetch_domain(proven, domain_id), proven.evidence)


def choose_quorum(urls: Sequence[str], quorum: int | None) -> int:
    """Return how many of the endpoints must agree: what was asked for, or the default."""
    return default_quorum(len(urls)) if quorum is None else quorum


@contextmanager
def open_panel(
    urls: Sequence[str], quorum: int, chain_id: int, file: StandingsFile | None = None
) -> Iterator[Panel[Endpoint]]:
    """Yield a panel of endpoints of which `quorum` must agree.

    Args:
        file: Where it is kept how endpoints behave; None for the user's.

    Raises:
        UsageError: There are fewer endpoints than must agree.
    """
    if quorum > len(urls):
        raise UsageError(
            f"{quorum} endpoints must agree, and there are only {len(urls)}",
            hint="name more with --rpc URL, or ask for fewer",
        )
    endpoints = [Endpoint(url) for url in urls]
    panel = Panel(endpoints, quorum, chain_id, standings=_standings(urls, endpoints, file))
    try:
        yield panel
    finally:
        for endpoint in panel.idle():
            endpoint.close()


@contextmanager
def connect(
    urls: Sequence[str], domain_id: DomainId, file: StandingsFile | None = None
) -> Iterator[tuple[Failover, Domain]]:
    """Yield a reader that believes the first endpoint that answers for the domain, and the domain.

    Endpoints are tried in order: one that is down, or on another chain, costs its deadline and
    nothing else. When it fails later, the next takes its place.

    Args:
        file: Where it is kept how endpoints behave; None for the user's.

    Raises:
        WrongDomain: Every endpoint is on another chain.
        DomainNotShown: The only endpoint does not show the domain.
        EndpointUnavailable: None answered for it; the message names each with its reason.
        ConfigError: There is none to try.
    """
    with ExitStack() as stack:
        endpoints = [stack.enter_context(Endpoint(url)) for url in urls]
        reader = Failover(endpoints, domain_id, standings=_standings(urls, endpoints, file))
        yield reader, reader.domain


def _standings(
    urls: Sequence[str], endpoints: Sequence[Endpoint], file: StandingsFile | None
) -> Standings:
    names = [endpoint.name for endpoint in endpoints]
    return Standings(names, urls=urls, file=file or StandingsFile.of_user())
