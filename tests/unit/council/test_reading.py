"""Finding a round's block by its time, and what a round says is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dpki.chain.rpc import Call
from dpki.council.casting import RoundPlan, pending
from dpki.council.history import Choice
from dpki.council.parameters import DEFAULTS
from dpki.council.reading import _first_block_from, dump_parameters, parse_parameters
from dpki.council.rounds import Ballot, Round, State
from dpki.council.threshold import Kind, Rule, Tally
from dpki.errors import CheckedFalse
from dpki.model import Address, AuthorityId, Block, Hash32, from_timestamp
from dpki.transactions import abi
from dpki.transactions.actions import DomainCalls
from dpki.transactions.governed import Way
from tests.fakes.chain import FakeChain

CALLS = DomainCalls(FakeChain().domain)
CA = AuthorityId(b"\7" * 32)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


class Blocks:
    """A chain of blocks with these times."""

    name = "a fake"

    def __init__(self, times: Sequence[int]) -> None:
        self.times = times
        self.batches = 0

    @property
    def last(self) -> Block:
        return Block(len(self.times) - 1, Hash32.zero(), from_timestamp(self.times[-1]))

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        number = int(str(params[0]), 16)
        return {
            "number": hex(number),
            "hash": str(Hash32.zero()),
            "timestamp": hex(self.times[number]),
        }

    def batch(self, calls: Sequence[Call]) -> list[object]:
        self.batches += 1
        return [self.call(one.method, one.params) for one in calls]


@pytest.mark.parametrize("length", [1, 2, 3, 32, 33, 34, 35, 100, 1089, 1090, 5000])
@pytest.mark.parametrize("every", [1, 3], ids=["a second each", "three a second"])
def test_the_first_block_of_a_time(length: int, every: int) -> None:
    times = [1000 + 2 * (n // every) for n in range(length)]
    for wanted in {1, 1000, 1001, *times[:3], *times[-3:], times[length // 2]}:
        blocks = Blocks(times)
        expected = next((n for n, time in enumerate(times) if time >= wanted), length - 1)
        assert _first_block_from(blocks, blocks.last, from_timestamp(wanted)) == expected
        assert blocks.batches <= 4


def round_of(
    *choices: Choice, weights: Sequence[int] = (100, 100, 100, 20), **more: object
) -> Round:
    ballots = {
        (who := Address(bytes([seat + 1]) * 20)): Ballot(who, seat, weights[seat], choice, 0)
        for seat, choice in enumerate(choices)
    }
    found = Round(
        id=Hash32(b"\1" * 32),
        kind=Kind.DECISION,
        state=State.OPEN,
        is_settled=False,
        proposer=0,
        delay=timedelta(0),
        opened_at=NOW,
        deadline=NOW + timedelta(days=7),
        approved_at=None,
        ballots=ballots,
        everybody=Tally(sum(weights), len(weights)),
    )
    return replace(found, **more)  # type: ignore[arg-type]


YES, NO, NONE = Choice.APPROVE, Choice.REJECT, Choice.NONE


def test_what_is_missing() -> None:
    assert round_of(YES, NONE, NO, NONE).missing() == (
        "weight 114 more (100 of 214 needed, of 320 in all)",
        "2 more members (1 of 3 needed, of 4 in all)",
    )
    # Weight enough, heads not: the heads are told, and nothing else.
    heavy = round_of(YES, YES, NONE, NONE, weights=(100, 100, 10, 10))
    assert heavy.missing() == ("1 more member (2 of 3 needed, of 4 in all)",)
    assert round_of(YES, YES, YES, NONE).missing() == ()
    assert round_of(YES, state=State.EXPIRED).missing() == ()


def test_what_an_alarm_misses() -> None:
    alarm = round_of(YES, NONE, NONE, NONE, kind=Kind.SUSPENSION)
    assert alarm.missing() == ("weight 7 more (100 of 107 needed, of 320 in all)",)
    cooling = replace(alarm, is_cooling=True)
    assert cooling.missing() == ("weight 60 more (100 of 160 needed, of 320 in all)",)
    slide = round_of(YES, NONE, NONE, NONE, rule=Rule.SLIDE, faults=1)
    assert slide.missing() == ("weight 140 more (100 of 240 needed, of 320 in all)",)


def test_the_removed_count_no_more() -> None:
    found = round_of(YES, YES, YES, NONE)
    first = next(iter(found.ballots.values()))
    struck = replace(found, ballots=found.ballots | {first.voter: replace(first, is_struck=True)})
    assert struck.tally(YES) == Tally(200, 2)
    assert struck.missing()


def test_what_is_pending() -> None:
    waits = pending(round_of(YES, NONE, NONE, NONE))
    assert waits is not None
    assert (waits.way, waits.ready_at) == (Way.ROUND, None)
    approved = round_of(YES, YES, YES, state=State.APPROVED, approved_at=NOW, delay=timedelta(1))
    waits = pending(approved)
    assert waits is not None
    assert waits.ready_at == NOW + timedelta(days=1)
    assert not approved.is_executable(NOW)
    assert approved.is_executable(NOW + timedelta(days=1))
    assert pending(round_of(state=State.EXECUTED)) is None
    for ended in (State.REJECTED, State.EXPIRED):
        with pytest.raises(CheckedFalse, match=ended.label):
            pending(round_of(state=ended))


def test_who_may_still_vote() -> None:
    counts = {State.OPEN, State.APPROVED, State.REJECTED}
    assert {s for s in State if round_of(state=s).takes_votes} == counts
    assert not round_of(state=State.REJECTED, is_settled=True).takes_votes


def test_alarms_go_the_shorter_way_alone() -> None:
    assert RoundPlan.of([CALLS.suspend(CA)]).kind is Kind.SUSPENSION
    assert RoundPlan.of([CALLS.lift(CA)]).kind is Kind.LIFT
    assert RoundPlan.of([CALLS.close(CA)]).kind is Kind.DECISION
    assert RoundPlan.of([CALLS.suspend(CA), CALLS.suspend(CA)]).kind is Kind.DECISION


def test_parameters_there_and_back() -> None:
    function = abi.find_function("RootCouncil", "parameters")
    named = function.outputs[0].named(dump_parameters(DEFAULTS))
    assert parse_parameters(named) == DEFAULTS
