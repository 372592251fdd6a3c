"""`dpki ssh anchor | withdraw`: an admin with the HSM and an operator with the wallet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import (
    CaOption,
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    PinOption,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "anchor",
        epilog=example("dpki ssh anchor gate-1.handover --dry-run", "dpki ssh anchor *.handover"),
    )(anchor)
    app.command("withdraw", epilog=example("dpki ssh withdraw --ca users --serial 17"))(withdraw)


@spends
def anchor(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="What dpki ssh issue --handover wrote."),
    ],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Anchor what was handed over. Prints the serials.

    The operator's part, without the HSM. Everything is checked before anything is sent: that the CA
    signed each certificate, that it meets your own profile of the CA (profiles/NAME.toml in your
    home, once the CA has a name here: dpki ca name), and that devices can fetch its bundle.
    """
    from dpki.cli.handing import anchor_all

    anchor_all(Output(json=json), home, files, dry_run=dry_run, passphrase=passphrase)


def withdraw(
    ca: CaOption,
    serial: Annotated[int, typer.Option("--serial", min=1, help="Where the batch begins.")],
    handover: Annotated[
        Path | None,
        typer.Option(
            "--handover", metavar="FOLDER", help="Write what is signed anew to files in here."
        ),
    ] = None,
    pin: PinOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give up what was handed over.

    For a batch that its operator won't anchor. What waits behind it gets new serials. Prints the
    new handover files.
    """
    from dpki.cli.handing import withdraw_one

    withdraw_one(Output(json=json), home, ca, serial, handover, pin=pin)
