"""The longer `dpki device` commands of an admin, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.output import (
    Output,
    describe_receipt,
    describe_rehearsal,
    format_cost,
    say_receipt,
    say_rehearsal,
)
from dpki.cli.session import now, open_desk, open_writer
from dpki.config.values import verify_name
from dpki.devices.enrollment import EnrollmentRequest, parse_request
from dpki.devices.request_text import TEXT_LIMIT
from dpki.errors import UsageError
from dpki.files import load_bounded, load_standard_input
from dpki.issuance.enrolment import (
    Enrolled,
    Enrolment,
    enroll_devices,
    rehearse_enrolments,
    rehearse_updates,
    update_devices,
)
from dpki.issuance.selection import Selection, parse_labels
from dpki.model import DeviceState

if TYPE_CHECKING:
    from dpki.transactions.flight import Rehearsal


FILE = "{file}"
"""Stands for a request file's name, without its end, in a device's name."""


def enroll_all(
    output: Output,
    home: Path | None,
    files: Sequence[Path],
    name: str,
    fleet: str | None,
    label: Sequence[str],
    *,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Enrol devices by their requests."""
    if len(files) > 1 and FILE not in name:
        raise UsageError(
            f"{len(files)} devices can't all be called {name}",
            hint="let the files' names tell them apart: --name '{file}'",
        )
    labels = parse_labels(label, fleet)
    wishes = [
        Enrolment(load_request(file), verify_name(name.replace(FILE, file.stem)), labels)
        for file in files
    ]
    with open_desk(home) as desk:
        writer = open_writer(desk, passphrase, output)
        for wish in wishes:
            output.say(
                f"{wish.name}: is this the fingerprint that the device shows?"
                f" {wish.request.fingerprint}"
            )
        if dry_run:
            devices, cost = rehearse_enrolments(desk.reader, writer, desk.index, wishes, now())
            names = ", ".join(wish.name for wish in wishes)
            say_rehearsal(output, cost, f"enrol {', '.join(map(str, devices))} as {names}")
            return
        with output.working("enrolling"):
            done = enroll_devices(
                desk.reader, writer, desk.index, wishes, now(), _told(output, len(wishes))
            )
    for one in done:
        output.say(f"{one.name} is device {one.device}")
    _say_done(output, done)


def update_all(
    output: Output,
    home: Path | None,
    files: Sequence[Path],
    *,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Relay devices' updates of their key documents."""
    requests = [load_request(file) for file in files]
    with open_desk(home) as desk:
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            devices, cost = rehearse_updates(desk.reader, writer, requests, now())
            say_rehearsal(output, cost, f"update key documents: {', '.join(map(str, devices))}")
            return
        with output.working("relaying updates"):
            done = update_devices(
                desk.reader, writer, desk.index, requests, now(), _told(output, len(requests))
            )
    _say_done(output, done)


def _told(output: Output, total: int) -> Callable[[int], None]:
    return lambda done: output.notice(f"{done} of {total} devices")


def _say_done(output: Output, done: Sequence[Enrolled]) -> None:
    """Tell what was sent, each transaction once, and print the addresses."""
    for receipt in dict.fromkeys(one.receipt for one in done):
        say_receipt(output, receipt)
    described: list[dict[str, object]] = [
        {"device": str(one.device), "name": one.name, **describe_receipt(one.receipt)}
        for one in done
    ]
    addresses = "\n".join(str(one.device) for one in done)
    output.result(described[0] if len(done) == 1 else {"devices": described}, addresses)


def load_request(path: Path) -> EnrollmentRequest:
    """Load a device's request, `-` for standard input; nothing in it is checked but its form."""
    if path == Path("-"):
        return parse_request(load_standard_input(limit=TEXT_LIMIT))
    return parse_request(load_bounded(path, limit=TEXT_LIMIT))


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
