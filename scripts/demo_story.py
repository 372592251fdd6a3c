"""Play the story for people: progress, the time of each step, and a table of what was proven.

`scripts/demo` runs this after `scripts/setup`. Everything that is started is stopped: at the end,
on failure, and on Ctrl-C or SIGTERM. Exit status: 0 all proven, 1 something was not, 130 or 143
interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.players import Story, open_story
from scripts.showing import (
    Interrupted,
    heed_signals,
    ignore_signals,
    no_ipfs_panel,
    play,
    proof_table,
)
from scripts.stage import StepFailed
from scripts.story import STEPS, Step


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


def tell_more(story: Story, step: Step[Story], console: Console) -> None:
    """Show what came of some of the steps."""
    if step.name == "init" and not story.uses_ipfs:
        console.print(no_ipfs_panel())
    if step.name == "deploy":
        console.print(f"         domain id [cyan]{story.domain}[/]", soft_wrap=True)


def main() -> int:
    """Play, and tell how it went."""
    arguments = parse_arguments()
    console = Console(soft_wrap=False)
    heed_signals()
    started = time.monotonic()
    try:
        with open_story(optimism=arguments.optimism, ipfs=False, keep=arguments.keep) as story:
            try:
                play(story, STEPS, console, lambda step, _: tell_more(story, step, console))
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
