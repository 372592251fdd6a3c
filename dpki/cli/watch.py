"""`dpki watch`: be told when something of a domain changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import DomainOption, JsonOption, QuorumOption, RpcOption, example
from dpki.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "watch",
        epilog=example(
            'dpki watch --domain "$DOMAIN" --rpc https://rpc.example --journal ~/.config/dpki',
            'dpki watch --domain "$DOMAIN" --rpc https://rpc.example --once --webhook env:HOOK',
        ),
    )(watch)


def watch(
    domain: DomainOption,
    rpc: RpcOption,
    quorum: QuorumOption = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Between two looks.")
    ] = "30s",
    exec_: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run for each alert, with its JSON as standard input; no shell is asked.",
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            "--webhook",
            metavar="URL",
            help="Each alert is posted there; where the URL is a secret: env:NAME or file:PATH.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            metavar="HOME",
            help="An admin's folder: tell of what its CAs issue and its journal doesn't know.",
        ),
    ] = None,
    quiet_ca: Annotated[
        list[str] | None,
        typer.Option(
            "--quiet-ca", metavar="CA", help="An id: tell of all it issues. May be repeated."
        ),
    ] = None,
    confirmations: Annotated[
        int, typer.Option("--confirmations", min=1, help="Blocks that must stand on an event.")
    ] = 1,
    start: Annotated[
        int | None,
        typer.Option("--from", metavar="BLOCK", min=0, help="Where the first look begins."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Where it stood; default: one for each domain, in $XDG_STATE_HOME.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell of each new CA, operator, member, suspension and the like.

    Also of governors, guardians, registrars, revokers, watchdogs, watermarks, rounds, and of what
    was issued unexpectedly. A line each on standard output, JSON with --json. It goes on where it
    stood; nothing is lost while it is away, and what could not be delivered is tried again.
    """
    from dpki.cli.watch_work import Wishes, watch_domain
    from dpki.config.durations import parse_duration

    watch_domain(
        Output(json=json),
        Wishes(
            domain=domain,
            rpc=tuple(rpc),
            quorum=quorum,
            once=once,
            interval=parse_duration(interval),
            command=exec_,
            webhook=webhook,
            journal=journal,
            quiet=tuple(quiet_ca or ()),
            confirmations=confirmations,
            start=start,
            state=state,
        ),
    )
