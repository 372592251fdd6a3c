"""`dpki verify`: is this certificate good? For anybody, with two strings, or with no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import JsonOption, QuorumOption, example
from dpki.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "verify",
        epilog=example(
            'dpki verify alice-cert.pub --domain "$DOMAIN" --rpc https://rpc.example',
            "",
            "Keep the proof, and check it years later without a network:",
            'dpki verify alice-cert.pub --domain "$DOMAIN" --rpc https://rpc.example'
            " --export proof.cbor",
            'dpki verify proof.cbor --domain "$DOMAIN" --checkpoint 0x5f3a… --at block',
            'dpki verify proof.cbor --checkpoint checkpoint --witness "$ONE" --witness "$OTHER"',
        ),
    )(verify)


def verify(
    certificate: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="An SSH certificate (…-cert.pub), or a proof bundle (--export)."
        ),
    ],
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="ID", help="The domain id: eip155:…@0x….")
    ] = None,
    rpc: Annotated[
        list[str] | None,
        typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint; may be repeated."),
    ] = None,
    quorum: QuorumOption = None,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", help="Its …-cert.proof; default: the one beside it, if any."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write certificate, verdict and state proofs as one file."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="0x…|FILE",
            help="What a proof bundle is held against: a block hash, or a witnesses' checkpoint.",
        ),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(
            "--witness",
            metavar="KEY[=URL]",
            help="Key of a witness of the checkpoint; without one, with =URL or =/FOLDER where its"
            " checkpoints are: the newest that enough signed is asked about. May be repeated.",
        ),
    ] = None,
    witnesses: Annotated[
        int | None,
        typer.Option(
            "--witnesses", min=1, metavar="K", help="How many must have signed; default: all."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME|block",
            help="With a proof bundle: for when to judge, such as 2027-01-31T12:00:00Z, or the"
            " block's own time; default: now.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say whether a certificate is valid. Prints the verdict.

    One of: valid, revoked, expired, not yet valid, suspended, not anchored, refused, unknown, could
    not check. With several endpoints, some must agree, and the chain's state is proven to us.

    A proof bundle is checked without a network, against a block that --checkpoint vouches for: its
    verdict is that of that block. What happened later, such as a revocation, is not in it.

    Exit status 0 when it is valid, 5 when that could not be checked, 3 for everything else.
    """
    from dpki.cli.verify_work import Request, run

    request = Request(
        file=certificate,
        domain=domain,
        rpc=tuple(rpc or ()),
        quorum=quorum,
        proof=proof,
        export=export,
        checkpoint=checkpoint,
        witness=tuple(witness or ()),
        witnesses=witnesses,
        at=at,
    )
    raise typer.Exit(run(request, Output(json=json)).exit_status)
