"""Playing steps for people: progress, the time of each, what was proven, and an orderly end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from scripts.players import Direction, Story
from scripts.story import Step

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Player = TypeVar("Player", bound=Story)


class Interrupted(BaseException):
    """Somebody wants this to end; not an Exception, so that nothing on the way swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def heed_signals() -> None:
    """Turn the first signal into an orderly end."""
    for number in STOPPING_SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    ignore_signals()
    raise Interrupted(number)


def ignore_signals() -> None:
    """Let nothing cut short what stops everything.

    By a handler that does nothing rather than SIG_IGN, which our children would inherit.
    """
    for number in STOPPING_SIGNALS:
        signal.signal(number, lambda *_: None)


def play(
    story: Player,
    steps: Sequence[Step[Player]],
    console: Console,
    after: Callable[[Step[Any], float], None],
) -> None:
    """Play all steps.

    Args:
        after: Told of each step that was played, with the seconds that it took.

    Raises:
        StepFailed: One did not go as told.
    """
    for number, step in enumerate(steps, start=1):
        started, place = time.monotonic(), f"{number:2}/{len(steps)}"
        with announced(console, place, step.name, step.title):
            step.play(story)
        took = time.monotonic() - started
        console.print(f"[green]✓[/] {place}  {step.title:<56} [dim]{took:5.1f} s[/]")
        after(step, took)


@contextlib.contextmanager
def announced(console: Console, place: str, name: str, title: str) -> Iterator[None]:
    """Show that a step is under way: a spinner for people, a line for a log."""
    if console.is_terminal:
        with console.status(f"{place}  {title}"):
            yield
    else:
        console.print(f"… {place}  {name}")
        yield


def no_ipfs_panel() -> Panel:
    """Return the loud word that this run shows less than it should."""
    return Panel(
        "There is no IPFS node on this machine: Kubo (`ipfs`) was neither found nor could be got.\n"
        "This goes on with dpki's directory store: the same CIDs, but nothing travels.\n"
        "Install Kubo, or run scripts/setup where it can be fetched, to see the whole story.",
        title="NO IPFS",
        border_style="bold red",
        style="red",
    )


def proof_table(story: Story) -> Table:
    """Return the table of what was proven: a row a claim, both directions side by side."""
    table = Table(title="What was proven", title_justify="left", show_lines=True, expand=False)
    table.add_column("claim", ratio=3)
    table.add_column("seen to hold", style="green", ratio=4)
    table.add_column("seen refused", style="yellow", ratio=4)
    claims = dict.fromkeys(proof.claim for proof in story.proofs)
    for claim in claims:
        cells = []
        for direction in Direction:
            seen = [
                p.evidence for p in story.proofs if p.claim == claim and p.direction is direction
            ]
            cells.append("\n".join(f"• {escape(evidence)}" for evidence in seen))
        table.add_row(escape(claim), *cells)
    return table
