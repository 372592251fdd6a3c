"""Rehearse the worst day: a CA key and its operator's wallet are stolen.

Prints what each part took. `scripts/rehearse` runs this after `scripts/setup`. Everything that is
started is stopped: at the end, on failure, and on Ctrl-C or SIGTERM. Exit status: 0 all held, 1
something did not, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.emergency import WorstDay
from scripts.showing import (
    Interrupted,
    heed_signals,
    ignore_signals,
    no_ipfs_panel,
    play,
    proof_table,
)
from scripts.stage import StepFailed, open_stage
from scripts.story import Step
from scripts.worst_day import BEFORE, DAY

MOST = 20
"""Devices, and people, at most: each device is an sshd on this machine."""


def rehearse(day: WorstDay, console: Console) -> None:
    """Set the stage, and play the day.

    Raises:
        StepFailed: Something did not hold.
    """

    def note(step: Step[Any], seconds: float) -> None:
        day.account_for(step, seconds)
        if step.name == "init" and not day.uses_ipfs:
            console.print(no_ipfs_panel())

    console.print("[bold]Before it happens[/]")
    play(day, BEFORE, console, note)
    day.parts.clear()
    console.print("[bold]The day[/]")
    play(day, DAY, console, note)


def part_table(day: WorstDay) -> Table:
    """Return the table of what each part of the day took."""
    table = Table(title="What each part took", title_justify="left", expand=False)
    table.add_column("part")
    for head in ("seconds", "transactions", "gas"):
        table.add_column(head, justify="right")
    for part in day.parts:
        cost = (str(part.transactions), f"{part.gas:,}") if part.transactions else ("-", "-")
        table.add_row(escape(part.title), f"{part.seconds:.1f}", *cost)
    table.add_section()
    sums = (sum(part.transactions for part in day.parts), sum(part.gas for part in day.parts))
    seconds = sum(part.seconds for part in day.parts)
    table.add_row("all of it", f"{seconds:.1f}", str(sums[0]), f"{sums[1]:,}")
    table.add_section()
    for moment, after in day.moments.items():
        table.add_row(f"[bold]{moment}[/], after the theft", f"{after:.1f}", "", "")
    return table


def describe(day: WorstDay) -> dict[str, object]:
    """Return what was seen, as plain data."""
    return {
        "held": True,
        "devices": len(day.gates),
        "people": day.people,
        "standby": day.standby,
        "facts": day.facts,
        "parts": [asdict(part) for part in day.parts],
        "moments": day.moments,
        "proofs": [asdict(proof) | {"direction": proof.direction.value} for proof in day.proofs],
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/rehearse", description=__doc__.splitlines()[0] if __doc__ else None
    )
    several = range(1, MOST + 1)
    parser.add_argument(
        "--devices", type=int, default=3, choices=several, metavar="N", help="how many; default 3"
    )
    parser.add_argument(
        "--people", type=int, default=3, choices=several, metavar="N", help="how many; default 3"
    )
    parser.add_argument(
        "--standby", action="store_true", help="the CA's successor is registered beforehand"
    )
    parser.add_argument(
        "--optimism", action="store_true", help="play on a chain with OP-stack rules"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the folder of the play for a look"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def main() -> int:
    """Rehearse, and tell how it went."""
    arguments = parse_arguments()
    console = Console(soft_wrap=False, stderr=arguments.json)
    heed_signals()
    started = time.monotonic()
    try:
        with open_stage(keep=arguments.keep) as stage:
            if arguments.keep:
                console.print(f"the play's folder: {stage.directory}", soft_wrap=True)
            day = WorstDay(
                stage,
                optimism=arguments.optimism,
                ipfs=False,
                devices=arguments.devices,
                people=arguments.people,
                standby=arguments.standby,
            )
            try:
                rehearse(day, console)
            except StepFailed as failure:
                console.print("[bold red]It does not hold.[/]")
                console.print(escape(str(failure)), soft_wrap=True, highlight=False)
                if arguments.json:
                    print(json.dumps({"held": False, "failure": str(failure)}))
                return 1
            finally:
                ignore_signals()
                console.print("[dim]stopping everything that was started …[/]")
    except Interrupted as interrupted:
        console.print("[yellow]Interrupted;[/] everything that was started is stopped.")
        return 128 + interrupted.number
    console.print(proof_table(day))
    console.print(part_table(day))
    console.print(f"[bold green]All held[/], in {time.monotonic() - started:.0f} s.")
    if arguments.json:
        print(json.dumps(describe(day), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
