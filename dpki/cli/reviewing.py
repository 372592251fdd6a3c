"""What goes between operators and watchdogs: showing, listing, bringing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, format_cost, say_receipt
from dpki.cli.session import Desk, now, open_desk, open_writer, publisher_of
from dpki.errors import DpkiError
from dpki.files import load_bounded
from dpki.issuance.batch import BatchState
from dpki.issuance.handover import HANDOVER_LIMIT, parse_handover
from dpki.issuance.reviewing import Anchored, find_unreviewed, request_review
from dpki.issuance.sealing import batch_tree
from dpki.model import AuthorityId
from dpki.watchdog.lookout import Lookout, Review

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever only looks needn't wait for it.
    from dpki.transactions.account import Receipt
    from dpki.transactions.confirmations import Confirmation
    from dpki.transactions.writer import DomainWriter


def list_all(output: Output, home: Path | None) -> None:
    """List every batch that had or has to be confirmed, and who did."""
    with output.working("asking the chain"), open_desk(home) as desk:
        _, reviews = Lookout(desk.domain).look(desk.reader)
        names = {ca: name for name, ca in desk.index.authorities().items()}
    rows = [describe_review(one) | {"ca_name": names.get(one.batch.ca, "-")} for one in reviews]
    columns = ("ca_name", "first_serial", "count", "parcels", "state")
    output.table(columns, [[row[column] for column in columns] for row in rows])
    for one in reviews:
        for index, watchdog in enumerate(one.watchdogs):
            output.say(
                f"{names.get(one.batch.ca, one.batch.ca)} {one.batch.first_serial}:"
                f" {watchdog.account} (weighs {watchdog.weight}): {one.said_by(index).value}"
            )
    output.result({"batches": rows})


def relay_all(
    output: Output,
    home: Path | None,
    files: Sequence[Path],
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Bring signed confirmations to the chain, and say which batches count now."""
    from dpki.transactions.confirmations import CONFIRMATION_LIMIT, parse_confirmation

    with open_desk(home) as desk:
        signed = [
            parse_confirmation(load_bounded(file, limit=CONFIRMATION_LIMIT), desk.domain.id)
            for file in files
        ]
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            cost = writer.rehearsal().relay_confirmations(signed)
            output.say(f"{format_cost(cost)}; nothing was sent")
            output.result(describe_rehearsal(cost, f"bring {len(signed)} confirmations"), cost.gas)
            return
        with output.working("waiting for the chain"):
            receipt = writer.relay_confirmations(signed)
        _, reviews = Lookout(desk.domain).look(desk.reader)
    say_receipt(output, receipt)
    described = [_brought(one, reviews) for one in signed]
    for one in described:
        output.say(f"{one['watchdog']}, serial {one['first_serial']}: {one['state']}")
    if not any(one["counts"] for one in described):
        raise DpkiError(
            "none of the confirmations counts",
            hint="late, for another batch or other watchdogs? see: dpki watchdog list",
        )
    output.result({"confirmations": described} | describe_receipt(receipt), None)


def request_all(
    output: Output,
    home: Path | None,
    files: Sequence[Path],
    *,
    again: bool,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Lay out for their watchdogs what this home anchored, or what the handovers hold."""
    handovers = [parse_handover(load_bounded(file, limit=HANDOVER_LIMIT)) for file in files]
    with open_desk(home) as desk:
        batches = [
            Anchored(one.ca, one.first_serial, one.blobs, one.tree(desk.domain).commitment)
            for one in handovers
        ]
        writer = open_writer(desk, passphrase, output)
        if not files:
            snapshot = fetch_snapshot(desk.reader, desk.domain)
            for ca in desk.journal.authorities():
                batches += journaled(desk, snapshot, ca)
        if dry_run:
            _, waiting = find_unreviewed(desk.reader, writer, batches, again=again)
            firsts = [one.first_serial for one in waiting]
            output.say(f"would show watchdogs {len(firsts)} batches; nothing was sent")
            output.result({"dry_run": True, "first_serials": firsts}, len(firsts))
            return
        asked = request_reviews(output, desk, writer, batches, again=again)
    if not asked:
        output.say("nothing is left to be shown to watchdogs")
    output.result({"reviews": asked}, "\n".join(str(one["first_serial"]) for one in asked) or None)


def show_watchdogs(
    output: Output, desk: Desk, writer: DomainWriter, cas: Iterable[AuthorityId]
) -> list[dict[str, object]]:
    """Lay out for their watchdogs what this home anchored with these CAs."""
    snapshot = fetch_snapshot(desk.reader, desk.domain)
    batches = [one for ca in cas for one in journaled(desk, snapshot, ca)]
    return request_reviews(output, desk, writer, batches) if batches else []


def journaled(desk: Desk, snapshot: Snapshot, ca: AuthorityId) -> list[Anchored]:
    """Return what the journal says is anchored of a CA that is watched."""
    authority = snapshot.authorities.get(ca)
    watch = None if authority is None else authority.watch
    if watch is None:
        return []
    return [
        Anchored(
            batch.authority,
            batch.first_serial,
            tuple(one.blob for one in batch.certificates),
            batch_tree(desk.domain, batch.authority, batch.first_serial, batch.entries).commitment,
        )
        for batch in desk.journal.load_all(ca)
        if batch.state is BatchState.ANCHORED
        and watch.covers(batch.first_serial)
        and any(one.certificate.valid_before > now() for one in batch.certificates)
    ]


def request_reviews(
    output: Output,
    desk: Desk,
    writer: DomainWriter,
    batches: Iterable[Anchored],
    *,
    again: bool = False,
) -> list[dict[str, object]]:
    """Lay out for their watchdogs those of the batches that wait for them."""
    with output.working("asking the chain"):
        snapshot, waiting = find_unreviewed(desk.reader, writer, batches, again=again)
    publisher = publisher_of(desk, output)
    described: list[dict[str, object]] = []
    for batch in waiting:
        with output.working("showing the certificates to watchdogs"):
            receipt: Receipt = request_review(desk.reader, writer, publisher, snapshot, batch)
        output.say(
            f"serials from {batch.first_serial} on count once watchdogs confirmed them; they were"
            " shown them"
        )
        described.append(
            {"ca": str(batch.ca), "first_serial": batch.first_serial, **describe_receipt(receipt)}
        )
    return described


def describe_review(review: Review) -> dict[str, object]:
    """Return how far a batch is, as plain data."""
    return {
        "ca": str(review.batch.ca),
        "first_serial": review.batch.first_serial,
        "count": review.batch.count,
        "parcels": len(review.parcels),
        "state": review.awaited or "accepted",
        "watchdogs": [
            {
                "account": str(one.account),
                "weight": one.weight,
                "said": review.said_by(index).value,
            }
            for index, one in enumerate(review.watchdogs)
        ],
    }


def _brought(signed: Confirmation, reviews: Sequence[Review]) -> dict[str, object]:
    described: dict[str, object] = {
        "ca": str(signed.ca),
        "first_serial": signed.first_serial,
        "watchdog": str(signed.watchdog),
        "state": "no such batch waits",
        "counts": False,
    }
    for review in reviews:
        index = review.index_of(signed.watchdog)
        if review.place == (signed.ca, signed.first_serial) and index is not None:
            said = review.said_by(index).value
            described |= {
                "state": f"{said}; {review.awaited or 'accepted'}",
                "counts": said == "confirmed",
            }
    return described
