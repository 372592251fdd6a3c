"""`dpki audit`: a whole domain checked, from its first block on, by anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli import audit_witness
from dpki.cli.options import DomainOption, JsonOption, QuorumOption, RpcOption, example
from dpki.cli.output import Output

app = typer.Typer(no_args_is_help=True)


@app.command(
    "run",
    epilog=example(
        'dpki audit run --domain "$DOMAIN" --rpc https://a.example --rpc https://b.example',
        'dpki audit run --domain "$DOMAIN" --rpc https://a.example --certificate ~/.ssh',
    ),
)
def run(
    domain: DomainOption,
    rpc: RpcOption,
    quorum: QuorumOption = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="BLOCK", help="Up to where: finalized, safe, latest or a number."
        ),
    ] = "finalized",
    certificate: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            help="Also held against its anchor; a folder: every …-cert.pub in it. May be repeated.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="FILE",
            help="What was seen so far; default: one for each domain, in $XDG_STATE_HOME.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what was seen; begin at the first block.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Replay a domain and check everything. Prints the state digest.

    Every root, weight, serial and revocation is recomputed from the events, it is checked who was
    allowed to do what, and what comes out must be the chain's proven state. It goes on where it
    stood. Exit status 0 when nothing contradicts anything, 3 at the first contradiction, with the
    evidence, and 5 when it could not be checked.
    """
    from dpki.cli.audit_work import run_audit

    run_audit(
        Output(json=json),
        domain,
        rpc,
        quorum=quorum,
        to=to,
        certificates=certificate or [],
        index=index,
        restart=restart,
    )


audit_witness.register(app)
