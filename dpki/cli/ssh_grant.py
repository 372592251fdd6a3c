"""`dpki ssh grant`: access to one account of one device for a while."""

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
    ReasonOption,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "grant",
        epilog=example(
            "dpki ssh grant --device pump-17 --account ops --for 5m --key ~/.ssh/id_ed25519.pub",
            "dpki ssh grant --device pump-17 --account ops --key eve.pub --identity eve \\",
            "  --end-sessions --hold --reason TICKET-17",
        ),
    )(grant)


@spends
def grant(
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="One device: its name, or its address.")
    ],
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="The local account on it.")
    ],
    key: Annotated[Path, typer.Option("--key", help="The technician's public key (FILE.pub).")],
    lifetime: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, such as 5m or 2h.")
    ] = "5m",
    ca: Annotated[
        str | None,
        typer.Option("--ca", metavar="NAME", help="The user CA; needed where there are several."),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", metavar="WHO", help="The holder, for logs; default: the key's comment."
        ),
    ] = None,
    permit: Annotated[
        list[str] | None,
        typer.Option(
            "--permit",
            metavar="EXTENSION",
            help="More than a terminal, such as permit-port-forwarding; may be repeated.",
        ),
    ] = None,
    end_sessions: Annotated[
        bool,
        typer.Option(
            "--end-sessions", help="At the end, the device's agent ends what is still open."
        ),
    ] = False,
    hold: Annotated[
        bool,
        typer.Option("--hold", help="Stay until the end; when interrupted before, revoke."),
    ] = False,
    reason: ReasonOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The certificate's file; default: beside the key."),
    ] = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Let somebody into one account of one device for a while. Prints the certificate's file.

    Nothing is changed on the device: a CA that it already lets into the account may open it there
    alone. The certificate opens nothing else, forwards nothing unless --permit says so, and ends by
    itself or by dpki ssh revoke. At a terminal the time that is left is shown; Ctrl-C ends the
    showing, and with --hold the access.
    """
    from dpki.cli.granting import GrantWish, grant_access

    wish = GrantWish(
        device=device,
        account=account,
        key=key,
        lifetime=lifetime,
        ca=ca,
        identity=identity,
        permits=tuple(permit or ()),
        ends_sessions=end_sessions,
        hold=hold,
        reason=reason or "",
        out=out,
    )
    output = Output(json=json)
    grant_access(output, home, wish, pin=pin, passphrase=passphrase, dry_run=dry_run)
