"""`dpki device token | tokens | watch`: for the admin, devices that ask by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, PassphraseOption, example
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "token",
        epilog=example(
            "dpki device token --name gate-1 --for 24h", "dpki device token --fleet gates >token"
        ),
    )(give)
    app.command(
        "tokens",
        epilog=example("dpki device tokens", "dpki device tokens --cancel 0123456789abcdef…"),
    )(list_tokens)
    app.command(
        "watch",
        epilog=example("dpki device watch", "dpki device watch /media/stick --once --dry-run"),
    )(watch)


def give(
    lifetime: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long it is good, such as 8h or 30d.")
    ] = "24h",
    name: Annotated[
        str | None,
        typer.Option("--name", help="What its device is called here; default: a name of its own."),
    ] = None,
    fleet: Annotated[
        str | None, typer.Option("--fleet", metavar="NAME", help="The fleet that it belongs to.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="To be remembered; may be repeated."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a one-time token for one device. Prints it, once: it is a secret.

    The device asks with it (`dpki device init --token`), and `dpki device watch` enrols it. The
    token itself is never sent and not kept here.
    """
    from dpki.cli.device_token_work import give_token

    give_token(Output(json=json), home, lifetime, name, fleet, label or ())


def list_tokens(
    cancel: Annotated[
        list[str] | None,
        typer.Option("--cancel", metavar="ID", help="Let it expire now; may be repeated."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List one-time tokens and what became of each.

    Cancels some first, where that is asked for.
    """
    from dpki.cli.device_token_work import show_tokens

    show_tokens(Output(json=json), home, cancel or ())


@spends
def watch(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[FROM]", help="broker, the path of a folder, or ssh://USER@HOST/FOLDER."
        ),
    ] = "broker",
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Between two looks.")
    ] = "10s",
    ssh_config: Annotated[
        Path | None, typer.Option("--ssh-config", help="OpenSSH's configuration file for ssh://.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="With --once: show who would be enrolled, and the cost; send nothing."
        ),
    ] = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol devices that ask with a one-time token.

    And answer them. Tells a line for each that is enrolled or refused. With --once it prints
    addresses, and ends with exit status 3 when something was refused (forged, altered, a token that
    was used), 5 when not everything could be looked at.
    """
    from dpki.cli.device_token_work import watch_devices
    from dpki.config.durations import parse_duration

    if dry_run and not once:
        raise UsageError("--dry-run goes with --once", hint="add --once")
    pause = None if once else parse_duration(interval)
    watch_devices(
        Output(json=json), home, place, ssh_config, passphrase, pause=pause, dry_run=dry_run
    )
