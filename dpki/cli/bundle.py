"""`dpki bundle`: the sealed bundles in the stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, example
from dpki.cli.output import Output

if TYPE_CHECKING:
    from dpki.cli.session import Desk
    from dpki.issuance.journal import Journal
    from dpki.issuance.upkeep import JournaledBundle, Upkeep
    from dpki.store.base import BlockStore

    Act = Callable[[Journal, Sequence[JournaledBundle], Sequence[BlockStore]], Upkeep]

app = typer.Typer(no_args_is_help=True)


@app.command("list", epilog=example("dpki bundle list"))
def list_(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the sealed bundles, and on which stores they are.

    As far as the journal knows.
    """
    output = Output(json=json)
    with _opened(home, output) as (desk, bundles, _):
        described = _describe(desk, bundles)
    columns = ("ca", "serial", "subject", "cid", "bytes", "state", "kept", "pending")
    output.table(columns, [[_cell(row[column]) for column in columns] for row in described])
    output.result({"bundles": described})


@app.command("retry", epilog=example("dpki bundle retry"))
def retry(home: HomeOption = None, json: JsonOption = False) -> None:
    """Empty the outbox: put bundles where they could not be put before. Prints how many."""
    from dpki.issuance.upkeep import retry as act

    output = Output(json=json)
    with _opened(home, output) as (desk, bundles, stores):
        _do(output, desk, bundles, stores, act, "put")
        if any(bundle.is_awaited for bundle in bundles):
            output.say("some are not anchored yet; go on with: dpki ssh resume")


@app.command("repin", epilog=example("dpki bundle repin"))
def repin(home: HomeOption = None, json: JsonOption = False) -> None:
    """Put everything that lives back on all stores, from the journal. Prints how many."""
    from dpki.issuance.upkeep import repin as act

    output = Output(json=json)
    with _opened(home, output) as (desk, bundles, stores):
        _do(output, desk, bundles, stores, act, "put")


@app.command("gc", epilog=example("dpki bundle gc --dry-run"))
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove what nobody needs any more from all stores.

    The bundles of expired, revoked and void certificates, and of those that their devices said they
    have installed.

    The journal keeps them. Prints how many were removed.
    """
    from dpki.issuance.upkeep import collect, unwanted

    output = Output(json=json)
    with _opened(home, output) as (desk, bundles, stores):
        if not dry_run:
            _do(output, desk, bundles, stores, collect, "removed")
            return
        lines = [_line(bundle, store.name) for bundle, store in unwanted(bundles, stores)]
        output.say(f"would remove {len(lines)} bundles; nothing was removed")
        output.result({"dry_run": True, "removed": lines}, len(lines))


@contextmanager
def _opened(
    home: Path | None, output: Output
) -> Iterator[tuple[Desk, tuple[JournaledBundle, ...], Sequence[BlockStore]]]:
    from dpki.cli.issuing import journal_snapshot
    from dpki.cli.session import now, open_desk, publisher_of
    from dpki.issuance.upkeep import load_bundles

    with open_desk(home) as desk:
        batches = desk.journal.load_all()
        with output.working("asking the chain"):
            snapshot = journal_snapshot(desk, batches)
        bundles = load_bundles(desk.journal, batches, snapshot, now())
        yield desk, bundles, publisher_of(desk, output).stores


def _do(
    output: Output,
    desk: Desk,
    bundles: Sequence[JournaledBundle],
    stores: Sequence[BlockStore],
    act: Act,
    word: str,
) -> None:
    from dpki.errors import StoreFailed

    with output.working("asking the stores"):
        upkeep = act(desk.journal, bundles, stores)
    if upkeep.failed:
        reasons = "; ".join(dict.fromkeys(reason for _, _, reason in upkeep.failed))
        raise StoreFailed(
            f"{len(upkeep.done)} bundles were {word}, {len(upkeep.failed)} were not: {reasons}",
            hint="start or repair the stores that failed, then do it again",
        )
    output.say(f"{len(upkeep.done)} bundles were {word}")
    output.result({word: [_line(bundle, store) for bundle, store in upkeep.done]}, len(upkeep.done))


def _line(bundle: JournaledBundle, store: str) -> dict[str, object]:
    from dpki.bundle.cid import cid_of

    return {
        "ca": str(bundle.authority),
        "serial": bundle.serial,
        "cid": cid_of(bundle.digest),
        "store": store,
    }


def _describe(desk: Desk, bundles: Sequence[JournaledBundle]) -> list[dict[str, object]]:
    from dpki.bundle.cid import cid_of
    from dpki.issuance.placements import Place

    names = {identifier: name for name, identifier in desk.index.authorities().items()}
    return [
        {
            "ca": names.get(bundle.authority, str(bundle.authority)),
            "serial": bundle.serial,
            "subject": bundle.subject,
            "cid": cid_of(bundle.digest),
            "bytes": len(bundle.data),
            "state": bundle.standing.value,
            "kept": [name for name, place in bundle.places.items() if place is Place.KEPT],
            "pending": list(bundle.pending),
        }
        for bundle in bundles
    ]


def _cell(value: object) -> object:
    return len(value) if isinstance(value, list) else value
