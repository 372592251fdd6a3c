"""How alerts get to people: a command of theirs, or a webhook. One that fails is tried again."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from dpki.audit.sentry import Memory
from dpki.errors import DpkiError
from dpki.http import Deadline, HttpClient, TransferFailed

PATIENCE = timedelta(seconds=30)
"""How long one alert may take to be delivered."""

PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a way is tried again after it failed: twice as long each time."""

_ANSWER_LIMIT = 65_536


class Way(Protocol):
    """Takes alerts."""

    @property
    def name(self) -> str:
        """Return what it is called in the watch's state; never a secret."""
        ...

    def send(self, document: Mapping[str, object]) -> None:
        """Deliver an alert.

        Raises:
            DpkiError: It was not taken.
        """
        ...


@dataclass(frozen=True)
class Command:
    """A program of one's own: the alert is its standard input, as JSON; no shell is asked.

    Attributes:
        words: The program and its arguments.
    """

    words: tuple[str, ...]
    name: str = "command"

    def send(self, document: Mapping[str, object]) -> None:
        """Run the program; it took the alert when its exit status is 0."""
        try:
            done = subprocess.run(
                self.words,
                input=json.dumps(document, ensure_ascii=False).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE.total_seconds(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DpkiError(
                f"the command took longer than {PATIENCE.total_seconds():g} s"
            ) from error
        except OSError as error:
            raise DpkiError(f"the command could not be run: {error.strerror}") from error
        if done.returncode:
            raise DpkiError(f"the command ended with exit status {done.returncode}")


@dataclass(frozen=True)
class Webhook:
    """A server of somebody's: the alert is posted to it as JSON.

    Attributes:
        url: May hold a secret, and is never shown.
    """

    url: str = field(repr=False)
    http: HttpClient = field(default_factory=HttpClient, repr=False)
    name: str = "webhook"

    def send(self, document: Mapping[str, object]) -> None:
        """Post the alert; it was taken when the answer's status is 2xx."""
        try:
            answer = self.http.request(
                "POST",
                self.url,
                headers={"Content-Type": "application/json"},
                content=json.dumps(document, ensure_ascii=False).encode(),
                deadline=Deadline(PATIENCE),
                limit=_ANSWER_LIMIT,
            )
        except TransferFailed as error:
            raise DpkiError(f"the webhook: {error.message}") from error
        if answer.status // 100 != 2:
            raise DpkiError(f"the webhook answered HTTP status {answer.status}")


@dataclass
class Postman:
    """Delivers what a watch owes, oldest first, and waits after a failure, way by way."""

    memory: Memory
    ways: Sequence[Way]
    clock: Callable[[], float] = time.monotonic
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def deliver(self) -> list[str]:
        """Deliver what can be, and return what failed, in words."""
        failed = []
        for way in self.ways:
            count, until = self._failures.get(way.name, (0, 0.0))
            if self.clock() < until:
                continue
            try:
                for owed in self.memory.owed(way.name):
                    way.send(owed.document)
                    self.memory.taken(owed)
                self._failures.pop(way.name, None)
            except DpkiError as error:
                pause = min(PAUSE * 2.0**count, LONGEST_PAUSE)
                self._failures[way.name] = (min(count + 1, 16), self.clock() + pause)
                failed.append(error.message)
        return failed
