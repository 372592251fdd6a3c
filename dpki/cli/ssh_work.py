"""The longer `dpki ssh` commands, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.chain.snapshot import Authority, Snapshot, fetch_snapshot
from dpki.cli.issuing import (
    describe_journaled,
    describe_plan,
    describe_released,
    device_snapshot,
    journal_snapshot,
    load_certificates,
    make_bench,
    never_issued,
    newest_of,
    rehearse_anchor,
    report,
    request_for_device,
    request_for_key,
    say_shortened,
)
from dpki.cli.output import Output, describe_rehearsal, format_cost
from dpki.cli.reviewing import show_watchdogs
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.spending import turn
from dpki.cli.wish import IssueWish, named_like, verify_wish
from dpki.errors import DpkiError
from dpki.issuance.chain import LiveChain
from dpki.issuance.plan import BatchPlan, CertificateRequest
from dpki.issuance.revocation import (
    RevocationPlan,
    chunks,
    find_serial_of_certificate,
    find_serials_of_devices,
    plan_revocation,
    revoke,
)
from dpki.issuance.selection import Selection
from dpki.issuance.standing import Standing, as_on_chain, awaited_by, foreign_serials, standings_of
from dpki.issuance.upkeep import certificate_named
from dpki.issuance.workflow import issue_batch, rehearse_batch
from dpki.locks import hold
from dpki.model import AuthorityId
from dpki.verification.succession import find_predecessors

if TYPE_CHECKING:
    # web3 takes half a second to import: what only looks needn't wait for it.
    from dpki.transactions.writer import DomainWriter


def issue_one(
    output: Output,
    home: Path | None,
    wish: IssueWish,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Issue one certificate, or say what would be issued."""
    with open_desk(home) as desk:
        document = _issue(output, desk, wish, pin=pin, passphrase=passphrase, dry_run=dry_run)
    output.result(document, document.get("certificate", document.get("gas")))


def rotate_one(
    output: Output,
    home: Path | None,
    *,
    device: str,
    ca: str,
    keygen: str,
    lifetime: str | None,
    reason: str,
    revoke_old: bool,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Issue a device's next certificate; then revoke the earlier ones, if that is wanted."""
    with open_desk(home) as desk, hold(desk.home.work_lock, turn(output)):
        named = desk.index.find_device(device)
        authority = desk.index.find_authority(ca)
        snapshot = device_snapshot(desk, [named])
        line = [authority, *(a.id for a in find_predecessors(snapshot.authorities, authority))]
        newest = newest_of(desk, line, [named]).get(named.address)
        if newest is None:
            raise never_issued(named)
        wish = IssueWish(
            ca=ca,
            device=device,
            hostnames=(),
            keygen=keygen,
            key=None,
            identity=None,
            principals=(),
            lifetime=lifetime,
            reason=reason,
            out=None,
        )
        wish = named_like(wish, newest)
        verify_wish(wish)
        writer = open_writer(desk, passphrase, output)
        old = find_serials_of_devices(desk.reader, snapshot, [named.address], now())
        document = _issue(
            output, desk, wish, pin=pin, passphrase=passphrase, dry_run=dry_run, writer=writer
        )
        plans = [plan_of(desk, of, old[of]) for of in line if of in old] if revoke_old else []
        if dry_run:
            serials = ", ".join(str(serial) for plan in plans for serial in plan.serials)
            output.say(f"and then revoke, for ever: {serials or 'nothing'}")
        elif revoke_old:
            document["revoked"] = revoke_plans(output, desk, writer, plans)
    output.result(document, document.get("certificate", document.get("gas")))


def revoke_some(
    output: Output,
    home: Path | None,
    *,
    ca: str | None,
    serials: Sequence[int],
    certificates: Sequence[Path],
    devices: Selection,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Revoke by serial, by certificate or by device.

    Args:
        devices: Everything means none.

    Raises:
        DpkiError: All of it is revoked already, or there is nothing.
    """
    loaded = load_certificates(certificates)
    with open_desk(home) as desk:
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        only = None if ca is None else desk.index.find_authority(ca)
        wanted: dict[AuthorityId, list[int]] = {}
        if only is not None and serials:
            wanted[only] = list(serials)
        for certificate in loaded:
            owner, serial = find_serial_of_certificate(desk.reader, snapshot, certificate)
            wanted.setdefault(owner, []).append(serial)
        if not devices.is_everything:
            wanted = _of_devices(desk, snapshot, devices, only)
        plans = [plan_revocation(snapshot, owner, found) for owner, found in wanted.items()]
        if not any(plan.serials for plan in plans):
            already = ", ".join(str(serial) for plan in plans for serial in plan.already)
            raise DpkiError(
                f"revoked already: serial {already}" if already else "there is nothing to revoke",
                hint="revoked stays revoked; nothing is left to be done",
            )
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            _rehearse(output, writer, plans)
            return
        revoked = revoke_plans(output, desk, writer, plans)
    output.result(
        {"revoked": revoked},
        "\n".join(str(serial) for plan in plans for serial in plan.serials),
    )


def list_all(output: Output, home: Path | None, ca: str | None, devices: Selection) -> None:
    """List every journaled certificate, of one CA or of all, held against the chain.

    Args:
        devices: Only what was issued for these; everything means people's certificates, too.
    """
    with output.working("asking the chain"), open_desk(home) as desk:
        only = None if ca is None else desk.index.find_authority(ca)
        meant = None
        if not devices.is_everything:
            meant = {device.address for device in devices.pick(desk.index.devices())}
        batches = desk.journal.load_all(only)
        stages = desk.journal.acknowledgements.stages()
        snapshot = journal_snapshot(desk, batches)
        batches = tuple(as_on_chain(batch, snapshot) for batch in batches)
        names = {identifier: name for name, identifier in desk.index.authorities().items()}
    moment = now()
    described = [
        describe_journaled(
            names.get(batch.authority, str(batch.authority)),
            certificate,
            standing,
            stages.get(certificate_named(batch, certificate)),
        )
        for batch in batches
        for certificate, standing in standings_of(batch, snapshot, moment)
        if meant is None or certificate.device in meant
    ]
    foreign = [
        {"ca": name, "first_serial": serials.start, "last_serial": serials.stop - 1}
        for identifier, name in names.items()
        if identifier in snapshot.authorities and only in (None, identifier)
        for serials in foreign_serials(
            snapshot.authorities[identifier], [b for b in batches if b.authority == identifier]
        )
    ]
    waiting = [
        f"{names.get(batch.authority, batch.authority)}: serials {batch.first_serial} to"
        f" {batch.last_serial} count only once confirmed: {awaited}"
        for batch in batches
        if (awaited := awaited_by(batch, snapshot)) is not None
    ]
    columns = ("ca", "serial", "subject", "principals", "valid_before", "state", "device")
    output.table(columns, [[row[column] or "" for column in columns] for row in described])
    for sentence in waiting:
        output.say(sentence)
    for one in foreign:
        output.say(
            f"{one['ca']}: serials {one['first_serial']} to {one['last_serial']} are on chain, and"
            " not in this journal: another writer's, or newer than the backup that it came from"
        )
    if any(row["state"] == Standing.MISSING.value for row in described):
        output.say("some are missing on chain; anchor them again with: dpki ssh resume")
    output.result({"certificates": described, "foreign": foreign})


def plan_of(desk: Desk, ca: AuthorityId, serials: Sequence[int]) -> RevocationPlan:
    """Plan a revocation on the newest state."""
    return plan_revocation(fetch_snapshot(desk.reader, desk.domain), ca, serials)


def _issue(
    output: Output,
    desk: Desk,
    wish: IssueWish,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
    writer: DomainWriter | None = None,
) -> dict[str, object]:
    ca = desk.index.find_authority(wish.ca)
    device = None if wish.device is None else desk.index.find_device(wish.device)
    snapshot = device_snapshot(desk, [] if device is None else [device])
    if device is None:
        request = request_for_key(wish, ca, snapshot)
    else:
        request = request_for_device(desk, wish, ca, device, snapshot)
    writer = writer or open_writer(desk, passphrase, output)
    return issue_request(
        output, desk, wish.ca, snapshot.authorities[ca], request, writer, pin=pin, dry_run=dry_run
    )


def issue_request(
    output: Output,
    desk: Desk,
    name: str,
    authority: Authority,
    request: CertificateRequest,
    writer: DomainWriter,
    *,
    pin: str | None,
    dry_run: bool,
) -> dict[str, object]:
    """Issue what one request asks for, or say what would be issued; return what was done.

    Args:
        name: The CA's local name.

    Raises:
        DpkiError: It was not issued.
    """
    ca = authority.id
    with output.steps() as progress:
        bench = make_bench(desk, writer, name, ca, pin, output, progress)
        if dry_run:
            return _rehearse_issue(output, writer, rehearse_batch(bench, [request]))
        outcome = issue_batch(bench, [request])
    report(output, outcome)
    if not outcome.issued:
        raise DpkiError(
            "the certificate was not issued: " + ("; ".join(outcome.dropped) or "it became void"),
            hint="see dpki ssh list, then issue it again",
        )
    (issued,) = outcome.issued
    described = describe_released(issued)
    granted = issued.batch.certificates[0].certificate.valid_before
    say_shortened(output, request.until, granted)
    output.say(f"serial {described['serial']} for {described['subject']} is anchored")
    watch = authority.watch
    if watch is not None:
        output.say(f"it counts once watchdogs confirmed it: {watch.threshold} of {watch.total}")
        described["reviews"] = show_watchdogs(output, desk, writer, [ca])
    return described | {"finished": [describe_released(r) for r in outcome.finished]}


def _rehearse_issue(output: Output, writer: DomainWriter, plan: BatchPlan) -> dict[str, object]:
    cost = rehearse_anchor(writer, plan)
    would = f"sign and anchor serial {plan.first_serial} of CA {plan.authority.id}"
    output.say(f"would {would}: {format_cost(cost)}; nothing was signed")
    return describe_rehearsal(cost, would) | {"certificates": describe_plan(plan)}


def _of_devices(
    desk: Desk, snapshot: Snapshot, devices: Selection, only: AuthorityId | None
) -> dict[AuthorityId, list[int]]:
    """Return the devices' living certificates that are not revoked yet."""
    addresses = [device.address for device in devices.pick(desk.index.devices())]
    found = find_serials_of_devices(desk.reader, snapshot, addresses, now())
    return {ca: list(serials) for ca, serials in found.items() if only is None or ca == only}


def revoke_plans(
    output: Output, desk: Desk, writer: DomainWriter, plans: Sequence[RevocationPlan]
) -> list[dict[str, object]]:
    """Revoke, and tell what was revoked."""
    chain = LiveChain(desk.reader, desk.domain, writer)
    described: list[dict[str, object]] = []
    for plan in plans:
        with output.working("revoking"):
            anchored = revoke(chain, plan)
        described.append(
            {
                "ca": str(plan.ca),
                "serials": list(plan.serials),
                "already": list(plan.already),
                "transactions": [str(one.transaction_hash) for one in anchored],
            }
        )
        if plan.serials:
            output.say(f"revoked, for ever: {', '.join(map(str, plan.serials))}")
    return described


def _rehearse(output: Output, writer: DomainWriter, plans: Sequence[RevocationPlan]) -> None:
    rehearsal = writer.rehearsal()
    costs = [rehearsal.revoke(plan.ca, chunk) for plan in plans for chunk in chunks(plan.serials)]
    cost = sum(costs[1:], costs[0])
    serials = [serial for plan in plans for serial in plan.serials]
    output.say(
        f"would revoke {', '.join(map(str, serials))}: {format_cost(cost)}; nothing was sent"
    )
    output.result(describe_rehearsal(cost, "revoke") | {"serials": serials}, cost.gas)
