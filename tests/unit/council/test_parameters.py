"""The rules that parameters have to meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dpki.council.parameters import DEFAULTS, Bounds
from dpki.council.threshold import Rule
from dpki.errors import UsageError


def test_the_defaults_meet_them() -> None:
    DEFAULTS.check()
    DEFAULTS.check_reachable(members=1, roots=1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"root": Bounds(100, 0, 150)}, "root: 1 <= minimum"),
        ({"ordinary": Bounds(4, 5, 40)}, "ordinary: "),
        ({"intermediate": Bounds(91, 20, 90)}, "intermediate: "),
        ({"root": Bounds(100, 50, 65_536)}, "root: "),
        ({"gain": 3}, "against must be at least twice gain"),
        ({"gain": 2, "absent": 1}, "absent must be at least gain"),
        ({"seniority": 2}, "seniority must be at most gain"),
        ({"longest": 86_400}, "longest must exceed delay"),
        ({"epoch": 0}, "epoch must be at least"),
        ({"faults": 1}, "faults belongs to the Slide rule"),
        ({"rule": Rule.SLIDE, "faults": 256}, "faults must be from 0 to 255"),
        ({"cooling": -1}, "cooling must be from 0"),
        ({"senior_after": 2**32}, "senior_after must be from 0"),
    ],
)
def test_each_rule_is_told_by_name(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        replace(DEFAULTS, **changed).check()
    assert caught.value.exit_status == 2
    assert "docs/council.md" in caught.value.hint


@pytest.mark.parametrize(
    ("rule", "faults", "members", "roots", "words"),
    [
        (Rule.MORE_THAN_TWO_THIRDS, 0, 0, 0, "1 to 128 members"),
        (Rule.MORE_THAN_TWO_THIRDS, 0, 129, 1, "1 to 128 members"),
        (Rule.MORE_THAN_TWO_THIRDS, 0, 4, 0, "needs a root"),
        (Rule.SLIDE, 2, 4, 1, "5 average weights"),
    ],
)
def test_a_council_that_could_never_decide_is_refused(
    rule: Rule, faults: int, members: int, roots: int, words: str
) -> None:
    parameters = replace(DEFAULTS, rule=rule, faults=faults)
    with pytest.raises(UsageError, match=words):
        parameters.check_reachable(members, roots)


def test_slide_reaches_with_just_enough_members() -> None:
    replace(DEFAULTS, rule=Rule.SLIDE, faults=2).check_reachable(5, 1)


def test_a_weight_is_clamped_to_its_role() -> None:
    bounds = Bounds(100, 50, 150)
    assert [bounds.clamp(weight) for weight in (-3, 49, 50, 99, 150, 151)] == [
        50,
        50,
        50,
        99,
        150,
        150,
    ]
