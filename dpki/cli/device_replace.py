"""`dpki device replace`: a new device in the place of an old one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import (
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
    """Add the command."""
    app.command(
        "replace",
        epilog=example(
            "dpki device replace gate-1 new-gate.request --dry-run",
            "dpki device replace gate-1 new-gate.request --yes",
        ),
    )(replace)


@spends
def replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The old device's local name.")],
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST", help="The request file that the new device made.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Yes, for ever.")] = False,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Retire a device, for ever, and put a new one in its place. Prints its address.

    The old one is retired first: from then on nothing of it counts, anywhere. The new one gets its
    name and labels, and certificates for the same host names, for its own keys; then the old one's
    serials are revoked too. A run that was interrupted is gone on with by the same command.
    """
    from dpki.cli.device_replace_work import replace_device

    replace_device(
        Output(json=json),
        home,
        old,
        request,
        yes=yes,
        dry_run=dry_run,
        pin=pin,
        passphrase=passphrase,
    )
