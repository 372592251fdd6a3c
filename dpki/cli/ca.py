"""`dpki ca`: certificate authorities, their keys in the HSM, their names on chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli import ca_profile, ca_request, ca_roles, ca_watch
from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    PinOption,
    YesOption,
    example,
)
from dpki.cli.output import Output, say_rehearsal
from dpki.cli.spending import spends

if TYPE_CHECKING:
    from dpki.chain.snapshot import Authority

app = typer.Typer(no_args_is_help=True)
app.add_typer(ca_profile.app)
ca_request.register(app)
ca_watch.register(app)
ca_roles.register(app)


NameArgument = Annotated[
    str, typer.Argument(help="The CA's local name, and its key's label in the token.")
]


StateArgument = Annotated[str, typer.Argument(help="The CA's local name, or its id.")]


@app.command(
    "create",
    epilog=example(
        "dpki ca create users --kind ssh-user --key-type p256 --max-validity 7d",
        "dpki ca create hosts --kind ssh-host --key-type ed25519",
    ),
)
@spends
def create(
    name: NameArgument,
    kind: Annotated[
        str, typer.Option("--kind", metavar="ssh-user|ssh-host", help="What it signs.")
    ],
    key_type: Annotated[
        str, typer.Option("--key-type", metavar="p256|p384|ed25519|rsa3072", help="The key's type.")
    ] = "p256",
    operator: Annotated[
        str | None,
        typer.Option(
            "--operator", metavar="ADDRESS", help="Anchors its certificates; default: you."
        ),
    ] = None,
    max_validity: Annotated[
        str, typer.Option("--max-validity", metavar="TIME", help="Longest life of a certificate.")
    ] = "30d",
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="URI",
            help="Where the key is, or is made: pkcs11:…, or file:/PATH (weaker); default: the"
            " token, by the CA's name.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a CA, its key in the HSM. Prints its id.

    The key is made in the token, never to leave it, and the CA is registered on chain.
    """
    from dpki.cli.ca_wish import parse_wish
    from dpki.cli.governing import describe_governed, open_governance, say_governed
    from dpki.cli.keys import choose_key, say_where
    from dpki.cli.session import open_desk, token_keys
    from dpki.issuance.registration import create_authority, rehearse_authority

    output = Output(json=json)
    typed = parse_wish(name, kind, key_type, operator, max_validity)
    with open_desk(home) as opened:
        desk = choose_key(opened, name, key)
        governance = open_governance(desk, passphrase, output)
        wish = typed.by(governance.account)
        if dry_run:
            rehearsal = rehearse_authority(governance, wish)
            say_rehearsal(output, rehearsal, f"make a key and register {wish.kind.label} CA {name}")
            return
        keys = token_keys(desk, name, wish.key_type, pin, output)
        issuer_key = desk.home.issuer_key(name)
        with output.working("registering the CA"):
            ca, governed = create_authority(
                desk.reader, governance, desk.index, keys, wish, issuer_key
            )
    say_governed(output, governed)
    where = say_where(output, desk, name)
    when = "" if governed.pending is None else " once that is executed"
    output.say(f"CA {name} signs {wish.kind.label} certificates{when}")
    output.result({"ca": str(ca), "name": name, **where, **describe_governed(governed)}, ca)


@app.command("list", epilog=example("dpki ca list"))
def list_(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the CAs, as they stand on chain."""
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.keys import describe_key
    from dpki.cli.session import open_desk

    output = Output(json=json)
    with output.working("asking the chain"), open_desk(home) as desk:
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        names = {ca: name for name, ca in desk.index.authorities().items()}
    described = [
        _describe(a, names.get(a.id)) | describe_key(desk, names.get(a.id))
        for a in snapshot.authorities.values()
    ]
    columns = (
        *("name", "kind", "state", "next_serial", "revoked", "maximum_validity", "protection"),
        "ca",
    )
    output.table(columns, [[row[column] for column in columns] for row in described])
    output.result({"authorities": described, "block": snapshot.block.number})


@app.command("show", epilog=example("dpki ca show users"))
def show(name: NameArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show all about one CA. Prints its public key for OpenSSH."""
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.ca_work import describe_one, describe_watch, find_named, say_live, say_watch
    from dpki.cli.keys import describe_key
    from dpki.cli.session import open_desk
    from dpki.issuance.plan import find_ssh_authority

    output = Output(json=json)
    with output.working("asking the chain"), open_desk(home) as desk:
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        authority = find_ssh_authority(snapshot, find_named(desk, name))
        document = _describe(authority, name) | describe_key(desk, name)
        more, census = describe_one(desk, authority, snapshot)
        watch = describe_watch(desk, authority, snapshot)
    for key, value in (document | more).items():
        output.say(f"{key}: {', '.join(value) or '-' if isinstance(value, list) else value}")
    say_watch(output, authority, watch)
    live = say_live(output, census)
    output.result(document | more | watch | live, more["public_key"])


@app.command(
    "rotate",
    epilog=example(
        "dpki ca rotate users users-2027",
        "dpki ca close users --yes    # once everybody has a certificate of the new one",
    ),
)
@spends
def rotate(
    old: Annotated[str, typer.Argument(help="The CA that is to be succeeded.")],
    new: Annotated[str, typer.Argument(help="The new CA's name, and its key's label.")],
    key_type: Annotated[
        str | None,
        typer.Option("--key-type", metavar="TYPE", help="The new key's; default: as the old."),
    ] = None,
    operator: Annotated[
        str | None, typer.Option("--operator", metavar="ADDRESS", help="Default: the old CA's.")
    ] = None,
    max_validity: Annotated[
        str | None, typer.Option("--max-validity", metavar="TIME", help="Default: the old CA's.")
    ] = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a CA's successor, beside it. Prints its id.

    The new CA is registered to succeed the old one, and says what to do next. Both count until you
    close the old one; what that has issued counts until it expires.
    """
    from dpki.cli.ca_work import Renewal, make_successor

    renewal = Renewal.parse(new, key_type, operator, max_validity)
    make_successor(
        Output(json=json), home, old, renewal, dry_run=dry_run, pin=pin, passphrase=passphrase
    )


@app.command("close", epilog=example("dpki ca close users --dry-run", "dpki ca close users --yes"))
@spends
def close(
    name: StateArgument,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Let a CA issue no more, for ever. Prints its state.

    What it has issued counts until it expires: the end of a planned rotation.
    """
    _change("close", name, yes=yes, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


@app.command("suspend", epilog=example("dpki ca suspend users"))
@spends
def suspend(
    name: StateArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make nothing of a CA count, until lifted. Prints its state.

    For the governor or the guardian, at the first suspicion.
    """
    _change("suspend", name, yes=True, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


@app.command("lift", epilog=example("dpki ca lift users"))
@spends
def lift(
    name: StateArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """End a CA's suspension. Prints its state."""
    _change("lift", name, yes=True, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


@app.command(
    "retire", epilog=example("dpki ca retire users --dry-run", "dpki ca retire users --yes")
)
@spends
def retire(
    name: StateArgument,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """End a CA and all that it issued, for ever. Prints its state."""
    _change("retire", name, yes=yes, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


def _change(
    word: str,
    name: str,
    *,
    yes: bool,
    dry_run: bool,
    passphrase: str | None,
    home: Path | None,
    json: bool,
) -> None:
    from dpki.cli.ca_work import change_state
    from dpki.cli.confirm import verify_can_ask
    from dpki.issuance.lifecycle import Change

    change = Change(word)
    if change.is_for_ever and not dry_run:
        verify_can_ask(name, f"to {word}", yes=yes)
    change_state(
        Output(json=json), home, name, change, yes=yes, dry_run=dry_run, passphrase=passphrase
    )


def _describe(authority: Authority, name: str | None) -> dict[str, object]:
    from dpki.config.durations import format_duration

    return {
        "name": name or "-",
        "ca": str(authority.id),
        "kind": authority.kind.label,
        "state": authority.state.label,
        "operator": str(authority.operator),
        "next_serial": authority.next_serial,
        "revoked": authority.revoked_count,
        "revoked_below": authority.revoked_below,
        "maximum_validity": format_duration(authority.maximum_lifetime),
    }
