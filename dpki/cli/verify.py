"""`dpki verify`: is this certificate good? For anybody, with two strings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import (
    DomainOption,
    JsonOption,
    QuorumOption,
    RpcOption,
    argument,
    example,
)
from dpki.cli.output import Output

CERTIFICATE_LIMIT = 64 * 1024


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "verify",
        epilog=example('dpki verify alice-cert.pub --domain "$DOMAIN" --rpc https://rpc.example'),
    )(verify)


def verify(
    certificate: Annotated[Path, typer.Argument(help="An SSH certificate (…-cert.pub).")],
    domain: DomainOption,
    rpc: RpcOption,
    quorum: QuorumOption = None,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", help="Its …-cert.proof; default: the one beside it, if any."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say whether a certificate is valid. Prints the verdict.

    One of: valid, revoked, expired, not yet valid, suspended, not anchored, refused, unknown, could
    not check. With several endpoints, some must agree, and the chain's state is proven to us.

    Exit status 0 when it is valid, 5 when that could not be checked, 3 for everything else.
    """
    from dpki.config.urls import verify_urls
    from dpki.files import load_bounded
    from dpki.issuance.release import proof_file
    from dpki.model import DomainId
    from dpki.verification.check import verify_certificate

    output = Output(json=json)
    beside = proof_file(certificate)
    if proof is None and beside != certificate and beside.is_file():
        proof = beside
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    data = load_bounded(certificate, limit=CERTIFICATE_LIMIT)
    shown = None if proof is None else load_bounded(proof, limit=CERTIFICATE_LIMIT)
    with output.working("asking the chain"):
        finding = verify_certificate(
            data, domain_id=domain_id, rpc=urls, quorum=quorum, proof=shown
        )
    output.say(finding.reason)
    if finding.evidence is not None:
        output.say(str(finding.evidence))
        for endpoint in finding.evidence.aside:
            output.say(f"set aside: {endpoint}")
    output.result(finding.to_json(), finding.verdict.value)
    raise typer.Exit(finding.exit_status)
