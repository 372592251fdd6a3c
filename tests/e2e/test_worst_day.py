"""The worst day: each step is a test, on real processes; and what the command says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.emergency import WorstDay
from scripts.players import Direction
from scripts.stage import open_stage
from scripts.story import Step
from scripts.worst_day import BEFORE, DAY
from tests.e2e.conftest import Playing

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = BEFORE + DAY
COMMAND = """
import sys
from scripts import rehearse_story
from scripts.players import require
from scripts.story import Step

rehearse_story.BEFORE = (Step("all", "all is well", lambda day: None),)
rehearse_story.DAY = (Step("theft", "the thief", lambda day: require({holds}, "he is still in")),)
sys.argv = ["rehearse", "--json"]
sys.exit(rehearse_story.main())
"""


@pytest.fixture(scope="module")
def day() -> Iterator[Playing[WorstDay]]:
    with open_stage() as stage:
        story = WorstDay(stage, ipfs=True, devices=2, people=2)
        yield Playing(story, STEPS, story.account_for)


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_step(day: Playing[WorstDay], step: Step[WorstDay]) -> None:
    day.reach(step)


def test_what_it_took_and_what_was_seen(day: Playing[WorstDay]) -> None:
    day.reach(STEPS[-1])
    story = day.story
    parts = {part.name: part for part in story.parts}
    moments = ["suspended on chain", "thief out of every device", "retired for ever"]
    assert list(story.moments) == [*moments, "everybody back"]
    assert list(story.moments.values()) == sorted(story.moments.values())
    # Two members' alarm: opened, voted for twice, executed. Each decision: opened, voted for by
    # its proposer, executed with everybody else's signatures. One batch for all people.
    sent = {name: part.transactions for name, part in parts.items()}
    assert (sent["suspended"], sent["retired"], sent["replaced"], sent["roles"]) == (4, 3, 3, 3)
    assert (sent["theft"], sent["reissued"], sent["refused"]) == (1, 1, 0)
    assert all(part.gas > 21_000 * part.transactions for part in parts.values() if part.gas)
    for direction in Direction:
        assert len({proof.claim for proof in story.proofs if proof.direction is direction}) == 3


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_the_command_says_whether_it_held(folder: Path, holds: bool, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(holds=holds)],
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    found = json.loads(done.stdout)
    assert found["held"] is holds
    assert found.get("failure") == (None if holds else "he is still in")
    assert ("All held" if holds else "It does not hold") in done.stderr
    assert list(folder.iterdir()) == []
