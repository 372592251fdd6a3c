"""Handing a signed batch from the admin's machine to the operator's, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.bundle.cid import cid_of
from dpki.certificates.ssh import SshCertificate
from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.issuing import (
    describe_plan,
    device_snapshot,
    make_bench,
    report,
    request_for_device,
    request_for_key,
    say_shortened,
)
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, format_cost, say_receipt
from dpki.cli.reviewing import request_reviews
from dpki.cli.session import Desk, now, open_desk, open_writer, publisher_of
from dpki.cli.wish import IssueWish
from dpki.config.profile import load_profile
from dpki.errors import CheckedFalse, DpkiError, UsageError
from dpki.files import PUBLIC, load_bounded, write_atomic
from dpki.issuance.batch import JournaledBatch
from dpki.issuance.handover import (
    HANDOVER_LIMIT,
    Handover,
    Inspected,
    Standing,
    encode_handover,
    hand_over,
    inspect_handover,
    parse_handover,
)
from dpki.issuance.outcome import Outcome
from dpki.issuance.reviewing import Anchored
from dpki.issuance.workflow import issue_batch, rehearse_batch, withdraw
from dpki.model import Address
from dpki.store.publish import fetch_first

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever signs without a wallet needn't wait for it.
    from dpki.transactions.writer import DomainWriter

FETCH = timedelta(seconds=30)
"""How long one bundle may take to be found."""


def hand_over_one(
    output: Output,
    home: Path | None,
    wish: IssueWish,
    file: Path,
    *,
    pin: str | None,
    dry_run: bool,
) -> None:
    """Sign, seal and publish one certificate, and write what the operator has to anchor."""
    with open_desk(home) as desk:
        ca = desk.index.find_authority(wish.ca)
        device = None if wish.device is None else desk.index.find_device(wish.device)
        snapshot = device_snapshot(desk, [] if device is None else [device])
        if device is None:
            request = request_for_key(wish, ca, snapshot)
        else:
            request = request_for_device(desk, wish, ca, device, snapshot)
        if not file.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {file.absolute().parent}")
        with output.steps() as progress:
            bench = make_bench(desk, None, wish.ca, ca, pin, output, progress)
            if dry_run:
                plan = rehearse_batch(bench, [request])
                output.say(f"would sign serial {plan.first_serial}; nothing was signed")
                certificates = describe_plan(plan)
                output.result({"dry_run": True, "certificates": certificates}, None)
                return
            outcome = issue_batch(bench, [request])
        report(output, outcome)
        if not outcome.asked:
            raise DpkiError(
                "the certificate was not signed: " + ("; ".join(outcome.dropped) or "it is void"),
                hint="see dpki ssh list, then issue it again",
            )
        (batch,) = outcome.asked
        _write(desk, batch, file)
    say_shortened(output, request.until, batch.certificates[0].certificate.valid_before)
    output.say(f"serial {batch.first_serial} is signed, and counts once its operator anchored it")
    output.say(f"next: give {file} to the operator: dpki ssh anchor {file.name}")
    output.say("then, here: dpki ssh resume")
    document = {"handover": str(file), "ca": str(ca), "first_serial": batch.first_serial}
    output.result(document | {"count": batch.count}, file)


def say_waiting(
    output: Output, desk: Desk, name: str, outcome: Outcome, folder: Path | None
) -> list[str]:
    """Tell what waits for the operator, and write it to files where a folder is given.

    Returns:
        The files.
    """
    if outcome.waiting and folder is not None and not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    files = []
    for batch in outcome.waiting:
        output.say(
            f"{name}: serials {batch.first_serial} to {batch.last_serial} wait for the operator's"
            " dpki ssh anchor"
        )
        if folder is not None:
            file = folder / f"{name}-{batch.first_serial}.handover"
            _write(desk, batch, file)
            files.append(str(file))
    return files


def withdraw_one(
    output: Output,
    home: Path | None,
    ca: str,
    serial: int,
    folder: Path | None,
    *,
    pin: str | None,
) -> None:
    """Give up a batch that waits for the operator."""
    with open_desk(home) as desk:
        authority = desk.index.find_authority(ca)
        with output.steps() as progress:
            bench = make_bench(desk, None, ca, authority, pin, output, progress)
            outcome = withdraw(bench, serial)
        report(output, outcome)
        files = say_waiting(output, desk, ca, outcome, folder)
    output.say("whoever has its handover file can still anchor it; delete it everywhere")
    document = {"ca": str(authority), "first_serial": serial, "handovers": files}
    output.result(document, "\n".join(files) or None)


def anchor_all(
    output: Output,
    home: Path | None,
    files: Sequence[Path],
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Check handovers, say what they would anchor, and anchor them in the order of their serials.

    Raises:
        UsageError: Serials before one of them are neither on chain nor in another of the files.
        CheckedFalse: One is not in order; nothing was anchored.
        ContentUnavailable: A bundle can't be fetched; nothing was anchored.
    """
    handovers = sorted(
        (parse_handover(load_bounded(file, limit=HANDOVER_LIMIT)) for file in files),
        key=lambda one: (one.ca, one.first_serial),
    )
    with open_desk(home) as desk:
        writer = open_writer(desk, passphrase, output)
        inspected = [_inspect(output, desk, one, writer.account) for one in handovers]
        _verify_order(inspected)
        publisher = publisher_of(desk, output)
        for one in inspected:
            for digest in () if one.standing is Standing.ANCHORED else one.handover.bundles:
                with output.working(f"fetching {cid_of(digest)}"):
                    fetch_first(digest, publisher.sources, FETCH, backoff=publisher.backoff)
        documents = [_anchor(output, desk, writer, one, dry_run=dry_run) for one in inspected]
        reviews = [] if dry_run else _show(output, desk, writer, handovers)
    datum = "\n".join(
        str(certificate.serial) for one in inspected for certificate in one.certificates
    )
    output.result({"dry_run": dry_run, "batches": documents, "reviews": reviews}, datum)


def _show(
    output: Output, desk: Desk, writer: DomainWriter, handovers: Sequence[Handover]
) -> list[dict[str, object]]:
    batches = [
        Anchored(one.ca, one.first_serial, one.blobs, one.tree(desk.domain).commitment)
        for one in handovers
    ]
    return request_reviews(output, desk, writer, batches)


def _write(desk: Desk, batch: JournaledBatch, file: Path) -> None:
    data = encode_handover(hand_over(desk.domain.id, batch))
    write_atomic(file.absolute(), data, mode=PUBLIC)


def _inspect(output: Output, desk: Desk, handover: Handover, operator: Address) -> Inspected:
    names = {ca: name for name, ca in desk.index.authorities().items()}
    name = names.get(handover.ca)
    profile = None if name is None else load_profile(desk.home.profile(name))
    if profile is None:
        output.say(
            f"warning: there is no profile of your own for CA {name or handover.ca}: any principal"
            " is taken"
        )
    devices = {one.device for one in handover.certificates} - {Address.zero()}
    with output.working("asking the chain"):
        snapshot = fetch_snapshot(
            desk.reader,
            desk.domain,
            devices=devices,
            batches=[(handover.ca, handover.first_serial)],
        )
    found = inspect_handover(handover, snapshot, operator=operator, profile=profile, now=now())
    output.say(
        f"CA {name or handover.ca}, serials {handover.first_serial} to {handover.last_serial}:"
        + (" on chain already" if found.standing is Standing.ANCHORED else "")
    )
    for certificate in found.certificates:
        output.say(f"  {_line(certificate)}")
    return found


def _line(certificate: SshCertificate) -> str:
    return (
        f"{certificate.serial}  {certificate.kind.label}  {', '.join(certificate.principals)}"
        f"  until {certificate.valid_before:%Y-%m-%d %H:%M:%S} UTC  ({certificate.key_id})"
    )


def _verify_order(inspected: Sequence[Inspected]) -> None:
    following: dict[bytes, int] = {}
    for one in inspected:
        ca, first = bytes(one.handover.ca), one.handover.first_serial
        if one.standing is Standing.EARLY and following.get(ca) != first:
            raise UsageError(
                f"the serials before {first} are not on chain yet",
                hint="anchor the handovers before it first, or name them all in one command",
            )
        if first < following.get(ca, 1):
            raise CheckedFalse(f"two of the handovers have serial {first}")
        following[ca] = one.handover.last_serial + 1


def _anchor(
    output: Output, desk: Desk, writer: DomainWriter, inspected: Inspected, *, dry_run: bool
) -> dict[str, object]:
    handover = inspected.handover
    document: dict[str, object] = {
        "ca": str(handover.ca),
        "first_serial": handover.first_serial,
        "certificates": [
            {
                "serial": one.serial,
                "principals": list(one.principals),
                "valid_before": one.valid_before.isoformat(),
                "key_id": one.key_id,
                "certificate_hash": str(one.hash),
            }
            for one in inspected.certificates
        ],
    }
    if inspected.standing is Standing.ANCHORED:
        say_receipt(output, None)
        return document | describe_receipt(None)
    if dry_run and inspected.standing is Standing.EARLY:
        # The contract would refuse it now: it comes after the others.
        return document
    what = (handover.ca, handover.first_serial, handover.entries)
    if dry_run:
        cost = writer.rehearsal().issue(*what)
        output.say(f"would anchor them: {format_cost(cost)}; nothing was sent")
        return document | describe_rehearsal(cost, f"anchor serial {handover.first_serial}")
    with output.working("anchoring"):
        receipt = writer.issue(*what)
    say_receipt(output, receipt)
    return document | describe_receipt(receipt)
