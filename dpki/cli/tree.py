"""The tree of commands, grown as far as it is needed.

To import and build all of it takes longer than most commands take to run.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer

GROUPS = (
    "devnet",
    "wallet",
    "domain",
    "council",
    "timelock",
    "ca",
    "device",
    "ssh",
    "bundle",
    "agent",
    "watchdog",
    "audit",
)
"""Words that have commands below them: each is a module here, with its `app`."""

COMMANDS = {
    "init": "init",
    "deploy": "deploy",
    "verify": "verify",
    "watch": "watch",
    "backup": "backup",
    "restore": "backup",
    "doctor": "doctor",
    "explain": "explain",
}
"""Commands of one word, and the module here that registers each."""


@cache
def grow(word: str = "") -> Any:
    """Return the command that runs what was typed.

    Args:
        word: What was typed first: where it is a command's or a group's name, only that is there,
            else everything.
    """
    tree = typer.Typer(
        name="dpki",
        help="SSH certificates from a CA in an HSM, anchored on a chain, delivered over IPFS.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Plain help: rich's takes longer to import than everything else together.
        rich_markup_mode=None,
    )
    tree.callback()(_root)
    is_known = word in GROUPS or word in COMMANDS
    for name in GROUPS:
        if not is_known or name == word:
            tree.add_typer(import_module(f"dpki.cli.{name}").app)
    modules = [module for name, module in COMMANDS.items() if not is_known or name == word]
    for module in dict.fromkeys(modules):
        import_module(f"dpki.cli.{module}").register(tree)
    return typer.main.get_command(tree)


def _show_version(value: bool) -> None:
    if value:
        from dpki import __version__

        typer.echo(f"dpki {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
