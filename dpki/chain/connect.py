"""From a list of endpoints to one that answers for a trust domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.errors import ConfigError, CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.model import DomainId


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
        raise ConfigError("no RPC endpoint is configured", hint="name one with --rpc URL")
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
