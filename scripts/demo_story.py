"""Play the story for people: progress, the time of each step, and a table of what was proven.

`scripts/demo` runs this after `scripts/setup`. Everything that is started is stopped: at the end,
on failure, and on Ctrl-C or SIGTERM. Exit status: 0 all proven, 1 something was not, 130 or 143
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.players import Direction, Story, open_story
from scripts.stage import StepFailed
from scripts.story import STEPS, Step

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants this to end; not an Exception, so that nothing on the way swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupt(number: int, _: FrameType | None) -> None:
    """Turn the first signal into an orderly end."""
    ignore_signals()
    raise Interrupted(number)


def ignore_signals() -> None:
    """Let nothing cut short what stops everything.

    By a handler that does nothing rather than SIG_IGN, which our children would inherit.
    """
    for number in STOPPING_SIGNALS:
        signal.signal(number, lambda *_: None)


def play(story: Story, console: Console) -> dict[str, float]:
    """Play all steps; return the seconds that each took.

    Raises:
        StepFailed: One did not go as told.
    """
    times: dict[str, float] = {}
    for number, step in enumerate(STEPS, start=1):
        started = time.monotonic()
        with announced(console, number, step):
            step.play(story)
        times[step.name] = time.monotonic() - started
        place = f"{number:2}/{len(STEPS)}"
        took = f"[dim]{times[step.name]:5.1f} s[/]"
        console.print(f"[green]✓[/] {place}  {step.title:<56} {took}")
        if step.name == "init" and not story.uses_ipfs:
            console.print(no_ipfs_panel())
        if step.name == "deploy":
            console.print(f"         domain id [cyan]{story.domain}[/]", soft_wrap=True)
    return times


@contextlib.contextmanager
def announced(console: Console, number: int, step: Step) -> Iterator[None]:
    """Show that a step is under way: a spinner for people, a line for a log."""
    if console.is_terminal:
        with console.status(f"{number:2}/{len(STEPS)}  {step.title}"):
            yield
    else:
        console.print(f"… {number:2}/{len(STEPS)}  {step.name}")
        yield


def no_ipfs_panel() -> Panel:
    """Return the loud word that this run shows less than it should."""
    return Panel(
        "There is no IPFS node on this machine: Kubo (`ipfs`) was neither found nor could be got.\n"
        "The demo goes on with dpki's directory store: the same CIDs, but nothing travels.\n"
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


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "--optimism", action="store_true", help="play on a chain with OP-stack rules"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the folder of the play for a look"
    )
    return parser.parse_args()


def main() -> int:
    """Play, and tell how it went."""
    arguments = parse_arguments()
    console = Console(soft_wrap=False)
    for number in STOPPING_SIGNALS:
        signal.signal(number, interrupt)
    started = time.monotonic()
    try:
        with open_story(optimism=arguments.optimism, ipfs=False, keep=arguments.keep) as story:
            try:
                play(story, console)
            except StepFailed as failure:
                console.print("[bold red]The story did not go as told.[/]")
                console.print(escape(str(failure)), soft_wrap=True, highlight=False)
                return 1
            finally:
                ignore_signals()
                console.print("[dim]stopping everything that was started …[/]")
            console.print(proof_table(story))
            facts = "   ".join(
                f"{name}: {value}" for name, value in story.facts.items() if name != "domain"
            )
            took = f"{time.monotonic() - started:.0f} s"
            console.print(f"[bold green]All proven[/] in {took}.   [dim]{facts}[/]")
    except Interrupted as interrupted:
        console.print("[yellow]Interrupted;[/] everything that was started is stopped.")
        return 128 + interrupted.number
    if not story.uses_ipfs:
        console.print(no_ipfs_panel())
    if arguments.keep:
        console.print(f"the play's folder: {story.stage.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
