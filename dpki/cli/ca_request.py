"""`dpki ca request | register | name`: an admin with the HSM, a governor with the wallet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli import ca_watch
from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    PinOption,
    argument,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.cli.session import Desk
    from dpki.transactions.actions import DomainCalls
    from dpki.transactions.governed import GovernanceCall


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "request",
        epilog=example(
            "dpki ca request users --kind ssh-user --operator 0x… --out users.request",
        ),
    )(request)
    app.command(
        "register",
        epilog=example(
            "dpki ca register users.request --name users --dry-run",
            "dpki ca register users.request --threshold 1 --watchdog 0x…:1:0x…",
        ),
    )(register_)
    app.command("name", epilog=example("dpki ca name users 0x…"))(name_)


def request(
    name: Annotated[
        str, typer.Argument(help="The CA's local name, and its key's label in the token.")
    ],
    kind: Annotated[
        str, typer.Option("--kind", metavar="ssh-user|ssh-host", help="What it signs.")
    ],
    operator: Annotated[
        str, typer.Option("--operator", metavar="ADDRESS", help="Is to anchor its certificates.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The request's file.")],
    key_type: Annotated[
        str, typer.Option("--key-type", metavar="p256|p384|ed25519|rsa3072", help="The key's type.")
    ] = "p256",
    max_validity: Annotated[
        str, typer.Option("--max-validity", metavar="TIME", help="Longest life of a certificate.")
    ] = "30d",
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="URI", help="Where the key is, or is made: see ca create."),
    ] = None,
    pin: PinOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ask for a CA. Prints the id that it will have.

    Its key is made in the HSM; no wallet is needed. The file holds public keys only; give it to the
    governor, who runs dpki ca register, and tell them the fingerprint.
    """
    from dpki.certificates.keys import parse_public_key, ssh_blob, ssh_fingerprint
    from dpki.cli.ca_wish import parse_wish
    from dpki.cli.keys import choose_key, say_where
    from dpki.cli.session import open_desk, token_keys
    from dpki.files import PUBLIC, write_atomic
    from dpki.issuance.authority_request import AuthorityRequest, encode_authority_request
    from dpki.issuance.registration import prepare_authority
    from dpki.model import Address

    output = Output(json=json)
    account = argument(Address.parse, operator)
    wish = parse_wish(name, kind, key_type, operator, max_validity).by(account)
    with open_desk(home) as opened:
        desk = choose_key(opened, name, key)
        keys = token_keys(desk, name, wish.key_type, pin, output)
        with output.working("making the key"):
            public_key, issuer_key = prepare_authority(keys, wish, desk.home.issuer_key(name))
        made = AuthorityRequest(
            desk.domain.id, wish.kind, public_key, issuer_key, account, wish.maximum_lifetime
        )
        desk.index.add_authority(name, made.id)
        where = say_where(output, desk, name)
    write_atomic(out.absolute(), encode_authority_request(made), mode=PUBLIC)
    shown = ssh_fingerprint(ssh_blob(parse_public_key(public_key)))
    output.say(f"its key is {shown}; tell the governor, and give them {out}: dpki ca register")
    document = {"ca": str(made.id), "name": name, "request": str(out), "fingerprint": shown}
    output.result(document | where, made.id)


@spends
def register_(
    file: Annotated[Path, typer.Argument(metavar="REQUEST", help="From dpki ca request.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The CA's local name in this home, too.")
    ] = None,
    watchdog: ca_watch.WatchdogsOption = None,
    threshold: Annotated[
        int | None,
        typer.Option("--threshold", min=1, help="With --watchdog: the weight that has to confirm."),
    ] = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Register a CA that was asked for. Prints what is pending, else done.

    For the governor. Compare the fingerprint with the admin first: by telephone, not by what
    brought the file.
    """
    from dpki.cli.governing import carry_out
    from dpki.cli.session import open_desk
    from dpki.errors import WrongContext
    from dpki.files import load_bounded
    from dpki.issuance.authority_request import REQUEST_LIMIT, parse_authority_request

    output = Output(json=json)
    named = [ca_watch.parse_watchdog(text) for text in watchdog or ()]
    if bool(named) != (threshold is not None):
        raise UsageError("--watchdog and --threshold go together", hint="give both, or neither")
    ca_watch.verify_watch([one.weight for one in named], threshold or 0)
    asked = parse_authority_request(load_bounded(file, limit=REQUEST_LIMIT))

    def plan(desk: Desk, calls: DomainCalls) -> list[GovernanceCall]:
        if asked.domain != desk.domain.id:
            raise WrongContext(f"the request is for the trust domain {asked.domain}")
        registration = calls.register_authority(
            asked.kind,
            asked.public_key,
            asked.issuer_key,
            operator=asked.operator,
            maximum_lifetime=asked.maximum_lifetime,
        )
        if threshold is None:
            return [registration]
        return [registration, calls.set_watch(asked.id, named, threshold)]

    carry_out(output, home, plan, dry_run=dry_run, passphrase=passphrase)
    if name is not None and not dry_run:
        with open_desk(home) as desk:
            desk.index.add_authority(name, asked.id)


def name_(
    name: Annotated[str, typer.Argument(help="The local name.")],
    ca: Annotated[str, typer.Argument(metavar="ID", help="The CA's id.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a CA a name here. Prints its id.

    For machines that did not make it: an operator's, a watchdog's. A profile goes by the name.
    """
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.session import open_desk
    from dpki.issuance.plan import find_ssh_authority
    from dpki.model import AuthorityId

    output = Output(json=json)
    identifier = argument(AuthorityId.parse, ca)
    with output.working("asking the chain"), open_desk(home) as desk:
        find_ssh_authority(fetch_snapshot(desk.reader, desk.domain), identifier)
        desk.index.add_authority(name, identifier)
        profile = desk.home.profile(name)
    output.say(f"its profile here: {profile}")
    output.result({"ca": str(identifier), "name": name, "profile": str(profile)}, identifier)
