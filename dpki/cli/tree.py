"""The tree of commands, grown as far as it is needed.

To import and build all of it takes longer than most commands take to run.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer

GROUPS = {
    "devnet": "A development network with play money.",
    "wallet": "The account that signs.",
    "domain": "The trust domain and its roles.",
    "council": "Roots that decide together.",
    "timelock": "Changes that wait before they act.",
    "ca": "Certificate authorities.",
    "device": "Devices: keys, requests, enrolment.",
    "ssh": "SSH certificates.",
    "bundle": "Sealed bundles in the stores.",
    "agent": "On a device: follow the chain and set up sshd.",
    "watchdog": "Confirm what CAs issue.",
    "audit": "Check a whole domain, trusting no server.",
}
"""Words that have commands below them, and their help: each is a module here, with its `app`."""

COMMANDS = {
    "init": ("init", "Make the admin's configuration and wallet."),
    "deploy": ("deploy", "Deploy a trust domain."),
    "verify": ("verify", "Say whether a certificate is valid."),
    "watch": ("watch", "Tell of each new CA, operator, member, suspension and the like."),
    "backup": ("backup", "Back up journal, wallet, issuers' keys and configuration."),
    "restore": ("backup", "Make a home from a backup; one that is in use is never touched."),
    "doctor": ("doctor", "Find what is wrong, and say what mends it."),
    "explain": ("explain", "Explain an error: why, and what to do."),
}
"""Commands of one word: the module here that registers each, and the first line of its help."""

ABOUT_ALL = ("", "--help", "--version")
"""What may be typed first where a list of all that there is suffices."""


@cache
def grow(word: str | None = None) -> Any:
    """Return the command that runs what was typed.

    Args:
        word: What was typed first: where it is a command's or a group's name, only that is there;
            where it asks about all of them, only what is said of them; else, and by default,
            everything.
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
    if word in ABOUT_ALL:
        for name, summary in _summaries().items():
            tree.command(name, help=summary)(_leaf)
        return typer.main.get_command(tree)
    is_known = word in GROUPS or word in COMMANDS
    for name, summary in GROUPS.items():
        if not is_known or name == word:
            module = import_module(f"dpki.cli.{name}")
            tree.add_typer(module.app, name=name, help=summary)
    needed = [where for name, (where, _) in COMMANDS.items() if not is_known or name == word]
    for where in dict.fromkeys(needed):
        import_module(f"dpki.cli.{where}").register(tree)
    return typer.main.get_command(tree)


def _summaries() -> dict[str, str]:
    return {**{name: summary for name, (_, summary) in COMMANDS.items()}, **GROUPS}


def _leaf() -> None:
    """Stand in for a command that nobody runs here."""


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
