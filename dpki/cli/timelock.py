"""`dpki timelock`: what waits until the governor of a domain may do it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    argument,
    example,
)
from dpki.cli.output import Output, describe_receipt, say_receipt, say_rehearsal
from dpki.cli.spending import spends
from dpki.errors import CheckedFalse, UsageError

if TYPE_CHECKING:
    from dpki.cli.session import Desk
    from dpki.model import Address
    from dpki.transactions.timelock import Scheduled

app = typer.Typer(no_args_is_help=True)

OperationArgument = Annotated[
    str, typer.Argument(metavar="OPERATION", help="The operation's id; see: dpki timelock list.")
]


@app.command("list", epilog=example("dpki timelock list", "dpki timelock list --all"))
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Those that are done too.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List what the domain's timelock waits with, in plain words."""
    from dpki.cli.governing import names_of
    from dpki.cli.session import open_desk
    from dpki.council.words import describe_calls
    from dpki.transactions.timelock import OperationState

    output = Output(json=json)
    with output.working("asking the chain"), open_desk(home) as desk:
        _, found = _operations(desk)
        names = names_of(desk)
    done = {OperationState.DONE, OperationState.UNSET}
    rows = [
        (
            str(one.operation.id),
            "cancelled" if one.state is OperationState.UNSET else one.state.label,
            one.ready_at.isoformat() if one.ready_at else None,
            describe_calls(one.operation.calls, names),
        )
        for one in found
        if everything or one.state not in done
    ]
    columns = ("operation", "state", "ready_at", "effects")
    output.table(columns, [[*row[:2], row[2] or "-", "; ".join(row[3])] for row in rows])
    output.result({"operations": [dict(zip(columns, row, strict=True)) for row in rows]})


@app.command("execute", epilog=example("dpki timelock execute 0x…"))
@spends
def execute(
    operation: OperationArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Do what has waited long enough. Prints the operation's state."""
    _act("execute", operation, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


@app.command("cancel", epilog=example("dpki timelock cancel 0x…"))
@spends
def cancel(
    operation: OperationArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give up what waits, before it acts. Prints the operation's state."""
    _act("cancel", operation, dry_run=dry_run, passphrase=passphrase, home=home, json=json)


def _act(
    word: str,
    operation: str,
    *,
    dry_run: bool,
    passphrase: str | None,
    home: Path | None,
    json: bool,
) -> None:
    from dpki.cli.governing import names_of
    from dpki.cli.session import open_desk, open_writer
    from dpki.council.routing import cancellation, execution
    from dpki.council.words import describe_calls
    from dpki.model import Hash32
    from dpki.transactions.timelock import OperationState, fetch_state, find_operation

    output = Output(json=json)
    identifier = argument(Hash32.parse, operation)
    with open_desk(home) as desk:
        with output.working("asking the chain"):
            timelock, operations = _operations(desk)
        found = find_operation(operations, identifier)
        _verify_state(word, found)
        for effect in describe_calls(found.operation.calls, names_of(desk)):
            output.say(effect)
        call = execution(timelock, found) if word == "execute" else cancellation(timelock, found)
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            say_rehearsal(output, writer.rehearse(call), f"{word} operation {identifier}")
            return
        with output.working("waiting for the chain"):
            receipt = writer.send(call)
        after = fetch_state(desk.reader, timelock, found.operation)
    say_receipt(output, receipt)
    state = "cancelled" if after.state is OperationState.UNSET else after.state.label
    output.result({"operation": operation, "state": state} | describe_receipt(receipt), state)


def _operations(desk: Desk) -> tuple[Address, tuple[Scheduled, ...]]:
    """Return the timelock and all that was ever scheduled in it.

    Raises:
        UsageError: The domain's governor is none.
    """
    from dpki.council.reading import newest
    from dpki.council.roles import Nature, fetch_roles
    from dpki.transactions.timelock import fetch_scheduled

    governor = fetch_roles(desk.reader, desk.domain).governor
    if governor.nature is not Nature.TIMELOCK:
        raise UsageError(
            f"the domain is governed by the {governor}, which is no timelock",
            hint="see who governs with: dpki domain show",
        )
    last = newest(desk.reader)
    return governor.address, fetch_scheduled(desk.reader, desk.domain, governor.address, last)


def _verify_state(word: str, found: Scheduled) -> None:
    """Refuse what the timelock would refuse, in words.

    Raises:
        CheckedFalse: The operation is done or cancelled, or has not waited long enough.
    """
    from dpki.transactions.timelock import OperationState

    if found.state in (OperationState.DONE, OperationState.UNSET):
        ended = "done" if found.state is OperationState.DONE else "cancelled"
        raise CheckedFalse(
            f"operation {found.operation.id} is {ended} already",
            hint="see what waits with: dpki timelock list",
        )
    if word == "execute" and found.state is OperationState.WAITING and found.ready_at:
        raise CheckedFalse(
            f"operation {found.operation.id} waits until {found.ready_at:%Y-%m-%d %H:%M:%S} UTC",
            hint="execute it then; until then it can be cancelled",
        )
