"""`dpki ssh resume`: what an interrupted run left, and finishing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.handing import say_waiting
from dpki.cli.issuing import describe_released, make_bench, report
from dpki.cli.output import Output, describe_rehearsal, format_cost
from dpki.cli.reviewing import show_watchdogs
from dpki.cli.session import Desk, has_wallet, open_desk, open_writer
from dpki.errors import DpkiError, TransactionFailed
from dpki.issuance.progress import silent
from dpki.issuance.remaining import Remaining, Step, find_remaining
from dpki.issuance.workflow import resume
from dpki.model import AuthorityId

if TYPE_CHECKING:
    # web3 takes half a second to import: what only looks needn't wait for it.
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.writer import DomainWriter


def resume_all(
    output: Output,
    home: Path | None,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
    handover: Path | None = None,
) -> None:
    """Finish every CA's unfinished batches; one CA's trouble does not keep the others waiting.

    Args:
        handover: Folder for what waits for the operator's wallet, elsewhere; None for none.

    Raises:
        DpkiError: The first CA's trouble, after all were tried.
    """
    released: list[dict[str, object]] = []
    troubles: list[DpkiError] = []
    with open_desk(home) as desk:
        names = {ca: name for name, ca in desk.index.authorities().items()}
        concerned = [ca for ca in desk.journal.authorities() if ca in names]
        if not concerned:
            output.say("nothing was ever issued with this home")
            nothing = {"dry_run": True, "batches": [], "gas": 0, "fee_wei": "0"}
            output.result(nothing if dry_run else {"released": []})
            return
        is_elsewhere = handover is not None or not has_wallet(desk)
        writer = None if is_elsewhere else open_writer(desk, passphrase, output)
        files: list[str] = []
        if dry_run:
            _rehearse(output, desk, writer, {ca: names[ca] for ca in concerned})
            return
        for ca in concerned:
            try:
                with output.steps() as progress:
                    bench = make_bench(desk, writer, names[ca], ca, pin, output, progress)
                    outcome = resume(bench)
                report(output, outcome)
                files += say_waiting(output, desk, names[ca], outcome, handover)
                released += [describe_released(r) for r in outcome.finished]
            except DpkiError as error:
                output.say(f"{names[ca]}: {error.message}")
                troubles.append(error)
        if writer is not None:
            show_watchdogs(output, desk, writer, concerned)
    if troubles:
        raise troubles[0]
    output.say(f"{len(released)} certificates were released" if released else "nothing was left")
    output.result(
        {"released": released, "handovers": files},
        "\n".join([*(str(r["certificate"]) for r in released), *files]) or None,
    )


def _rehearse(
    output: Output, desk: Desk, writer: DomainWriter | None, names: Mapping[AuthorityId, str]
) -> None:
    """Tell what would be finished; nothing is signed or sent, and the token is not opened."""
    from dpki.transactions.flight import Rehearsal

    rows: list[dict[str, object]] = []
    total = Rehearsal(0, 0)
    for ca, name in names.items():
        bench = make_bench(desk, writer, name, ca, None, output, silent)
        for one in find_remaining(bench):
            cost = _cost(writer, one)
            total += cost or Rehearsal(0, 0)
            rows.append(_describe(name, one, cost))
    columns = ("ca", "first_serial", "certificates", "state", "would", "gas")
    if rows:
        output.table(columns, [[row[column] for column in columns] for row in rows])
    would = f"finish {len(rows)} batches" if rows else "do nothing: nothing is left"
    output.say(f"would {would}: {format_cost(total)}; nothing was signed or sent")
    if any(row["gas"] is None for row in rows):
        output.say("what has to be signed or sealed first, or comes after another, costs more")
    output.result(describe_rehearsal(total, would) | {"batches": rows})


def _cost(writer: DomainWriter | None, one: Remaining) -> Rehearsal | None:
    """Return what anchoring costs; None where it can't be tried here, or not yet."""
    if writer is None or one.step is not Step.ANCHOR:
        return None
    batch = one.batch
    try:
        return writer.rehearsal().issue(batch.authority, batch.first_serial, batch.entries)
    except TransactionFailed:
        return None  # an earlier one has to be there first


def _describe(name: str, one: Remaining, cost: Rehearsal | None) -> dict[str, object]:
    return {
        "ca": name,
        "first_serial": one.batch.first_serial,
        "certificates": one.batch.count,
        "state": one.batch.state.value,
        "would": one.step.value,
        "gas": 0 if one.step is Step.RELEASE else None if cost is None else cost.gas,
    }
