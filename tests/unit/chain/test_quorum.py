"""Who is believed and who is set aside: judgement only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpki.chain.quorum import (
    LAG,
    LEAP,
    LONGEST_PENALTY,
    PENALTY,
    REORG,
    Evidence,
    Fault,
    Standing,
    candidates,
    default_quorum,
    judge_head,
    preference,
    tally,
)
from dpki.model import Block, Hash32

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def block(number: int, *, fork: int = 0, late: timedelta = timedelta(0)) -> Block:
    return Block(number, Hash32(bytes([fork]) + number.to_bytes(31)), NOW + late)


@pytest.mark.parametrize(
    ("votes", "quorum", "agreed", "dissenters"),
    [
        ("aaa", 2, ["a"], ()),
        ("aab", 2, ["a"], (2,)),
        ("baa", 2, ["a"], (0,)),
        ("ab", 2, [], ()),
        ("aabb", 2, ["a", "b"], ()),
        ("", 1, [], ()),
        ("a", 1, ["a"], ()),
    ],
)
def test_votes(votes: str, quorum: int, agreed: list[str], dissenters: tuple[int, ...]) -> None:
    result = tally(dict(enumerate(votes)), quorum)
    assert list(result.agreed) == agreed
    assert result.dissenters == dissenters
    assert result.is_settled == (len(agreed) == 1)


@pytest.mark.parametrize(
    ("heads", "quorum", "expected"),
    [
        ([7, 7, 7], 2, [7]),
        ([9, 8, 7], 2, [8, 7]),
        ([10**9, 8, 7], 2, [8, 7]),
        ([8, 7, 0], 2, [7, 0]),
        ([8], 2, []),
        ([], 1, []),
    ],
)
def test_where_to_look_for_agreement(heads: list[int], quorum: int, expected: list[int]) -> None:
    assert candidates(heads, quorum) == expected


@given(st.data())
def test_liars_neither_raise_nor_hide_the_head(data: st.DataObject) -> None:
    """Whatever fewer than k claim: k honest heads bound what is looked at from both sides."""
    quorum = data.draw(st.integers(1, 4))
    honest = data.draw(st.lists(st.integers(0, 100), min_size=quorum, max_size=6))
    lies = data.draw(st.lists(st.integers(0, 2**64), max_size=quorum - 1))
    found = candidates(data.draw(st.permutations(honest + lies)), quorum)
    assert found[0] <= max(honest)
    assert sorted(honest, reverse=True)[quorum - 1] in found


def test_heads() -> None:
    agreed = block(1000)
    assert judge_head(agreed, agreed, 1000) is None
    assert judge_head(block(1001, late=timedelta(seconds=2)), agreed, 999) is None
    assert judge_head(block(1000, fork=1), agreed, None) is Fault.FORKED
    late = LAG + timedelta(seconds=1)
    assert judge_head(block(10**9, late=late), agreed, None) is Fault.AHEAD
    assert judge_head(block(1001 + LEAP), agreed, None) is Fault.AHEAD
    assert judge_head(block(1000 + LEAP), agreed, None) is None
    assert judge_head(agreed, block(1001 + LEAP), None) is Fault.BEHIND
    assert judge_head(block(900, late=-late), agreed, None) is Fault.BEHIND
    assert judge_head(block(900, late=-late), agreed, None, 2 * late) is None
    assert judge_head(block(999), agreed, 999 + REORG) is None
    assert judge_head(block(999), agreed, 1000 + REORG) is Fault.BACKWARDS


def test_each_fault_sets_aside_for_longer_and_none_for_ever() -> None:
    standing, now = Standing(), 100.0
    assert not standing.is_aside(now)
    spans = []
    for _ in range(30):
        standing = standing.after(Fault.SILENT, now)
        assert standing.is_aside(now)
        spans.append(standing.until - now)
        now = standing.until
        assert not standing.is_aside(now)
    assert spans[:3] == [PENALTY.total_seconds() * factor for factor in (1, 2, 4)]
    assert spans[-1] == LONGEST_PENALTY.total_seconds()


def test_one_misbehaviour_counts_once() -> None:
    standing = Standing().after(Fault.FORKED, 0.0)
    assert standing.after(Fault.FORKED, 1.0) == standing
    assert standing.after(Fault.FORGED, 1.0).faults == 2


def test_good_answers_are_forgiven_step_by_step_once_the_time_is_served() -> None:
    standing = Standing().after(Fault.SLOW, 0.0)
    standing = standing.after(Fault.SLOW, standing.until)
    assert standing.forgiven(standing.until - 1) == standing
    once = standing.forgiven(standing.until)
    assert (once.faults, once.fault) == (1, Fault.SLOW)
    assert once.forgiven(standing.until) == Standing()
    assert Standing().forgiven(0.0) == Standing()


def test_those_set_aside_are_asked_last() -> None:
    aside = Standing().after(Fault.SLOW, 0.0)
    served = Standing(1, 0.0, Fault.SLOW)
    assert preference([aside, served, Standing()], 1.0) == [2, 1, 0]


def test_how_many_must_agree_where_nobody_said() -> None:
    assert [default_quorum(n) for n in range(1, 7)] == [1, 1, 2, 2, 3, 3]


def test_evidence_in_words() -> None:
    assert str(Evidence(3, 1)) == "trusting one endpoint"
    assert Evidence(3, 1).level == "trusted"
    proven, reduced = Evidence(3, 2, proven=True), Evidence(3, 2, why_not="x", aside=("a: b",))
    assert str(proven).startswith("proven: 2 of 3")
    assert str(reduced).startswith("reduced: 2 of 3")
    assert reduced.to_json() == {
        "level": "reduced",
        "said": str(reduced),
        "endpoints": 3,
        "quorum": 2,
        "why_reduced": "x",
        "set_aside": ["a: b"],
        "witnesses": None,
    }
    assert proven.to_json()["why_reduced"] is None


def test_evidence_of_witnesses_in_words() -> None:
    signed = "2 of 3 witnesses signed block 7"
    instead = Evidence(3, 0, proven=True, signed=signed)
    assert str(instead) == f"proven: {signed}, its state is proven"
    assert instead.level == "proven"
    assert instead.to_json()["witnesses"] == signed
    beside = Evidence(3, 2, proven=True, signed=signed)
    assert str(beside).startswith("proven: 2 of 3 endpoints agree")
    assert str(beside).endswith(f"; {signed}")
