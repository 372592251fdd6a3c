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
            "dpki ssh known-hosts … --anchors ~/.ssh/dpki    # and have ssh check the anchors, too",
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
    anchors: Annotated[
        Path | None,
        typer.Option(
            "--anchors",
            metavar="FOLDER",
            help="Folder for a KnownHostsCommand, by which ssh takes anchored certificates only.",
        ),
    ] = None,
    maximum_age: Annotated[
        str,
        typer.Option(
            "--max-age", metavar="TIME", help="With --anchors: how old it may get, then no host."
        ),
    ] = "24h",
    quorum: QuorumOption = None,
    json: JsonOption = False,
) -> None:
    """Write what SSH clients need to trust the hosts.

    For anybody, with the domain id and an endpoint. ssh checks signatures and revocations by the
    two files; with --anchors also that a host's certificate stands on chain. Run it regularly.
    """
    from dpki.agent.host_index import (
        command_line,
        encode_host_index,
        make_host_index,
        write_lookup,
    )
    from dpki.chain.connect import connect_agreed
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.config.durations import parse_duration
    from dpki.config.urls import verify_urls
    from dpki.files import PUBLIC, write_atomic
    from dpki.model import DomainId
    from dpki.verification.anchored_hosts import find_anchored_hosts
    from dpki.verification.known_hosts import known_hosts_lines
    from dpki.verification.reviews import find_unconfirmed
    from dpki.verification.revocations import SSH_KINDS, revocation_list

    output = Output(json=json)
    age = parse_duration(maximum_age)
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    with (
        output.working("asking the chain"),
        connect_agreed(urls, domain_id, quorum) as chain,
    ):
        snapshot = fetch_snapshot(chain.reader, chain.domain)
        unconfirmed = find_unconfirmed(chain.reader, snapshot, SSH_KINDS)
        hosts = () if anchors is None else find_anchored_hosts(chain.reader, snapshot)
        evidence = chain.evidence()
    lines = known_hosts_lines(snapshot, pattern)
    if not lines:
        raise DpkiError(
            "the domain has no trusted host CA", hint="dpki ca create … --kind ssh-host"
        )
    # The KRL first: whoever has the new lines has the newest revocations too.
    write_atomic(krl.absolute(), revocation_list(snapshot, unconfirmed), mode=PUBLIC)
    if anchors is not None:
        index = make_host_index(snapshot, hosts, pattern, snapshot.block.time + age)
        write_lookup(anchors.absolute(), encode_host_index(index))
        output.say(f"in ssh_config: {command_line(anchors.absolute())}")
    write_atomic(out.absolute(), lines.encode(), mode=PUBLIC)
    output.say(f"wrote {out} and {krl}, as of block {snapshot.block.number}; {evidence}")
    written: dict[str, object] = {"known_hosts": str(out), "krl": str(krl)}
    written["block"] = snapshot.block.number
    if anchors is not None:
        written["anchored"] = len(hosts)
        written["known_hosts_command"] = command_line(anchors.absolute())
    output.result({**written, "evidence": evidence.to_json()}, str(out))
