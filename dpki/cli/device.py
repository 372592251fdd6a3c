"""`dpki device`: on a device, its keys and requests; for the admin, enrolment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli import device_enroll, device_news, device_own, device_replace, device_token
from dpki.cli.options import (
    DeviceOption,
    DryRunOption,
    FleetOption,
    HomeOption,
    JsonOption,
    LabelOption,
    PassphraseOption,
    example,
    selected,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.issuance.acknowledgements import Heard

app = typer.Typer(no_args_is_help=True)
device_own.register(app)
device_enroll.register(app)
device_news.register(app)
device_replace.register(app)
device_token.register(app)

RequestsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="REQUEST…",
        help="Request files, or the lines of their QR codes; - is standard input.",
    ),
]
DevicesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[DEVICE]…", help="Names, or patterns.")
]


@app.command(
    "update",
    epilog=example("dpki device update update.request", "dpki device update updates/*.request"),
)
@spends
def update(
    requests: RequestsArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Relay devices' updates of their key documents. Prints their addresses.

    Up to 100 are one transaction.
    """
    from dpki.cli.device_work import update_all

    update_all(Output(json=json), home, requests, passphrase=passphrase, dry_run=dry_run)


@app.command(
    "list", epilog=example("dpki device list", "dpki device list --fleet gates --label site=hh")
)
def list_(
    device: DeviceOption = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the devices, as they stand on chain.

    The sealing key is proven once the device acknowledged what it opened with it.
    """
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.session import open_desk
    from dpki.issuance.next_key import supply

    output = Output(json=json)
    meant = selected(device, fleet, label)
    with output.working("asking the chain"), open_desk(home) as desk:
        devices = desk.index.devices()
        if not meant.is_everything:
            devices = meant.pick(devices)
        snapshot = fetch_snapshot(desk.reader, desk.domain, devices=[d.address for d in devices])
        heard = desk.journal.acknowledgements.newest()
        proven = desk.journal.acknowledgements.proven()
        left = {
            one.address: len(supply(one.document, desk.journal.subject_keys(one.address)))
            for one in devices
        }
    described: list[dict[str, object]] = [
        {
            "name": one.name,
            "device": str(one.address),
            "state": snapshot.devices[one.address].state.name.lower(),
            "document": "current"
            if snapshot.devices[one.address].key_document == one.document.digest
            else "outdated",
            "sealing": "proven" if one.address in proven else "unproven",
            "prekeys": left[one.address],
            "acknowledged": _heard(heard.get(one.address)),
            "labels": dict(one.labels),
        }
        for one in devices
    ]
    columns = (
        *("name", "device", "state", "document", "sealing", "prekeys", "acknowledged", "labels"),
    )
    output.table(columns, [[_cell(row[column]) for column in columns] for row in described])
    output.result({"devices": described, "block": snapshot.block.number})


@app.command(
    "label",
    epilog=example(
        "dpki device label gate-1 --set site=hh --set rack=7",
        "dpki device label 'gate-*' --set fleet=gates --remove rack",
    ),
)
def label_(
    devices: DevicesArgument = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    new: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A label; may be repeated."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="KEY", help="A label to take off; may be repeated."),
    ] = None,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Label devices; a fleet is the label fleet. Prints their names.

    Labels stay in this home: on chain stands nothing of them.
    """
    from dpki.cli.session import open_index
    from dpki.issuance.selection import parse_labels

    output = Output(json=json)
    meant, labels, without = selected(devices, fleet, label), parse_labels(new or ()), remove or []
    if meant.is_everything or not (labels or without):
        raise UsageError(
            "which devices, and which labels?",
            hint="dpki device label NAME --set KEY=VALUE; a pattern such as '*' means all",
        )
    with open_index(home) as index:
        picked = meant.pick(index.devices())
        if not dry_run:
            index.label_devices(picked, labels, without)
    names = [device.name for device in picked]
    done = "would be" if dry_run else "are"
    output.say(f"{len(names)} devices {done} labelled")
    document = {"devices": names, "set": labels, "removed": without, "dry_run": dry_run}
    output.result(document, "\n".join(names))


@app.command("rename", epilog=example("dpki device rename gate-1 gate-north"))
def rename(
    name: Annotated[str, typer.Argument(help="The device's local name.")],
    new: Annotated[str, typer.Argument(help="The name that it gets.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a device another name in this home. Certificates keep the old one."""
    from dpki.cli.session import open_index

    output = Output(json=json)
    with open_index(home) as index:
        index.rename_device(name, new)
    output.say(f"{name} is {new} now")
    output.result({"name": new, "earlier": name}, new)


@app.command(
    "retire", epilog=example("dpki device retire gate-1 --yes", "dpki device retire --fleet old")
)
@spends
def retire(
    devices: DevicesArgument = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, for ever.")] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Retire devices, for ever. Their certificates count no more. Prints their addresses."""
    from dpki.cli.device_work import retire_all

    output = Output(json=json)
    meant = selected(devices, fleet, label)
    if meant.is_everything:
        raise UsageError("which device?", hint="dpki device retire NAME; see dpki device list")
    if not yes and not dry_run:
        raise UsageError(
            f"retiring {meant} is for ever: all certificates of such a device stop counting",
            hint="see which that are with --dry-run; add --yes if that is meant",
        )
    retire_all(output, home, meant, passphrase=passphrase, dry_run=dry_run)


def _heard(heard: Heard | None) -> dict[str, object] | None:
    """Return what a device said last of itself; None where it said nothing."""
    if heard is None:
        return None
    return {"block": heard.block, "mode": heard.mode, "prekeys": heard.prekeys}


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(f"{key}={one}" for key, one in value.items())
    return "" if value is None else value
