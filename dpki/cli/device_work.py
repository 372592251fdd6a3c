"""The longer `dpki device` commands of an admin, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, format_cost, say_receipt
from dpki.cli.session import open_desk, open_writer
from dpki.issuance.selection import Selection
from dpki.model import DeviceState

if TYPE_CHECKING:
    from dpki.transactions.flight import Rehearsal


def retire_all(
    output: Output, home: Path | None, meant: Selection, *, passphrase: str | None, dry_run: bool
) -> None:
    """Retire devices one by one; doing it again goes on with those that are left."""
    with open_desk(home) as desk:
        picked = meant.pick(desk.index.devices())
        snapshot = fetch_snapshot(desk.reader, desk.domain, devices=[d.address for d in picked])
        done = [d for d in picked if snapshot.devices[d.address].state is DeviceState.RETIRED]
        # Where nothing is left, the contract says so itself.
        left = [device for device in picked if device not in done] or list(picked)
        for device in done:
            output.say(f"{device.name} is retired already")
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            rehearsal = writer.rehearsal()
            costs = [rehearsal.retire_device(device.address) for device in left]
            _say_rehearsed(output, costs, [device.name for device in left])
            return
        retired: list[dict[str, object]] = []
        for device in left:
            with output.working(f"retiring {device.name}"):
                receipt = writer.retire_device(device.address)
            say_receipt(output, receipt)
            output.say(f"{device.name} is retired")
            described = {"device": str(device.address), "name": device.name}
            retired.append(described | describe_receipt(receipt))
    addresses = "\n".join(str(device.address) for device in picked)
    output.result({"retired": retired, "already": [device.name for device in done]}, addresses)


def _say_rehearsed(output: Output, costs: list[Rehearsal], names: list[str]) -> None:
    would = f"retire, for ever: {', '.join(names)}"
    cost = sum(costs[1:], costs[0])
    output.say(f"would {would}: {format_cost(cost)}; nothing was sent")
    output.result(describe_rehearsal(cost, would) | {"devices": names}, cost.gas)
