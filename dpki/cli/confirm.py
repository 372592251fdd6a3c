"""Asking before what can't be undone: `--yes`, or the thing's name typed at a terminal."""

from __future__ import annotations

import sys

import typer

from dpki.cli.output import Output
from dpki.errors import UsageError


def verify_can_ask(name: str, doing: str, *, yes: bool) -> None:
    """Refuse, before anything is opened, what nobody could confirm.

    Args:
        doing: What it is, such as "to retire".

    Raises:
        UsageError: There is no `--yes`, and nobody at a terminal.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            f"{doing} {name} is for ever, and nobody is at a terminal to confirm it",
            hint="see what it does with --dry-run; then add --yes if that is meant",
        )


def confirm(output: Output, name: str, *, yes: bool) -> None:
    """Return if it is meant.

    Raises:
        UsageError: Something else was typed; nothing was done.
    """
    if yes:
        return
    with output.paused():
        typed = typer.prompt(f"this is for ever; type {name} to go on", err=True)
    if typed != name:
        raise UsageError("not confirmed: nothing was changed", hint=f"type the name, {name}")
