"""Looking again and again until a deadline, over carriers that can only be looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from dpki.errors import TransportUnavailable
from dpki.model import Address
from dpki.transport.base import Kind, Message, Topic, looked_again

WAIT = timedelta(seconds=0.05)
MESSAGE = Message(Topic(Kind.ANSWER, Address(b"\x01" * 20)), b"x")


class Carrier:
    """Each look yields one message and, from some look on, fails after so long."""

    def __init__(self, fails_from: int, after: float) -> None:
        self._fails_from, self._after = fails_from, after
        self._looks = 0

    def look(self, _left: timedelta) -> Iterator[Message]:
        self._looks += 1
        yield MESSAGE
        if self._looks >= self._fails_from:
            time.sleep(self._after)
            raise TransportUnavailable("it did not answer in time")


def test_a_look_that_the_end_cuts_off_ends_the_waiting() -> None:
    carrier = Carrier(fails_from=2, after=WAIT.total_seconds())
    assert list(looked_again(carrier.look, WAIT, 0.01, wait=True)) == [MESSAGE]


def test_a_look_that_fails_before_the_end_is_told() -> None:
    carrier = Carrier(fails_from=2, after=0.0)
    with pytest.raises(TransportUnavailable):
        list(looked_again(carrier.look, timedelta(minutes=1), 0.01, wait=True))


@pytest.mark.parametrize("wait", [False, True])
def test_the_first_look_must_be_whole(wait: bool) -> None:
    carrier = Carrier(fails_from=1, after=WAIT.total_seconds())
    with pytest.raises(TransportUnavailable):
        list(looked_again(carrier.look, WAIT, 0.01, wait=wait))
