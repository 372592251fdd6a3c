"""Putting a question to several endpoints side by side, each in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from dpki.chain.rpc import Reader
from dpki.errors import DpkiError, EndpointUnavailable
from dpki.http import Deadline

ANSWER = timedelta(seconds=30)
"""How long one question may take, whomever it is put to. It bounds what has no deadline of its own:
the resolution of names."""

UNANSWERED = 4
"""Questions that one endpoint may owe an answer to before it is asked no more for now."""

_HINT = "wait and try again, or name more or other RPC endpoints"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Failed:
    error: DpkiError


@dataclass(frozen=True)
class Asked(Generic[Answer]):
    """What came of a question.

    Attributes:
        answers: By place.
        failures: By place.
        late: Places that had not answered when patience was over, nor since.
    """

    answers: dict[int, Answer]
    failures: dict[int, DpkiError]
    late: set[int]


class Asking:
    """Threads that wait for endpoints; few for each, however long one stays silent.

    Args:
        sources: The endpoints.
        patience: How long they may take before another is asked as well.
    """

    def __init__(self, sources: Sequence[Reader], patience: timedelta) -> None:
        self._sources = tuple(sources)
        self._patience = patience.total_seconds()
        self._workers: list[tuple[int, threading.Thread]] = []

    def busy(self) -> set[int]:
        """Return the places of endpoints that somebody still waits for."""
        for _, worker in self._workers:
            # One that has answered is about to end.
            worker.join(timeout=0.05)
        return {place for place, worker in self._workers if worker.is_alive()}

    def gather(
        self,
        ask: Callable[[int], Answer],
        order: Sequence[int],
        first: int,
        is_enough: Callable[[dict[int, Answer], bool], bool],
    ) -> Asked[Answer]:
        """Ask endpoints side by side until it is enough, or none is left.

        Args:
            ask: Asks the endpoint at a place.
            order: Whom to ask, best first.
            first: How many to ask at once; each failure, each silence of `patience`, and each
                disagreement brings in one more.
            is_enough: From the answers, and whether patience was over, to whether to stop.
        """
        inbox: queue.SimpleQueue[tuple[int, Answer | _Failed]] = queue.SimpleQueue()

        def work(place: int) -> None:
            answer: Answer | _Failed = _Failed(EndpointUnavailable("the question was not put"))
            try:
                answer = ask(place)
            except DpkiError as error:
                answer = _Failed(error)
            finally:
                inbox.put((place, answer))

        def start(count: int) -> None:
            for place in waiting[:count]:
                if sum(owed == place for owed, _ in self._workers) >= UNANSWERED:
                    silent = self._silent(place, "has yet to answer earlier ones")
                    inbox.put((place, _Failed(silent)))
                    continue
                # A daemon: one that stalls must not hold up the end of the program.
                worker = threading.Thread(target=work, args=(place,), daemon=True)
                worker.start()
                self._workers.append((place, worker))
            pending.update(waiting[:count])
            del waiting[:count]

        self._workers = [(place, one) for place, one in self._workers if one.is_alive()]
        waiting, pending, late = list(order), set[int](), set[int]()
        answers: dict[int, Answer] = {}
        failures: dict[int, DpkiError] = {}
        deadline = Deadline(ANSWER)
        start(first)
        while pending:
            try:
                place, answer = inbox.get(timeout=min(self._patience, deadline.remaining()))
            except queue.Empty:
                late |= pending
                if deadline.is_over:
                    failures |= {place: self._silent(place, "does not answer") for place in pending}
                    break
                start(1)
            else:
                pending.discard(place)
                if isinstance(answer, _Failed):
                    failures[place] = answer.error
                    start(1)
                else:
                    answers[place] = answer
            if is_enough(answers, bool(late)):
                break
            if not pending:
                start(1)
        return Asked(answers, failures, late & pending)

    def _silent(self, place: int, what: str) -> EndpointUnavailable:
        return EndpointUnavailable(f"{self._sources[place].name} {what}", hint=_HINT)
