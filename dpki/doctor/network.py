"""The chain's endpoints, the clock beside them, and the IPFS gateways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dpki.chain.connect import choose_quorum, connect, connect_agreed
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Endpoint, fetch_block
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.doctor.finding import Finding, Level, attempt, from_error
from dpki.errors import CheckedFalse, ContentUnavailable, CouldNotCheck, DpkiError
from dpki.http import Deadline, HttpClient
from dpki.model import Address, Block, DomainId

_FAST = timedelta(seconds=60)
"""A block's time may lie this far ahead of a clock: blocks are stamped by other machines."""

_SLOW = timedelta(minutes=10)
"""A chain that made no block for this long is stalled, or the endpoint is; or the clock is fast."""

_PROBE = "bafkqaaa"
"""The identity CID of nothing: what the trustless gateway protocol probes with, no block needed."""


@dataclass(frozen=True)
class ChainView:
    """What the chain says; the snapshot is None where nobody says anything that counts.

    It is what enough endpoints agree on, or the first that answers where one is trusted.
    """

    findings: tuple[Finding, ...]
    snapshot: Snapshot | None


def look_at_chain(
    urls: Sequence[str],
    domain: DomainId,
    now: datetime,
    devices: Sequence[Address] = (),
    quorum: int | None = None,
) -> ChainView:
    """Ask the endpoints together and each by itself, and compare the clock with the chain's."""
    findings: list[Finding] = []
    snapshot: Snapshot | None = None
    head: Block | None
    needed = choose_quorum(urls, quorum)
    if needed > 1:
        try:
            with connect_agreed(urls, domain, needed) as chain:
                snapshot = fetch_snapshot(chain.reader, chain.domain, devices=devices)
                findings += _judge_evidence(chain.evidence())
        except DpkiError as error:
            findings.append(from_error("quorum", error))
    else:
        findings.append(Finding("quorum", Level.OK, str(Evidence(len(urls), needed))))
    agreed = snapshot
    for url in urls:
        name = Endpoint(url).name
        try:
            with connect([url], domain) as (reader, found):
                if agreed is not None:
                    head = fetch_block(reader, "latest")
                    at = agreed.block.number
                    own = fetch_snapshot(reader, found, block=at, devices=devices)
                    _verify_same(own, agreed)
                elif snapshot is None and needed == 1:
                    snapshot = fetch_snapshot(reader, found, devices=devices)
                    head = snapshot.block
                else:
                    head = fetch_block(reader, "latest")
        except DpkiError as error:
            findings.append(from_error("endpoint", error, where=name))
            continue
        said = "it holds the domain" if head is None else f"it is at block {head.number}"
        findings.append(Finding("endpoint", Level.OK, said, name))
    if snapshot is not None:
        findings.append(judge_clock(snapshot.block.time, now))
    return ChainView(tuple(findings), snapshot)


def _judge_evidence(evidence: Evidence) -> list[Finding]:
    level = Level.OK if evidence.proven else Level.WARNING
    mend = "" if evidence.proven else "name endpoints that answer eth_getProof"
    return [
        Finding("quorum", level, str(evidence), mend=mend),
        *(
            Finding("quorum", Level.WARNING, f"set aside: {one}", mend="name another in its place")
            for one in evidence.aside
        ),
    ]


def _verify_same(own: Snapshot, agreed: Snapshot) -> None:
    """Raise `CheckedFalse` when an endpoint says something else than enough of them agree on."""
    if own != agreed:
        raise CheckedFalse(
            f"at block {agreed.block.number} it shows another state than the others agree on",
            hint="don't trust it: name another endpoint in its place",
        )


def judge_clock(chain_time: datetime, now: datetime) -> Finding:
    """Compare this machine's clock with the newest block's time."""
    apart = f"{abs((now - chain_time).total_seconds()):.0f} s"
    mend = "timedatectl set-ntp true; timedatectl timesync-status"
    if chain_time > now + _FAST:
        # No honest chain is ahead of the time: certificates would be accepted after their end.
        said = f"the clock is {apart} behind the newest block"
        return Finding("clock", Level.PROBLEM, said, mend=mend)
    if now > chain_time + _SLOW:
        said = f"the newest block is {apart} old: the chain or the endpoint stalls, or the clock is"
        return Finding("clock", Level.WARNING, f"{said} fast", mend=mend)
    return Finding("clock", Level.OK, f"the newest block is {apart} away from it")


def look_at_gateway(url: str, deadline: timedelta = timedelta(seconds=10)) -> Finding:
    """Ask a gateway for nothing, which each can deliver without having anything."""

    def probe() -> str:
        client = HttpClient()
        try:
            response = client.request(
                "GET",
                f"{url.rstrip('/')}/ipfs/{_PROBE}?format=raw",
                deadline=Deadline(deadline),
                limit=1 << 16,
                headers={"Accept": "application/vnd.ipld.raw"},
            )
        finally:
            client.close()
        if response.status != 200:
            raise ContentUnavailable(
                f"it answers {response.status} instead of a block",
                hint="name a gateway that speaks the trustless gateway protocol",
            )
        return "it delivers blocks"

    mend = "check the network and the URL, or name another gateway"
    return attempt("gateway", probe, where=url, mend=mend)


def unreachable(part: str) -> Finding:
    """Return the finding for what needs the chain while no endpoint answers."""
    nobody = CouldNotCheck("no endpoint answered", hint="mend the endpoint, or name another one")
    return from_error(part, nobody)
