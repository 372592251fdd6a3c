"""Members and their weights, recomputed from everything that ever happened."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dpki.cli.council_show import Chamber, enter
from dpki.cli.output import Output
from dpki.cli.session import open_desk
from dpki.council.past import fetch_history
from dpki.council.plot import chart_of_history, draw, draw_svg
from dpki.council.recompute import Recomputed, recompute
from dpki.errors import CheckedFalse
from dpki.files import PUBLIC, write_atomic
from dpki.model import to_timestamp


@dataclass(frozen=True)
class Audit:
    """A council beside what its weights should be.

    Attributes:
        differences: Where the chain says something else, a sentence each.
    """

    chamber: Chamber
    recomputed: Recomputed
    differences: tuple[str, ...]

    def verify(self) -> None:
        """Raise `CheckedFalse` when there is a difference."""
        if self.differences:
            raise CheckedFalse(
                f"the council's weights are not what its rules make them: {self.differences[0]}",
                hint="the endpoint hides or invents events, or it is another contract; ask another",
            )


def audit(chamber: Chamber) -> Audit:
    """Recompute a council's weights from its events, and hold them against the chain's."""
    desk, council = chamber.desk, chamber.council
    events = fetch_history(desk.reader, desk.domain, council.address, council.block)
    recomputed = recompute(events)
    told = [f"table {one.table}: {one.message}" for one in recomputed.differences]
    last = recomputed.moments[-1] if recomputed.moments else None
    if last is None or (last.number, last.table) != (council.number, council.table):
        told.append(f"table {council.number} on chain is not the one that the events lead to")
    seated = {member.account for member in council.seats.values()}
    if last is not None and seated != last.weights.keys():
        told.append("the members on chain are not those that the events lead to")
    if recomputed.parameters != council.parameters:
        told.append("the parameters on chain are not those that the events lead to")
    return Audit(chamber, recomputed, tuple(told))


def list_members(output: Output, home: Path | None, option: str | None) -> None:
    """List the members; exit with 3 where a weight is not what it should be."""
    with output.working("recomputing the weights"), open_desk(home) as desk:
        chamber = enter(desk, option)
        found = audit(chamber)
    council = chamber.council
    rows = [
        (
            str(member.account),
            member.role.name.lower(),
            council.table.weights[seat],
            council.table.counted(seat),
            member.since.isoformat(),
        )
        for seat, member in sorted(council.seats.items())
    ]
    heads = ("account", "role", "weight", "counts", "since")
    found.verify()
    output.table(heads, rows)
    output.say(f"{len(rows)} members weigh {council.table.total}; recomputed, and so it is")
    output.result(
        {
            "council": str(council.address),
            "members": [dict(zip(heads, row, strict=True)) for row in rows],
            "total": council.table.total,
            "cap": council.table.cap,
        }
    )


def show_weights(
    output: Output, home: Path | None, option: str | None, *, plot: bool, svg: Path | None
) -> None:
    """Show every table of weights there ever was; exit with 3 where one is wrong."""
    with output.working("recomputing the weights"), open_desk(home) as desk:
        chamber = enter(desk, option)
        found = audit(chamber)
    found.verify()
    chart = chart_of_history(found.recomputed, to_timestamp(chamber.council.block.time))
    if svg is not None and chart is not None:
        write_atomic(svg, draw_svg(chart).encode(), mode=PUBLIC)
        output.say(f"drawn into {svg}")
    moments = [
        {
            "table": moment.number,
            "time": moment.time,
            "total": moment.table.total,
            "weights": {str(account): weight for account, weight in moment.weights.items()},
        }
        for moment in found.recomputed.moments
    ]
    drawn = None
    if plot and chart is not None:
        drawn = draw(chart, shutil.get_terminal_size((100, 24)).columns)
    else:
        last = moments[-1]["weights"] if moments else {}
        assert isinstance(last, dict)
        output.table(("account", "weight"), list(last.items()))
    output.say(f"{len(moments)} tables recomputed; the chain says the same")
    output.result({"council": str(chamber.council.address), "tables": moments}, drawn)
