"""`dpki domain`: who governs the trust domain, who guards it, who enrols its devices."""

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
from dpki.errors import UsageError

app = typer.Typer(no_args_is_help=True)

NOBODY = "none"


@app.command("show", epilog=example("dpki domain show"))
def show(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show who governs and who guards the domain. Prints the governor."""
    from dpki.cli.session import open_desk
    from dpki.council.roles import fetch_roles

    output = Output(json=json)
    with output.working("asking the chain"), open_desk(home) as desk:
        roles = fetch_roles(desk.reader, desk.domain)
    document: dict[str, object] = {"domain": str(desk.domain.id)}
    output.say(f"domain: {desk.domain.id}")
    for name, body in (
        ("governor", roles.governor),
        ("guardian", roles.guardian),
        ("offered", roles.offered),
    ):
        output.say(f"{name}: {body or 'nobody'}")
        document[name] = body and {"address": str(body.address), "is": body.nature.value}
    output.result(document, roles.governor.address)


@app.command(
    "governor",
    epilog=example(
        "dpki domain governor 0x…          # offers the role",
        "dpki domain governor --accept     # run by the other one",
    ),
)
@spends
def governor(
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Who is to govern.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the role that is on offer.")
    ] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw the offer.")] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Offer the governor's role, or take it.

    Who has it offers it and the other one takes it, so a mistyped address loses nothing. Prints
    what is pending, else done.
    """
    from dpki.cli.governing import carry_out
    from dpki.model import Address

    if [address is not None, accept, withdraw].count(True) != 1:
        raise UsageError(
            "who is to govern?", hint="name an address, or one of --accept and --withdraw"
        )
    successor = Address.zero() if address is None else argument(Address.parse, address)
    carry_out(
        Output(json=json),
        home,
        lambda _, calls: [calls.accept_governor() if accept else calls.offer_governor(successor)],
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("guardian", epilog=example("dpki domain guardian 0x…", "dpki domain guardian none"))
@spends
def guardian(
    address: Annotated[str, typer.Argument(metavar="ADDRESS|none", help="Who is to guard.")],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Name who may suspend a CA at once, and do nothing else.

    Prints what is pending, else done.
    """
    from dpki.cli.governing import carry_out
    from dpki.model import Address

    account = Address.zero() if address == NOBODY else argument(Address.parse, address)
    carry_out(
        Output(json=json),
        home,
        lambda _, calls: [calls.set_guardian(account)],
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command(
    "registrar",
    epilog=example("dpki domain registrar 0x…", "dpki domain registrar 0x… --remove"),
)
@spends
def registrar(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The account.")],
    remove: Annotated[bool, typer.Option("--remove", help="It may no longer.")] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Let an account enrol and retire devices. Prints what is pending, else done."""
    from dpki.cli.governing import carry_out
    from dpki.model import Address

    account = argument(Address.parse, address)
    carry_out(
        Output(json=json),
        home,
        lambda _, calls: [calls.set_registrar(account, allowed=not remove)],
        dry_run=dry_run,
        passphrase=passphrase,
    )
