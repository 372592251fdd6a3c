"""`dpki ca operator | revoker | lifetime`: what the governor decides about a CA."""

from __future__ import annotations

from typing import Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    argument,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends

CaArgument = Annotated[str, typer.Argument(help="The CA's local name, or its id.")]
AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="The account.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("operator", epilog=example("dpki ca operator users 0x…"))(operator)
    app.command(
        "revoker",
        epilog=example("dpki ca revoker users 0x…", "dpki ca revoker users 0x… --remove"),
    )(revoker)
    app.command("lifetime", epilog=example("dpki ca lifetime users 12h"))(lifetime)


@spends
def operator(
    name: CaArgument,
    address: AddressArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Name another operator of a CA. Prints what is pending, else done.

    From then on that account, and no other, anchors the CA's certificates.
    """
    from dpki.cli.ca_work import find_named
    from dpki.cli.governing import carry_out
    from dpki.model import Address

    account = argument(Address.parse, address)
    carry_out(
        Output(json=json),
        home,
        lambda desk, calls: [calls.set_operator(find_named(desk, name), account)],
        dry_run=dry_run,
        passphrase=passphrase,
    )


@spends
def revoker(
    name: CaArgument,
    address: AddressArgument,
    remove: Annotated[bool, typer.Option("--remove", help="It may no longer.")] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Let an account revoke a CA's certificates, besides its operator.

    It can't issue. Prints what is pending, else done.
    """
    from dpki.cli.ca_work import find_named
    from dpki.cli.governing import carry_out
    from dpki.model import Address

    account = argument(Address.parse, address)
    carry_out(
        Output(json=json),
        home,
        lambda desk, calls: [
            calls.set_revoker(find_named(desk, name), account, allowed=not remove)
        ],
        dry_run=dry_run,
        passphrase=passphrase,
    )


@spends
def lifetime(
    name: CaArgument,
    longest: Annotated[
        str, typer.Argument(metavar="TIME", help="Longest life of a certificate: 12h, 7d.")
    ],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Change how long a CA's later certificates may live.

    Those that are out stay as they are. Prints what is pending, else done.
    """
    from dpki.cli.ca_work import find_named
    from dpki.cli.governing import carry_out
    from dpki.config.durations import parse_duration

    duration = parse_duration(longest)
    carry_out(
        Output(json=json),
        home,
        lambda desk, calls: [calls.set_maximum_lifetime(find_named(desk, name), duration)],
        dry_run=dry_run,
        passphrase=passphrase,
    )
