"""What the worst day takes, by one rehearsal with and one without a successor that stands by."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from scripts.emergency import MEMBERS, WorstDay
from scripts.rehearse_story import rehearse
from scripts.stage import open_stage


def measure_worst_day() -> list[WorstDay]:
    """Play the day both ways.

    Raises:
        StepFailed: Something did not hold.
    """
    return [_play(standby=False), _play(standby=True)]


def _play(*, standby: bool) -> WorstDay:
    with open_stage() as stage:
        day = WorstDay(stage, standby=standby)
        rehearse(day, Console(file=io.StringIO()))
        return day


def worst_day_section(days: Sequence[WorstDay], today: datetime) -> list[str]:
    """Return the chapter for docs/benchmarks.md."""
    spot, standby = days
    rows = [
        f"| {part.title} | {part.seconds:.1f} s | {part.transactions or ''} |"
        f" {f'{part.gas:,}' if part.gas else ''} | {other.seconds:.1f} s |"
        f" {f'{other.gas:,}' if other.gas else ''} |"
        for part, other in zip(spot.parts, standby.parts, strict=True)
    ]
    transactions = sum(part.transactions for part in spot.parts)
    gas = [f"{sum(part.gas for part in day.parts):,}" for day in days]
    seconds = [f"{sum(part.seconds for part in day.parts):.1f} s" for day in days]
    return [
        "## The worst day",
        "",
        (
            f"`scripts/rehearse --devices {len(spot.gates)} --people {spot.people}`, and the same"
            f" with `--standby`, on {today:%Y-%m-%d}: a CA's key and its operator's wallet are"
            f" stolen, in a domain that a council of {len(MEMBERS)} governs. One machine plays"
            " everybody, one command after the other, and nobody has to be woken; the council's"
            " delay is 0, where it is a day by default, and agents run when they are told to. It"
            " is work for processors: the load average was"
            f" {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores."
        ),
        "",
        "| part | takes | transactions | gas | with a successor standing by | gas |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        f"| all of it | {seconds[0]} | {transactions} | {gas[0]} | {seconds[1]} | {gas[1]} |",
        "",
        "| after the theft | | with a successor standing by |",
        "|---|---:|---:|",
        *(
            f"| {moment} | {after:.1f} s | {standby.moments[moment]:.1f} s |"
            for moment, after in spot.moments.items()
        ),
        "",
    ]
