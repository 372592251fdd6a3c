"""`dpki audit key`, `publish` and `confirm`: being a witness, and asking others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import DomainOption, JsonOption, QuorumOption, RpcOption, example
from dpki.cli.output import Output

KeyOption = Annotated[
    str,
    typer.Option(
        "--key", metavar="URI", help="The witness's key: file:/PATH (encrypted), or pkcs11:…."
    ),
]
NameOption = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="What the witness signs as: audit.example.org/acme."
    ),
]
SecretOption = Annotated[
    str,
    typer.Option(
        "--passphrase",
        metavar="SPEC",
        help="Where the key's passphrase or PIN comes from: env:NAME, file:PATH, command:…,"
        " prompt.",
    ),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        metavar="KEY=URL",
        help="A witness, and where its checkpoints are (URL or folder); may be repeated.",
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Witnesses, a line each; # for comments."),
]
WitnessesOption = Annotated[
    int | None,
    typer.Option("--witnesses", min=1, metavar="K", help="How many must agree; default: all."),
]
IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="FILE",
        help="The audit's index; default: one for each domain, in $XDG_STATE_HOME.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the group `audit`."""
    app.command(
        "key",
        epilog=example(
            "dpki audit key --key file:/etc/witness/key.pem --name audit.example.org/acme"
        ),
    )(key)
    app.command(
        "publish",
        epilog=example(
            'dpki audit publish --domain "$DOMAIN" --rpc https://a.example --to /srv/www/seen \\',
            "    --key file:/etc/witness/key.pem --name audit.example.org/acme"
            " --passphrase file:/etc/witness/secret",
        ),
    )(publish)
    app.command(
        "confirm",
        epilog=example(
            'dpki audit confirm --domain "$DOMAIN" --rpc https://a.example \\',
            '    --witness "$THEIR_KEY=https://other.example/witness" --json',
        ),
    )(confirm)


def key(
    key: KeyOption,
    name: NameOption,
    passphrase: SecretOption = "prompt",
    json: JsonOption = False,
) -> None:
    """Make a witness's key. Prints what names it to others.

    An existing one is kept.
    """
    from dpki.cli.audit_witness_work import make_key

    make_key(Output(json=json), key, name, passphrase)


def publish(
    domain: DomainOption,
    rpc: RpcOption,
    key: KeyOption,
    name: NameOption,
    to: Annotated[
        Path,
        typer.Option(
            "--to", metavar="FOLDER", help="Where others read them: any web server will do."
        ),
    ],
    quorum: QuorumOption = None,
    every: Annotated[
        int,
        typer.Option(
            "--every",
            min=1,
            metavar="BLOCKS",
            help="Between two checkpoints; for all witnesses of a domain the same.",
        ),
    ] = 256,
    index: IndexOption = None,
    passphrase: SecretOption = "prompt",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Audit, and show what would be signed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Audit, and sign what was seen for others. Prints the newest block that is signed.

    The domain is audited as by dpki audit run, up to the newest final block. What it was at every
    256th block since the last time is signed as a checkpoint. Never two for one block: where what
    was signed and what is seen differ, nothing is signed, and the exit status is 3.
    """
    from dpki.cli.audit_witness_work import publish_all

    publish_all(
        Output(json=json),
        domain,
        rpc,
        quorum=quorum,
        key=key,
        name=name,
        passphrase=passphrase,
        folder=to,
        every=every,
        index=index,
        dry_run=dry_run,
    )


def confirm(
    domain: DomainOption,
    rpc: RpcOption,
    witness: WitnessOption = None,
    file: FileOption = None,
    witnesses: WitnessesOption = None,
    quorum: QuorumOption = None,
    maximum_age: Annotated[
        str,
        typer.Option("--maximum-age", metavar="TIME", help="How old a checkpoint may be."),
    ] = "24h",
    index: IndexOption = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive",
            metavar="FOLDER",
            help="Where what witnesses said is kept, and what convicts them found;"
            " default: in $XDG_STATE_HOME.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Ask witnesses what they saw. Prints: all agree, all disagree, mixed, silent.

    Their checkpoints are compared with the blocks that the endpoints agree on and, where this
    machine audited the domain, with the state that it came to. Exit status 0 when enough agree and
    none disagrees, 3 when one disagrees or has contradicted itself, with the evidence, 5 when too
    few answered.
    """
    from dpki.cli.audit_witness_work import confirm_all

    confirm_all(
        Output(json=json),
        domain,
        rpc,
        named=witness or [],
        listed=file,
        needed=witnesses,
        quorum=quorum,
        maximum_age=maximum_age,
        index=index,
        archive=archive,
    )
