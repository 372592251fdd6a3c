"""docs/council.md, recomputed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.council.parameters import DAY, DEFAULTS, HOUR, Bounds, Role
from dpki.council.threshold import (
    Question,
    Rule,
    Tally,
    goes_on,
    quorums_meet,
    shared,
    slide_quorum,
    two_thirds_quorum,
)
from dpki.council.weights import freeze

PAGE = (Path(__file__).parents[3] / "docs" / "council.md").read_text()


def table(name: str) -> list[list[str]]:
    """Return the rows below a marker, without the heads."""
    found = re.search(rf"<!-- {name} -->\n\|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE)
    assert found, name
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(", ")]


def yes(text: str) -> bool:
    assert text in ("yes", "no")
    return text == "yes"


@pytest.mark.parametrize("row", table("two thirds"), ids=lambda row: row[0])
def test_what_two_thirds_ask_for(row: list[str]) -> None:
    members, quorum, common, faulty = map(int, row)
    assert quorum == two_thirds_quorum(members)
    assert common == shared(members, quorum)
    assert goes_on(members, quorum, faulty)
    assert not goes_on(members, quorum, faulty + 1)
    assert quorums_meet(members, quorum, faulty)
    everybody = Tally(100 * members, members)
    assert Question().passes(Tally(100 * quorum, quorum), everybody)
    assert not Question().passes(Tally(100 * (quorum - 1), quorum - 1), everybody)


@pytest.mark.parametrize("row", table("caps"), ids=lambda row: row[0])
def test_caps(row: list[str]) -> None:
    frozen = freeze(dict(enumerate(numbers(row[0]))), Rule.MORE_THAN_TWO_THIRDS)
    assert frozen.cap == int(row[1])
    assert [frozen.counted(seat) for seat in range(frozen.heads)] == numbers(row[2])
    assert frozen.total == int(row[3])
    assert all(3 * value < frozen.total for value in numbers(row[2]))


@pytest.mark.parametrize("row", table("slide"), ids=lambda row: f"{row[0]}-{row[1]}")
def test_when_slide_is_safe(row: list[str]) -> None:
    members, faults, quorum, common = map(int, row[:4])
    assert quorum == slide_quorum(faults)
    assert common == shared(members, quorum)
    assert yes(row[4]) is quorums_meet(members, quorum, faults)
    assert yes(row[5]) is goes_on(members, quorum, faults)
    question = Question(rule=Rule.SLIDE, faults=faults)
    everybody = Tally(100 * members, members)
    assert question.passes(Tally(100 * quorum, quorum), everybody)
    assert not question.passes(Tally(100 * quorum - 1, members), everybody)


def test_where_slide_is_safe_two_thirds_ask_for_the_same() -> None:
    for faults in range(1, 43):
        assert slide_quorum(faults) == two_thirds_quorum(3 * faults + 1)


def test_the_heavy_root_that_decides_alone_under_slide() -> None:
    weights = dict(enumerate([DEFAULTS.root.maximum] + [DEFAULTS.ordinary.minimum] * 9))
    frozen = freeze(weights, Rule.SLIDE)
    assert "T is 136.5" in PAGE
    assert slide_quorum(3) * frozen.total == 1365
    assert Question(rule=Rule.SLIDE, faults=3).passes(frozen.tally([0]), frozen.everybody)
    capped = freeze(weights, Rule.MORE_THAN_TWO_THIRDS)
    assert not Question().passes(capped.tally([0]), capped.everybody)


def test_the_published_figures() -> None:
    assert "n = 20, f = 6, T is 13 average weights" in PAGE
    assert ["20", "6", "13", "6", "no", "yes"] in table("slide")


def constants() -> Iterator[tuple[str, str]]:
    for name, value, _ in table("constants"):
        yield name.strip("`"), value


@pytest.mark.parametrize(("name", "value"), constants())
def test_each_constant_is_the_default(name: str, value: str) -> None:
    default = getattr(DEFAULTS, name)
    if isinstance(default, Bounds):
        assert numbers(value) == [default.initial, default.minimum, default.maximum]
    elif isinstance(default, Rule):
        assert value.upper() == default.name.replace("_", "")
    elif " " in value:
        count, unit = value.split()
        assert default == int(count) * {"day": DAY, "hour": HOUR}[unit.rstrip("s")]
    else:
        assert default == int(value)


def test_every_constant_is_there() -> None:
    assert [name for name, _ in constants()] == list(DEFAULTS.__dataclass_fields__)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.NONE])
def test_the_roles_have_their_weights(role: Role) -> None:
    bounds = DEFAULTS.bounds(role)
    weights = f"{bounds.initial}, {bounds.minimum}, {bounds.maximum}"
    assert re.search(rf"^\| {role.name.lower()} \|.*\| {weights} \|$", PAGE, re.MULTILINE)


def test_how_soon_a_third_would_grind_the_others_down() -> None:
    """Seven of twenty, by rounds of their own: what the majority for a rejection prevents."""
    rounds = next(
        k for k in range(100) if 7 * (100 + k * DEFAULTS.gain) > 13 * (100 - k * DEFAULTS.absent)
    )
    assert f"after {rounds} rounds" in PAGE


def test_the_reasons_hold() -> None:
    assert 5 * DEFAULTS.ordinary.initial == DEFAULTS.root.initial
    assert 2 * DEFAULTS.ordinary.maximum < DEFAULTS.root.initial
    assert DEFAULTS.intermediate.maximum < DEFAULTS.root.initial
    assert DEFAULTS.root.maximum == 3 * DEFAULTS.root.minimum
    assert (DEFAULTS.root.maximum - DEFAULTS.root.initial) // DEFAULTS.gain == 50
    assert 4 * DEFAULTS.gain < DEFAULTS.against
    assert DEFAULTS.gain < DEFAULTS.absent


def test_the_simulations_show_what_is_said_of_them() -> None:
    """Their output is the real one by `scripts/documents --check`; here what it comes to."""
    stories = re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(stories) == 4
    few, heavy, missing, slide = stories
    assert "nothing passes without a faulty member: never" in few
    assert "no more from round" in heavy
    assert "good proposals: 0 executed, 0 rejected" in missing
    assert "faulty members alone can pass anything: first in round 1" in slide
