"""`dpki device`: on a device, its keys and requests; for the admin, enrolment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    DeviceDirectory,
    DomainOption,
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    QuorumOption,
    RpcOption,
    example,
)
from dpki.cli.output import Output, describe_receipt, say_receipt, say_rehearsal
from dpki.cli.spending import spends
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.devices.enrollment import EnrollmentRequest

app = typer.Typer(name="device", help="Devices: keys, requests, enrolment.", no_args_is_help=True)

RequestArgument = Annotated[Path, typer.Argument(help="A request file that a device made.")]
NameOption = Annotated[str, typer.Option("--name", help="What to call the device here.")]


@app.command(
    "init",
    epilog=example(
        'dpki device init --dir /etc/dpki --domain "$DOMAIN" --rpc https://rpc.example \\',
        "  --gateway https://ipfs.io --allow root=0x12…ef/ops --break-glass rescue.pub",
    ),
)
def init(
    directory: DeviceDirectory,
    domain: DomainOption,
    rpc: RpcOption,
    quorum: QuorumOption = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", metavar="URL", help="IPFS gateway; may be repeated."),
    ] = None,
    store: Annotated[
        list[Path] | None,
        typer.Option("--directory", help="Folder that bundles may come from; may be repeated."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="ACCOUNT=CA/PRINCIPAL",
            help="Who may log in where; CA is an id; may be repeated.",
        ),
    ] = None,
    successors: Annotated[
        bool,
        typer.Option(
            "--follow-successors",
            help="What --allow gives a CA goes to its successors too, see `dpki ca rotate`.",
        ),
    ] = False,
    break_glass: Annotated[
        Path | None,
        typer.Option("--break-glass", help="Public key that gets in when all else fails."),
    ] = None,
    console_access: Annotated[
        bool, typer.Option("--console-access", help="No such key: there is a console.")
    ] = False,
    sshd_dir: Annotated[
        Path | None, typer.Option("--sshd-dir", help="Folder for what sshd reads.")
    ] = None,
    sshd_config: Annotated[
        Path | None, typer.Option("--sshd-config", help="sshd's main configuration.")
    ] = None,
    drop_in: Annotated[
        Path | None, typer.Option("--drop-in", help="File that the agent writes for sshd.")
    ] = None,
    reload: Annotated[
        str | None,
        typer.Option("--reload", metavar="HOW", help="systemd:UNIT, pid:FILE, none, or a command."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """On a device: make keys and a request. Prints the address.

    Keys are made here and stay here; the request is for the admin, see `dpki device enroll`.
    """
    from dpki.cli.device_setup import Wishes, make_config, set_up

    output = Output(json=json)
    wishes = Wishes(
        domain=domain,
        rpc=tuple(rpc),
        quorum=quorum,
        gateways=tuple(gateway or ()),
        directories=tuple(store or ()),
        allow=tuple(allow or ()),
        successors=successors,
        break_glass=break_glass,
        console_access=console_access,
        sshd_directory=sshd_dir,
        sshd_config=sshd_config,
        drop_in=drop_in,
        reload=reload,
    )
    folder = directory.absolute()
    config = make_config(wishes)
    with output.working("finding the trust domain"):
        device, request = set_up(folder, config)
    output.say(f"this is device {device}; its private keys are in {folder} and stay there")
    output.say(f"next, for the admin: dpki device enroll {request} --name NAME")
    output.result({"device": str(device), "request": str(request)}, device)


@app.command("rekey", epilog=example("dpki device rekey --dir /etc/dpki --out update.request"))
def rekey(
    directory: DeviceDirectory,
    out: Annotated[
        Path | None, typer.Option("--out", help="The request file; default: in the folder.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """On a device: make the next SSH host key.

    With it a request for the admin, see `dpki device update`. Prints the request's file.
    """
    from dpki.cli.device_setup import make_update

    output = Output(json=json)
    folder = directory.absolute()
    request = (out or folder / "update.request").absolute()
    with output.working("asking the chain"):
        device, fingerprint = make_update(folder, request)
    output.say(f"the next SSH host key is {fingerprint}")
    output.say(f"next, for the admin: dpki device update {request}")
    document = {"device": str(device), "request": str(request), "fingerprint": fingerprint}
    output.result(document, request)


@app.command("enroll", epilog=example("dpki device enroll enroll.request --name gate-1"))
@spends
def enroll(
    request: RequestArgument,
    name: NameOption,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol a device by its request. Prints its address."""
    from dpki.cli.session import now, open_desk, open_writer
    from dpki.config.values import verify_name
    from dpki.issuance.registration import enroll_device, rehearse_enrolment

    output = Output(json=json)
    verify_name(name)
    parsed = _load_request(request)
    with open_desk(home) as desk:
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            device, rehearsal = rehearse_enrolment(
                desk.reader, writer, desk.index, parsed, name, now()
            )
            say_rehearsal(output, rehearsal, f"enrol device {device} as {name}")
            return
        with output.working("enrolling the device"):
            device, receipt = enroll_device(desk.reader, writer, desk.index, parsed, name, now())
    say_receipt(output, receipt)
    output.say(f"{name} is device {device}")
    output.result({"device": str(device), "name": name, **describe_receipt(receipt)}, device)


@app.command("update", epilog=example("dpki device update update.request"))
@spends
def update(
    request: RequestArgument,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Relay a device's update of its key document."""
    from dpki.cli.session import now, open_desk, open_writer
    from dpki.issuance.registration import rehearse_update, update_device

    output = Output(json=json)
    parsed = _load_request(request)
    with open_desk(home) as desk:
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            device, rehearsal = rehearse_update(desk.reader, writer, parsed, now())
            say_rehearsal(output, rehearsal, f"update the key document of device {device}")
            return
        with output.working("relaying the update"):
            device, receipt = update_device(desk.reader, writer, desk.index, parsed, now())
    say_receipt(output, receipt)
    output.result({"device": str(device), **describe_receipt(receipt)}, device)


@app.command("list", epilog=example("dpki device list"))
def list_(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the devices, as they stand on chain."""
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.session import open_desk

    output = Output(json=json)
    with output.working("asking the chain"), open_desk(home) as desk:
        devices = desk.index.devices()
        snapshot = fetch_snapshot(desk.reader, desk.domain, devices=[d.address for d in devices])
    described: list[dict[str, object]] = [
        {
            "name": device.name,
            "device": str(device.address),
            "state": snapshot.devices[device.address].state.name.lower(),
            "document": "current"
            if snapshot.devices[device.address].key_document == device.document.digest
            else "outdated",
        }
        for device in devices
    ]
    columns = ("name", "device", "state", "document")
    output.table(columns, [[row[column] for column in columns] for row in described])
    output.result({"devices": described, "block": snapshot.block.number})


@app.command("retire", epilog=example("dpki device retire gate-1 --yes"))
@spends
def retire(
    name: Annotated[str, typer.Argument(help="The device's local name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Yes, for ever.")] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Retire a device, for ever. Its certificates count no more."""
    from dpki.cli.session import open_desk, open_writer

    output = Output(json=json)
    if not yes and not dry_run:
        raise UsageError(
            f"retiring {name} is for ever: all its certificates stop counting",
            hint="add --yes if that is meant",
        )
    with open_desk(home) as desk:
        device = desk.index.find_device(name)
        writer = open_writer(desk, passphrase, output)
        if dry_run:
            rehearsal = writer.rehearsal().retire_device(device.address)
            say_rehearsal(output, rehearsal, f"retire device {device.address}, for ever")
            return
        with output.working("retiring the device"):
            receipt = writer.retire_device(device.address)
    say_receipt(output, receipt)
    output.say(f"{name} is retired")
    document = {"device": str(device.address), "name": name, **describe_receipt(receipt)}
    output.result(document, device.address)


def _load_request(path: Path) -> EnrollmentRequest:
    from dpki.devices.enrollment import REQUEST_LIMIT, parse_request
    from dpki.files import load_bounded

    return parse_request(load_bounded(path, limit=REQUEST_LIMIT))
