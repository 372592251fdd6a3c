"""The story as tests: each step is one, in order, on real processes that surely end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from scripts.players import Story, open_story
from scripts.story import STEPS, Step

Player = TypeVar("Player", bound=Story)


class Playing(Generic[Player]):
    """One playing of a story; asked for a step, it first plays whatever comes before it.

    Args:
        after: Told of each step that was played, with the seconds that it took.
    """

    def __init__(
        self,
        story: Player,
        steps: Sequence[Step[Player]],
        after: Callable[[Step[Player], float], None] = lambda step, seconds: None,
    ) -> None:
        self.story = story
        self._steps = steps
        self._after = after
        self._played = 0
        self._broken: str | None = None

    def reach(self, step: Step[Player]) -> None:
        """Play up to and including `step`; a step that was played is not played again."""
        wanted = self._steps.index(step) + 1
        while self._played < wanted:
            if self._broken is not None:
                pytest.fail(f"the story broke earlier, at the step {self._broken!r}", pytrace=False)
            current, started = self._steps[self._played], time.monotonic()
            self._broken = current.name
            current.play(self.story)
            self._after(current, time.monotonic() - started)
            self._broken = None
            self._played += 1


@pytest.fixture(scope="module")
def playing(request: pytest.FixtureRequest) -> Iterator[Playing[Story]]:
    """A stage of the module's own; OP-stack rules where the module says OPTIMISM = True."""
    optimism = getattr(request.module, "OPTIMISM", False)
    with open_story(optimism=optimism, ipfs=True) as story:
        yield Playing(story, STEPS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may pass through, as sshd's login command must.

    Not `tmp_path`: each start of pytest closes the folder that those of all runs lie in.
    """
    with tempfile.TemporaryDirectory(prefix="dpki-e2e-") as made:
        path = Path(made).resolve()
        path.chmod(0o755)
        yield path
