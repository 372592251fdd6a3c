"""`dpki watchdog`: who looks at what a CA issued, and confirms it or objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import DryRunOption, HomeOption, JsonOption, PassphraseOption, example
from dpki.cli.output import Output
from dpki.cli.spending import spends

app = typer.Typer(no_args_is_help=True)

CaArgument = Annotated[str, typer.Argument(metavar="CA", help="The CA's local name, or its id.")]
SerialArgument = Annotated[
    int, typer.Argument(metavar="SERIAL", min=1, help="Where the batch begins.")
]


@app.command("keys", epilog=example("dpki watchdog keys"))
def keys(
    passphrase: PassphraseOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Make a watchdog's key. Prints what names it.

    The wallet signs what it says; this key reads the certificates that operators show it. An
    existing one is kept.
    """
    from dpki.cli.watchdog_work import make_keys

    make_keys(Output(json=json), home, passphrase=passphrase)


@app.command(
    "run",
    epilog=example("dpki watchdog run", "dpki watchdog run --once --sign-only ~/confirmations"),
)
@spends
def run(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Between two looks.")
    ] = "30s",
    sign_only: Annotated[
        Path | None,
        typer.Option(
            "--sign-only",
            metavar="FOLDER",
            help="Send nothing: write signed confirmations, for dpki watchdog relay.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Look at every new batch, and confirm or object.

    Of each CA that this account watches. A batch is confirmed when its certificates are the
    anchored ones, signed by the CA, and allowed by this home's profile of the CA; where one is not
    allowed, the watchdog objects. What can't be looked at is told, and tried again.
    """
    from dpki.cli.watchdog_work import watch
    from dpki.config.durations import parse_duration

    watch(
        Output(json=json),
        home,
        once=once,
        interval=parse_duration(interval),
        folder=sign_only,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("list", epilog=example("dpki watchdog list"))
def list_(home: HomeOption = None, json: JsonOption = False) -> None:
    """List what has to be confirmed, and who did."""
    from dpki.cli.reviewing import list_all

    list_all(Output(json=json), home)


@app.command("confirm", epilog=example("dpki watchdog confirm users 17"))
@spends
def confirm(
    ca: CaArgument,
    serial: SerialArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Confirm one batch, after looking at it."""
    from dpki.cli.watchdog_work import judge_one

    judge_one(
        Output(json=json),
        home,
        ca,
        serial,
        objection=None,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command(
    "object", epilog=example("dpki watchdog object users 17 --reason 'nobody asked for it'")
)
@spends
def object_(
    ca: CaArgument,
    serial: SerialArgument,
    reason: Annotated[
        str, typer.Option("--reason", help="For people, on chain: at most 256 bytes.")
    ],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Object to one batch; that can't be undone."""
    from dpki.cli.watchdog_work import judge_one

    judge_one(
        Output(json=json),
        home,
        ca,
        serial,
        objection=reason,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("relay", epilog=example("dpki watchdog relay ~/confirmations/*.confirmation"))
@spends
def relay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="What --sign-only wrote.")],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Bring watchdogs' signed confirmations.

    For anybody with a wallet; those that do not count are skipped.
    """
    from dpki.cli.reviewing import relay_all

    relay_all(Output(json=json), home, files, dry_run=dry_run, passphrase=passphrase)


@app.command(
    "request", epilog=example("dpki watchdog request", "dpki watchdog request gate-1.handover")
)
@spends
def request(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE…]", help="Handovers; default: what this home issued."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what they were shown: it got lost.")
    ] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show watchdogs what they have to confirm.

    For a CA's operator; dpki ssh issue, anchor and resume do it by themselves. Prints where the
    batches begin.
    """
    from dpki.cli.reviewing import request_all

    request_all(
        Output(json=json), home, files or [], again=again, dry_run=dry_run, passphrase=passphrase
    )
