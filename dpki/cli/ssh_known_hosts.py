"""`dpki ssh known-hosts`: what SSH clients need to trust the hosts, for anybody."""

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
from dpki.errors import DpkiError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "known-hosts",
        epilog=example(
            'dpki ssh known-hosts --domain "$DOMAIN" --rpc https://rpc.example \\',
            "  --pattern '*.example.org' --out ~/.ssh/known_hosts_dpki --krl ~/.ssh/revoked.krl",
        ),
    )(known_hosts)


def known_hosts(
    domain: DomainOption,
    rpc: RpcOption,
    out: Annotated[Path, typer.Option("--out", help="File for the @cert-authority lines.")],
    krl: Annotated[Path, typer.Option("--krl", help="File for RevokedHostKeys.")],
    pattern: Annotated[
        str, typer.Option("--pattern", help="Hosts that the CAs may speak for.")
    ] = "*",
    quorum: QuorumOption = None,
    json: JsonOption = False,
) -> None:
    """Write what SSH clients need to trust the hosts.

    For anybody, with the domain id and an endpoint.
    """
    from dpki.chain.connect import connect_agreed
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.config.urls import verify_urls
    from dpki.files import PUBLIC, write_atomic
    from dpki.model import DomainId
    from dpki.verification.known_hosts import known_hosts_lines
    from dpki.verification.reviews import find_unconfirmed
    from dpki.verification.revocations import SSH_KINDS, revocation_list

    output = Output(json=json)
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    with (
        output.working("asking the chain"),
        connect_agreed(urls, domain_id, quorum) as chain,
    ):
        snapshot = fetch_snapshot(chain.reader, chain.domain)
        unconfirmed = find_unconfirmed(chain.reader, snapshot, SSH_KINDS)
        evidence = chain.evidence()
    lines = known_hosts_lines(snapshot, pattern)
    if not lines:
        raise DpkiError(
            "the domain has no trusted host CA", hint="dpki ca create … --kind ssh-host"
        )
    # The KRL first: whoever has the new lines has the newest revocations too.
    write_atomic(krl.absolute(), revocation_list(snapshot, unconfirmed), mode=PUBLIC)
    write_atomic(out.absolute(), lines.encode(), mode=PUBLIC)
    output.say(f"wrote {out} and {krl}, as of block {snapshot.block.number}; {evidence}")
    written = {"known_hosts": str(out), "krl": str(krl), "block": snapshot.block.number}
    output.result({**written, "evidence": evidence.to_json()}, str(out))
