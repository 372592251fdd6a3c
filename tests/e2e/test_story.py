"""The story on Anvil."""

from __future__ import annotations

import pytest

from scripts.players import Direction, Story
from scripts.story import STEPS, Step
from tests.e2e.conftest import Playing


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_step(playing: Playing[Story], step: Step[Story]) -> None:
    playing.reach(step)


def test_every_claim_was_seen_in_both_directions(playing: Playing[Story]) -> None:
    playing.reach(STEPS[-1])
    claims = {proof.claim for proof in playing.story.proofs}
    seen = {(proof.claim, proof.direction) for proof in playing.story.proofs}
    one_sided = [c for c in claims if {(c, d) for d in Direction} - seen]
    assert claims
    assert not one_sided


def test_bundles_travelled_over_ipfs(playing: Playing[Story]) -> None:
    playing.reach(STEPS[-1])
    assert playing.story.uses_ipfs
    assert not playing.story.configuration()["store"]["directories"]
