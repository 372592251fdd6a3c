"""Several endpoints as one `Reader`: what enough of them agree on is the answer (claim T4).

The judgement is `quorum`'s; here is the asking. Endpoints are asked side by side, each in a thread
of its own, so that one that stalls costs the others' answers nothing: after a short patience
another is asked in its place, and it is set aside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from dpki.chain import decode
from dpki.chain.asking import Asking
from dpki.chain.comparable import block_object, comparable, written
from dpki.chain.header import header_fields
from dpki.chain.quorum import (
    FINALITY_LAG,
    LAG,
    Evidence,
    Fault,
    Tally,
    candidates,
    judge_head,
    tally,
)
from dpki.chain.recent import Recent
from dpki.chain.rpc import REVERTED, Call, Reader, RpcError, fetch_shown_block
from dpki.chain.standings import Standings
from dpki.errors import DpkiError, EndpointUnavailable, ProofInvalid, UsageError
from dpki.model import Block, Hash32

PATIENCE = timedelta(seconds=2)
"""How long endpoints may take before another is asked as well."""

BLOCKS = 256
"""Blocks that are remembered to be agreed on."""

TAGS = ("latest", "safe", "finalized")

_REVERTED = "reverted"
"""Stands for what is no JSON."""

_HINT = "wait and try again, or name more or other RPC endpoints"

Answer = TypeVar("Answer")
Source = TypeVar("Source", bound=Reader)


class Panel(Generic[Source]):
    """Endpoints of which `quorum` must agree. A `Reader`; not for several threads at once.

    It may be kept for months: what it remembers is bounded, and so are the threads that wait for an
    endpoint. One that failed has to show again which chain it serves.

    Args:
        sources: The endpoints. Whoever made them closes them.
        quorum: How many must agree, from 1.
        chain_id: The chain that they should serve; one that serves another is not listened to.
        patience: See `PATIENCE`.
        clock: Seconds, for how long endpoints are set aside.
        standings: How the endpoints have behaved so far; None for no record, by `clock`.

    Attributes:
        sources: The endpoints.
        standings: How they behave.

    Raises:
        UsageError: The quorum can't be reached.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        quorum: int,
        chain_id: int,
        *,
        patience: timedelta = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        standings: Standings | None = None,
    ) -> None:
        if not 1 <= quorum <= len(sources):
            raise UsageError(f"{quorum} of {len(sources)} endpoints can't agree")
        self.sources = tuple(sources)
        self._quorum = quorum
        self._chain_id = chain_id
        self.standings = standings or Standings([source.name for source in sources], clock)
        self._heads: dict[tuple[int, str], int] = {}
        self._on_chain: set[int] = set()
        self._agreed = Recent[Hash32, Block](BLOCKS)
        self._shown: dict[str, tuple[Hash32, dict[str, object]]] = {}
        self._asking = Asking(self.sources, patience)

    @property
    def name(self) -> str:
        """Return how many are asked."""
        return f"a panel of {len(self.sources)} RPC endpoints"

    def evidence(self, *, proven: bool, why_not: str = "") -> Evidence:
        """Return what stands behind the answers; see `Evidence`."""
        return Evidence(len(self.sources), self._quorum, proven, why_not, self.standings.aside())

    def idle(self) -> list[Source]:
        """Return the endpoints that nobody waits for any more, fit to be closed."""
        busy = self._asking.busy()
        return [source for place, source in enumerate(self.sources) if place not in busy]

    def agreed_block(self, hash: Hash32) -> Block | None:
        """Return the block of this hash, if enough endpoints agreed that it is on the chain."""
        return self._agreed.get(hash)

    def shown(self, hash: Hash32) -> list[dict[str, object]]:
        """Return what endpoints said that the header of this block holds, if it was lately."""
        return [fields for of, fields in tuple(self._shown.values()) if of == hash]

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return what enough endpoints answer; see `Reader.call`."""
        if method == "eth_getBlockByNumber" and params:
            which = params[0]
            block = (
                self._fetch_head(str(which))
                if which in TAGS
                else self._fetch_at(decode.quantity(which, self.name))
            )
            return None if block is None else block_object(block)
        (answer,) = self.batch([Call(method, params)])
        return answer

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return what enough endpoints answer to all of the questions; see `Reader.batch`."""
        if not calls:
            return []

        def ask(source: Reader) -> str:
            try:
                found = _all(source, calls)
            except RpcError as error:
                if [call.method for call in calls] == ["eth_call"] and error.is_revert:
                    return _REVERTED  # which is an answer, too
                raise
            answers = zip(calls, found, strict=True)
            told = [comparable(call, answer, source.name) for call, answer in answers]
            return written(told, source.name)

        agreed = self._vote(ask, checked=[call.method for call in calls] != ["eth_chainId"])
        if agreed == _REVERTED:
            raise RpcError(self.name, calls[0].method, REVERTED, "execution reverted")
        answers: list[object] = json.loads(agreed)
        return answers

    def any_of(self, ask: Callable[[Reader], Answer]) -> Answer:
        """Return the first answer that an endpoint gives to a question that answers itself.

        Args:
            ask: Asks one endpoint, and raises `ProofInvalid` where the answer does not hold.

        Raises:
            EndpointUnavailable: No endpoint gave one.
        """
        order = self.standings.order()
        answers, failures = self._gather(ask, order, 1, lambda answers, _: bool(answers))
        for answer in answers.values():
            # Where no answer holds, it may be the chain that is newer than we are.
            for place, failure in failures.items():
                if isinstance(failure, ProofInvalid):
                    self._punish(place, Fault.FORGED)
            return answer
        raise self._nobody("no endpoint gave an answer that holds", failures)

    def _fetch_head(self, tag: str) -> Block | None:
        """Return the newest block, of those with the tag, that enough endpoints agree on."""

        def ask(source: Reader) -> Block | None:
            return self._fetch(source, tag)

        def is_heard(answers: Mapping[int, object], is_late: bool) -> bool:
            return is_late and len(answers) >= self._quorum

        order = self.standings.order()
        good = [place for place in order if not self.standings.is_aside(place)]
        first = good if len(good) >= self._quorum else order
        heads, failures = self._gather(ask, first, len(first), is_heard)
        agreed = self._agree(tag, heads, failures)
        if agreed is None and len(heads) + len(failures) < len(order):
            rest = [place for place in order if place not in heads and place not in failures]
            # The last resort: honest ones may be slow, and are waited for.
            more, later = self._gather(ask, rest, len(rest), lambda _, __: False)
            heads |= more
            failures |= later
            agreed = self._agree(tag, heads, failures)
        if agreed is not None:
            return self._remember(agreed)
        known = {place: head for place, head in heads.items() if head is not None}
        if len(heads) - len(known) >= self._quorum:
            return None
        raise self._nobody(f"no {self._quorum} endpoints agree on the {tag} block", failures, known)

    def _agree(
        self, tag: str, heads: Mapping[int, Block | None], failures: dict[int, DpkiError]
    ) -> Block | None:
        """Return the newest block that enough of the endpoints with these heads have."""
        known = {place: head for place, head in heads.items() if head is not None}
        for number in candidates((head.number for head in known.values()), self._quorum):
            votes = {place: head for place, head in known.items() if head.number == number}
            later = [place for place, head in known.items() if head.number > number]
            result, votes, more = self._confirm(number, votes, later)
            failures |= more
            if result.is_settled:
                self._judge(tag, known, result.agreed[0], result.dissenters)
                return result.agreed[0]
            if result.agreed:
                raise self._split(number, votes)
        return None

    def _confirm(
        self, number: int, heads: Mapping[int, Block], later: Sequence[int]
    ) -> tuple[Tally[Block], dict[int, Block], dict[int, DpkiError]]:
        """Count who has which block of a number: as their head, and those with a later one."""

        def ask(source: Reader) -> Block | None:
            return self._fetch(source, number)

        def together(answers: Mapping[int, Block | None]) -> dict[int, Block]:
            return {**heads, **{p: block for p, block in answers.items() if block is not None}}

        def is_enough(answers: Mapping[int, Block | None], is_late: bool) -> bool:
            return is_late and tally(together(answers), self._quorum).is_settled

        found, failures = self._gather(ask, later, len(later), is_enough)
        votes = together(found)
        return tally(votes, self._quorum), votes, failures

    def _fetch_at(self, number: int) -> Block | None:
        """Return the block of a number, if enough endpoints agree on it."""

        def ask(source: Reader) -> Block | None:
            return self._fetch(source, number)

        block = self._vote(ask)
        return None if block is None else self._remember(block)

    def _fetch(self, source: Reader, which: int | str) -> Block | None:
        shown = fetch_shown_block(source, which)
        if shown is None:
            return None
        block, answer = shown
        self._shown[source.name] = (block.hash, header_fields(answer))
        return block

    def _remember(self, block: Block) -> Block:
        return self._agreed.put(block.hash, block)

    def _judge(
        self, tag: str, heads: Mapping[int, Block], agreed: Block, dissenters: Container[int]
    ) -> None:
        """Set aside whoever claimed something else; forgive the others."""
        for place, head in heads.items():
            lag = LAG if tag == "latest" else FINALITY_LAG
            fault = judge_head(head, agreed, self._heads.get((place, tag)), lag)
            if place in dissenters:
                fault = Fault.FORKED
            if fault is None or fault is Fault.BACKWARDS:
                # A chain that began anew is not held against it for ever.
                self._heads[place, tag] = head.number
            if fault is None:
                self.standings.forgive(place)
            else:
                self._punish(place, fault)

    def _vote(self, ask: Callable[[Reader], Answer], *, checked: bool = True) -> Answer:
        """Return the answer that enough endpoints give."""
        quorum = self._quorum
        votes, failures = self._gather(
            ask,
            self.standings.order(),
            quorum,
            lambda answers, _: tally(answers, quorum).is_settled,
            checked=checked,
        )
        result = tally(votes, quorum)
        if result.is_settled:
            for place in votes:
                if place in result.dissenters:
                    self._punish(place, Fault.CONTRADICTS)
                else:
                    self.standings.forgive(place)
            return result.agreed[0]
        for failure in failures.values():
            # A question that is refused may be put differently; callers know how.
            if isinstance(failure, RpcError):
                raise failure
        names = ", ".join(self.sources[place].name for place in votes)
        told = f"; they contradict each other: {names}" if len(votes) > 1 else ""
        raise self._nobody(f"no {quorum} endpoints agree{told}", failures)

    def _gather(
        self,
        ask: Callable[[Reader], Answer],
        order: Sequence[int],
        first: int,
        is_enough: Callable[[dict[int, Answer], bool], bool],
        *,
        checked: bool = True,
    ) -> tuple[dict[int, Answer], dict[int, DpkiError]]:
        """Ask endpoints side by side until it is enough, or none is left.

        Args:
            checked: Whether an endpoint must have shown to be on the right chain.

        Returns:
            Answers and failures by endpoint; for the rest, see `Asking.gather`.
        """

        def at(place: int) -> Answer:
            if checked:
                self._verify_chain(place)
            return ask(self.sources[place])

        asked = self._asking.gather(at, order, first, is_enough)
        for place, failure in asked.failures.items():
            self._note(place, failure)
        for place in asked.late:
            self._punish(place, Fault.SLOW)
        return asked.answers, asked.failures

    def _verify_chain(self, place: int) -> None:
        if place in self._on_chain:
            return
        source = self.sources[place]
        try:
            actual = decode.quantity(source.call("eth_chainId"), source.name)
        except RpcError as error:
            # There is no other way to put this question.
            raise EndpointUnavailable(error.message, hint=error.hint) from error
        if actual != self._chain_id:
            raise _OtherChain(f"{source.name} serves chain {actual}", hint=_HINT)
        self._on_chain.add(place)

    def _note(self, place: int, failure: DpkiError) -> None:
        if isinstance(failure, _OtherChain):
            self._punish(place, Fault.OTHER_CHAIN)
        elif not isinstance(failure, RpcError | ProofInvalid):
            self._punish(place, Fault.SILENT)

    def _punish(self, place: int, fault: Fault) -> None:
        # Whatever stands behind its name may be another now.
        self._on_chain.discard(place)
        self.standings.punish(place, fault)

    def _split(self, number: int, votes: Mapping[int, object]) -> EndpointUnavailable:
        names = ", ".join(self.sources[place].name for place in votes)
        return EndpointUnavailable(
            f"endpoints are split over block {number}, with enough on either side: {names}",
            hint="a larger quorum can't be split; and at least one side is on a fork or lying",
        )

    def _nobody(
        self,
        what: str,
        failures: Mapping[int, DpkiError],
        heads: Mapping[int, Block] | None = None,
    ) -> EndpointUnavailable:
        said = [error.message for _, error in sorted(failures.items())]
        said += [
            f"{self.sources[place].name} shows block {head.number} {head.hash}"
            for place, head in sorted((heads or {}).items())
        ]
        return EndpointUnavailable("; ".join([what, *dict.fromkeys(said)]), hint=_HINT)


class _OtherChain(EndpointUnavailable):
    """An endpoint serves another chain."""


def _all(source: Reader, calls: Sequence[Call]) -> list[object]:
    if len(calls) == 1:
        return [source.call(calls[0].method, calls[0].params)]
    return source.batch(calls)
