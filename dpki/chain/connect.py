"""From a list of endpoints to a reader of a trust domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Evidence, default_quorum
from dpki.chain.rpc import Endpoint, Reader
from dpki.errors import ConfigError, CouldNotCheck, EndpointUnavailable, UsageError, WrongDomain
from dpki.model import DomainId

_NONE_HINT = "name one with --rpc URL"


@dataclass(frozen=True)
class Connection:
    """A way to a trust domain.

    Attributes:
        evidence: Returns what stands behind everything that was read so far.
    """

    reader: Reader
    domain: Domain
    evidence: Callable[[], Evidence]


@contextmanager
def connect_agreed(
    urls: Sequence[str], domain_id: DomainId, quorum: int | None = None
) -> Iterator[Connection]:
    """Yield a reader for which `quorum` of the endpoints must agree, and the domain.

    With a quorum of one, the first endpoint that answers is trusted; see `connect`. With a larger
    one every block is agreed on, and what is in storage is proven against its hash.

    Args:
        quorum: How many must agree; None for `default_quorum`.

    Raises:
        WrongDomain: Enough endpoints are on another chain, or it does not hold the domain.
        EndpointUnavailable: Too few answered, or they don't agree; the message names each.
        UsageError: There are fewer endpoints than must agree.
        ConfigError: There is none to try.
    """
    needed = default_quorum(len(urls)) if quorum is None else quorum
    if needed == 1:
        with connect(urls, domain_id) as (reader, domain):
            yield Connection(reader, domain, lambda: Evidence(len(urls), 1))
        return
    with connect_proven(urls, domain_id, needed) as (proven, domain):
        yield Connection(proven, domain, proven.evidence)


@contextmanager
def connect_proven(
    urls: Sequence[str], domain_id: DomainId, quorum: int | None = None
) -> Iterator[tuple[ProvenReader, Domain]]:
    """Yield a reader of proven storage words, and the domain; see `connect_agreed`.

    With a quorum of one, the words are proven for a block whose hash one endpoint told.

    Raises:
        As `connect_agreed` does.
    """
    needed = default_quorum(len(urls)) if quorum is None else quorum
    if not urls:
        raise ConfigError("no RPC endpoint is configured", hint=_NONE_HINT)
    if needed > len(urls):
        raise UsageError(
            f"{needed} endpoints must agree, and there are only {len(urls)}",
            hint="name more with --rpc URL, or ask for fewer",
        )
    panel = Panel([Endpoint(url) for url in urls], needed, domain_id.chain_id)
    try:
        proven = ProvenReader(panel)
        yield proven, fetch_domain(proven, domain_id)
    finally:
        for endpoint in panel.idle():
            endpoint.close()


@contextmanager
def connect(urls: Sequence[str], domain_id: DomainId) -> Iterator[tuple[Endpoint, Domain]]:
    """Yield the first endpoint that answers for the domain, and the domain.

    Endpoints are tried in order: one that is down, or on another chain, costs its deadline and
    nothing else.

    Raises:
        WrongDomain: Every endpoint is on another chain.
        DomainNotShown: The only endpoint does not show the domain.
        EndpointUnavailable: None answered for it; the message names each with its reason.
        ConfigError: There is none to try.
    """
    if not urls:
        raise ConfigError("no RPC endpoint is configured", hint=_NONE_HINT)
    failures: list[CouldNotCheck | WrongDomain] = []
    for url in urls:
        with Endpoint(url) as endpoint:
            try:
                domain = fetch_domain(endpoint, domain_id)
            except (CouldNotCheck, WrongDomain) as error:
                failures.append(error)
                continue
            yield endpoint, domain
            return
    if len(failures) == 1:
        raise failures[0]
    reasons = "; ".join(error.message for error in failures)
    hint = failures[0].hint
    if all(isinstance(error, WrongDomain) for error in failures):
        raise WrongDomain(f"no endpoint holds this trust domain: {reasons}", hint=hint)
    raise EndpointUnavailable(f"no endpoint answered for this trust domain: {reasons}", hint=hint)
