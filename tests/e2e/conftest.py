"""The story as tests: each step is one, in order, on real processes that surely end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.players import Story, open_story
from scripts.story import STEPS, Step


class Playing:
    """One playing of the story; asked for a step, it first plays whatever comes before it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._played = 0
        self._broken: str | None = None

    def reach(self, step: Step[Story]) -> None:
        """Play up to and including `step`; a step that was played is not played again."""
        wanted = STEPS.index(step) + 1
        while self._played < wanted:
            if self._broken is not None:
                pytest.fail(f"the story broke earlier, at the step {self._broken!r}", pytrace=False)
            current = STEPS[self._played]
            self._broken = current.name
            current.play(self.story)
            self._broken = None
            self._played += 1


@pytest.fixture(scope="module")
def playing(request: pytest.FixtureRequest) -> Iterator[Playing]:
    """A stage of the module's own; OP-stack rules where the module says OPTIMISM = True."""
    optimism = getattr(request.module, "OPTIMISM", False)
    with open_story(optimism=optimism, ipfs=True) as story:
        yield Playing(story)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may pass through, as sshd's login command must.

    Not `tmp_path`: each start of pytest closes the folder that those of all runs lie in.
    """
    with tempfile.TemporaryDirectory(prefix="dpki-e2e-") as made:
        path = Path(made).resolve()
        path.chmod(0o755)
        yield path
