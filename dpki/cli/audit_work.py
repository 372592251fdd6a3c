"""`dpki audit run`, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpki.audit.certificates import Given
from dpki.audit.evidence import HistoryContradicted
from dpki.audit.index import Index
from dpki.audit.run import AuditReport, audit
from dpki.chain.connect import connect_agreed
from dpki.chain.quorum import Evidence
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.config.urls import verify_urls
from dpki.errors import UsageError
from dpki.files import load_bounded, make_private_directory, state_folder
from dpki.locks import Turn, hold
from dpki.model import DomainId

CERTIFICATE_LIMIT = 64 * 1024
TAGS = ("finalized", "safe", "latest")


def run_audit(
    output: Output,
    domain: str,
    rpc: Sequence[str],
    *,
    quorum: int | None,
    to: str,
    certificates: Sequence[Path],
    index: Path | None,
    restart: bool,
) -> None:
    """Audit a domain, and tell what came out.

    Raises:
        HistoryContradicted: Something contradicts something; it was told already.
    """
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    target, given = parse_target(to), load_given(certificates)
    path = index or default_index(domain_id)
    make_private_directory(path.parent)
    turn = Turn("dpki audit", output.notice)
    with (
        hold(path.with_suffix(".lock"), turn),
        Index(path, domain_id) as opened,
        connect_agreed(urls, domain_id, quorum) as connection,
        output.counting("replaying blocks", "events") as count,
    ):
        if restart:
            opened.clear()
        try:
            report = audit(
                connection.reader,
                connection.domain,
                opened,
                to=target,
                certificates=given,
                report=lambda at: count(at.block, at.last, at.words or at.events),
            )
        except HistoryContradicted:
            _say_evidence(output, connection.evidence())
            raise
        evidence = connection.evidence()
    say_report(output, report, evidence)
    output.result(describe(report, evidence), report.digest)


def parse_target(text: str) -> int | str:
    """Return the block that somebody means.

    Raises:
        UsageError: It is none.
    """
    if text in TAGS:
        return text
    if not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{text[:40]!r} is no block", hint=f"a number, or {', '.join(TAGS)}")
    return int(text)


def load_given(places: Sequence[Path]) -> list[Given]:
    """Load certificates from files, and from folders full of them.

    Raises:
        UsageError: There is none.
    """
    files = []
    for place in places:
        found = sorted(place.glob("*-cert.pub")) if place.is_dir() else [place]
        if not found:
            raise UsageError(f"there is no …-cert.pub in {place}")
        files += found
    return [Given(file.name, load_bounded(file, limit=CERTIFICATE_LIMIT)) for file in files]


def default_index(domain: DomainId) -> Path:
    """Return where the index of a domain is kept."""
    name = f"{domain.chain_id}-{str(domain.address).lower()}-{domain.block_hash.hex()[:16]}"
    return state_folder("audits") / f"{name}.sqlite"


def describe(report: AuditReport, evidence: Evidence) -> dict[str, object]:
    """Return a report as plain data."""
    state = report.state
    return {
        "domain": str(report.domain.id),
        "block": report.block.number,
        "block_hash": str(report.block.hash),
        "final": report.is_final,
        "digest": str(report.digest),
        "counts": dict(sorted(report.counts.items())),
        "words": report.words,
        "governor": str(state.governor),
        "offered": str(state.offered) if any(state.offered) else None,
        "guardian": str(state.guardian) if any(state.guardian) else None,
        "registrars": [str(one) for one, is_one in sorted(state.registrars.items()) if is_one],
        "authorities": [
            {
                "ca": str(one.id),
                "kind": one.kind.label,
                "state": one.state.label,
                "operator": str(one.operator),
                "revokers": [str(who) for who, may in sorted(one.named.items()) if may],
                "issued": one.next_serial - 1,
                "revoked": one.revoked_count,
                "revoked_below": one.revoked_below,
                "watchdogs": [str(dog.account) for dog in one.watchdogs],
            }
            for one in state.authorities.values()
        ],
        "councils": [
            {
                "address": str(address),
                "members": [
                    {
                        "account": str(member.account),
                        "role": member.role.name.lower(),
                        "weight": member.weight,
                    }
                    for _, member in sorted(rules.ledger.seats.items())
                ],
                "rounds": len(rules.rounds),
            }
            for address, rules in sorted(report.councils.items())
        ],
        "certificates": report.certificates,
        "foreign_certificates": list(report.foreign),
        "other_versions": list(report.versions),
        "evidence": evidence.to_json(),
    }


def say_report(output: Output, report: AuditReport, evidence: Evidence) -> None:
    """Tell people what came out."""
    state, events = report.state, sum(report.counts.values())
    final = "" if report.is_final else ", which is not final yet"
    output.say(
        f"nothing contradicts anything up to block {report.block.number}{final}: {events:,} events"
        f" replayed, {report.words:,} words of the chain's state compared"
    )
    governor = "council" if state.governor in report.councils else "account or contract"
    output.say(f"governor: {state.governor} ({governor})")
    output.say(f"guardian: {state.guardian if any(state.guardian) else 'none'}")
    for one in state.authorities.values():
        output.say(
            f"CA {one.id} ({one.kind.label}, {one.state.label}): operator {one.operator},"
            f" {one.next_serial - 1:,} issued, {one.revoked_count:,} revoked"
        )
    if report.certificates:
        output.say(f"{report.certificates} certificates are what was anchored")
    for name in report.foreign:
        output.say(f"warning: {name} was signed by a key that is no CA of this domain")
    for name in report.versions:
        output.say(f"warning: {name} runs another program than this dpki knows")
    _say_evidence(output, evidence)


def _say_evidence(output: Output, evidence: Evidence) -> None:
    output.say(str(evidence))
    for endpoint in evidence.aside:
        output.say(f"set aside: {endpoint}")
