"""The story on Anvil with OP-stack rules, as on Lisk."""

from __future__ import annotations

import pytest

from scripts.story import STEPS, Step
from tests.e2e.conftest import Playing

OPTIMISM = True
OP_STACK_FORKS = {"Canyon", "Ecotone", "Fjord", "Granite", "Holocene", "Isthmus", "Jovian", "Karst"}
"""Names that only OP-stack chains have (https://specs.optimism.io/protocol/superchain-upgrades.html)."""


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_step(playing: Playing, step: Step) -> None:
    playing.reach(step)


def test_the_chain_has_op_stack_rules(playing: Playing) -> None:
    playing.reach(STEPS[1])
    story = playing.story
    assert story.stage.rpc(story.rpc, "anvil_nodeInfo")["hardFork"] in OP_STACK_FORKS
