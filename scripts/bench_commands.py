"""How long each command takes to start, and `dpki verify` from cold and from warm."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpki.cli.tree import grow
from scripts.players import open_story
from scripts.stage import dpki_command
from scripts.story import STEPS


@dataclass(frozen=True)
class CommandFigure:
    """Median seconds of one thing, and of how many runs."""

    what: str
    seconds: float
    runs: int


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    command = command or grow()
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


def measure_commands(rounds: int = 5) -> list[CommandFigure]:
    """Time every command's start, in turn, so that a busy moment hits all alike."""
    paths = list(commands())
    seconds: dict[tuple[str, ...], list[float]] = {path: [] for path in paths}
    for _ in range(rounds):
        for path in paths:
            seconds[path].append(_run([*path, "--help"]))
    return [_figure(f"dpki {' '.join(path)}", seconds[path]) for path in paths]


def measure_verify(rounds: int = 5) -> list[CommandFigure]:
    """Time `dpki verify` against a chain on loopback, with its proof and by the chain's events."""
    last = [step.name for step in STEPS].index("login")
    with open_story() as story, tempfile.TemporaryDirectory() as folder:
        for step in STEPS[: last + 1]:
            step.play(story)
        key = story.make_key(story.laptop / "bench-verify")
        story.issue_user(key, "bench")
        certificate = Path(f"{key}-cert.pub")
        bare = Path(shutil.copy(certificate, Path(folder) / "bare-cert.pub"))
        chain = ["--domain", story.domain, "--rpc", story.rpc]
        shown = ["verify", str(certificate), *chain]
        # One node under five names: the cost of asking five, without that of a slow network.
        five = [word for number in range(5) for word in ("--rpc", f"{story.rpc}/?name={number}")]
        agreed = ["verify", str(certificate), "--domain", story.domain, *five]
        cold: list[float] = []
        cold_proven: list[float] = []
        warm, proven = [], []
        for number in range(rounds):
            for words, found in ((shown, cold), (agreed, cold_proven)):
                empty = str(Path(folder) / f"empty-{len(words)}-{number}")
                found.append(_run(words, {"PYTHONPYCACHEPREFIX": empty}))
        for _ in range(rounds):
            warm.append(_run(shown))
            proven.append(_run(agreed))
        searched = [_run(["verify", str(bare), *chain]) for _ in range(rounds)]
    return [
        _figure("`dpki verify`, cold: Python compiles every module first", cold),
        _figure("`dpki verify`, cold, 3 of 5 endpoints agree, proven", cold_proven),
        _figure("`dpki verify`, warm", warm),
        _figure("`dpki verify`, warm, 3 of 5 endpoints agree and the state is proven", proven),
        _figure("`dpki verify`, warm, without the proof file: by the chain's events", searched),
    ]


def commands_section(
    starts: Sequence[CommandFigure], verifications: Sequence[CommandFigure]
) -> list[str]:
    """Return the report's part about commands."""
    return [
        "## Commands",
        "",
        (
            "From the start of the process to its end, medians. A command's start is its `--help`:"
            " what everybody waits for before it does anything. Cold is with no compiled module on"
            " disk, as after an installation; the chain is on loopback."
        ),
        "",
        "| what | median | runs |",
        "|---|---:|---:|",
        *(f"| `{f.what}` starts | {f.seconds:.3f} s | {f.runs} |" for f in starts),
        *(f"| {f.what} | {f.seconds:.3f} s | {f.runs} |" for f in verifications),
        "",
    ]


def _figure(what: str, seconds: Sequence[float]) -> CommandFigure:
    return CommandFigure(what, statistics.median(seconds), len(seconds))


def _run(words: Sequence[str], more: Mapping[str, str] | None = None) -> float:
    started = time.perf_counter()
    subprocess.run(
        [dpki_command(), *words],
        check=True,
        env=os.environ | dict(more or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started
