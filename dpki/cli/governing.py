"""What every command shares that needs the governor: the way that it goes, and telling of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.confirm import confirm
from dpki.cli.output import (
    Output,
    describe_receipt,
    describe_rehearsal,
    format_cost,
    say_receipt,
)
from dpki.cli.session import Desk, open_desk, open_writer

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever only looks needn't wait for it.
    from dpki.council.routing import Governance, Route
    from dpki.council.words import Names
    from dpki.model import Address
    from dpki.transactions.actions import DomainCalls
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.governed import GovernanceCall, Governed


def open_governance(
    desk: Desk, spec: str | None, output: Output, length: timedelta | None = None
) -> Governance:
    """Return what carries out changes the way that the domain's governor decides.

    Args:
        length: How long a council's round stays open; None for as long as usual.

    Raises:
        As `open_writer`.
    """
    from dpki.council.roles import fetch_roles
    from dpki.council.routing import Governance

    writer = open_writer(desk, spec, output)
    return Governance(desk.reader, writer, fetch_roles(desk.reader, desk.domain), length)


def names_of(desk: Desk, council: Address | None = None) -> Names:
    """Return what things are called in this home, and which contract is where."""
    from dpki.council.words import Names

    contracts = {
        desk.domain.id.address: "TrustDomain",
        desk.domain.authorities: "AuthorityRegistry",
        desk.domain.certificates: "CertificateRegistry",
        desk.domain.devices: "DeviceRegistry",
        desk.domain.watchdogs: "WatchdogRegistry",
    }
    if council is not None:
        contracts[council] = "RootCouncil"
    named = {ca: name for name, ca in desk.index.authorities().items()}
    return Names(authorities=named, contracts=contracts)


def carry_out(
    output: Output,
    home: Path | None,
    plan: Callable[[Desk, DomainCalls], Sequence[GovernanceCall]],
    *,
    dry_run: bool,
    passphrase: str | None,
    ask_for: str | None = None,
) -> None:
    """Have calls made, after saying what they do; or only say it.

    The contracts are asked before the person is: what they would refuse need not be confirmed.

    Args:
        plan: Returns the calls.
        ask_for: A name to be typed before; None for what can be undone.
    """
    with open_desk(home) as desk:
        from dpki.council.words import describe_calls
        from dpki.transactions.actions import DomainCalls

        calls = plan(desk, DomainCalls(desk.domain))
        governance = open_governance(desk, passphrase, output)
        route = governance.route(calls)
        effects = describe_calls(calls, names_of(desk))
        with output.working("asking the chain"):
            rehearsal = route.rehearse(calls)
        say_plan(output, effects, route, rehearsal)
        document: dict[str, object] = {"effects": list(effects)}
        if dry_run:
            output.say("nothing was sent")
            document |= describe_rehearsal(rehearsal, "; ".join(effects)) | {"way": route.name}
            output.result(document, rehearsal.gas)
            return
        if ask_for is not None:
            confirm(output, ask_for, yes=False)
        with output.working("waiting for the chain"):
            governed = route.make(calls)
    say_governed(output, governed)
    output.result(document | describe_governed(governed), datum_of(governed))


def say_plan(output: Output, effects: Sequence[str], route: Route, rehearsal: Rehearsal) -> None:
    """Tell what is about to be done, and how."""
    for effect in effects:
        output.say(effect)
    way = f"{route.name}: " if route.name else ""
    output.say(f"{way}{format_cost(rehearsal)}")


def say_governed(output: Output, governed: Governed) -> None:
    """Tell people how far a change got."""
    pending = governed.pending
    if governed.receipt is not None or pending is None:
        say_receipt(output, governed.receipt)
    if pending is None:
        return
    output.say(f"{pending.way.value} {pending.id} is open; nothing has changed yet")
    for sentence in pending.missing:
        output.say(f"  missing: {sentence}")
    if pending.way.value == "round":
        output.say(f"next: dpki council show {pending.id}")
    else:
        output.say(f"next, then: dpki timelock execute {pending.id}")


def describe_governed(governed: Governed) -> dict[str, object]:
    """Return how far a change got, as plain data."""
    pending = governed.pending
    described: dict[str, object] = dict(describe_receipt(governed.receipt))
    described["pending"] = None
    if pending is not None:
        described["pending"] = {
            "way": pending.way.value,
            "id": str(pending.id),
            "missing": list(pending.missing),
            "ready_at": pending.ready_at.isoformat() if pending.ready_at else None,
        }
    return described


def datum_of(governed: Governed) -> object:
    """Return what a script wants: what is pending, else that it is done."""
    return governed.pending.id if governed.pending else "done"
