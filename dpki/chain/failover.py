"""Endpoints of which one is believed, and the next one when that fails.

For a quorum of one: whoever asks trusts the endpoint. All it does is not to depend on one server's
being up. Which endpoint it is changes only when one fails, so that what is read together comes from
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.quorum import Evidence, Fault
from dpki.chain.rpc import Call, Reader, RpcError
from dpki.chain.standings import Standings
from dpki.errors import ConfigError, CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.model import DomainId

Answer = TypeVar("Answer")


class Failover:
    """The first of several endpoints that answers for a trust domain. A `Reader`.

    Args:
        sources: The endpoints, the preferred one first. Whoever made them closes them.
        clock: Seconds, for how long endpoints are asked last.
        standings: How the endpoints have behaved so far; None for no record, by `clock`.

    Attributes:
        domain: The domain, as the endpoint that is asked shows it.

    Raises:
        WrongDomain: Every endpoint is on another chain.
        DomainNotShown: The only endpoint does not show the domain.
        EndpointUnavailable: None answered for it; the message names each with its reason.
        ConfigError: There is none to try.
    """

    def __init__(
        self,
        sources: Sequence[Reader],
        domain_id: DomainId,
        clock: Callable[[], float] = time.monotonic,
        standings: Standings | None = None,
    ) -> None:
        if not sources:
            raise ConfigError("no RPC endpoint is configured", hint="name one with --rpc URL")
        self._sources = tuple(sources)
        self._domain_id = domain_id
        self._standings = standings or Standings([source.name for source in sources], clock)
        self._current, self.domain = self._find(self._standings.order())

    @property
    def name(self) -> str:
        """Return the name of the endpoint that is asked."""
        return self._sources[self._current].name

    def evidence(self) -> Evidence:
        """Return what stands behind the answers: one endpoint's word."""
        return Evidence(len(self._sources), 1, aside=self._standings.aside())

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        return self._ask(lambda source: source.call(method, params))

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in their order; see `Reader.batch`."""
        return self._ask(lambda source: source.batch(calls))

    def _ask(self, ask: Callable[[Reader], Answer]) -> Answer:
        try:
            answer = ask(self._sources[self._current])
        except RpcError:
            # A question that is refused may be put differently; callers know how.
            raise
        except EndpointUnavailable as error:
            self._standings.punish(self._current, Fault.SILENT)
            order = self._standings.order()
            try:
                self._current, self.domain = self._find([p for p in order if p != self._current])
            except (CouldNotCheck, WrongDomain):
                raise error from None
            return ask(self._sources[self._current])
        self._standings.forgive(self._current)
        return answer

    def _find(self, order: Sequence[int]) -> tuple[int, Domain]:
        """Return the first endpoint that answers for the domain, and the domain."""
        failures: list[CouldNotCheck | WrongDomain] = []
        for place in order:
            try:
                return place, fetch_domain(self._sources[place], self._domain_id)
            except (CouldNotCheck, WrongDomain) as error:
                is_other = isinstance(error, WrongDomain)
                self._standings.punish(place, Fault.OTHER_CHAIN if is_other else Fault.SILENT)
                failures.append(error)
        if not failures:
            raise EndpointUnavailable("there is no other endpoint", hint="name more of them")
        if len(failures) == 1:
            raise failures[0]
        reasons = "; ".join(error.message for error in failures)
        hint = failures[0].hint
        if all(isinstance(error, WrongDomain) for error in failures):
            raise WrongDomain(f"no endpoint holds this trust domain: {reasons}", hint=hint)
        raise EndpointUnavailable(
            f"no endpoint answered for this trust domain: {reasons}", hint=hint
        )
