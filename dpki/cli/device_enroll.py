"""`dpki device enroll`: by requests, or over SSH, on hosts that the admin can reach already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    LifetimeOption,
    PassphraseOption,
    PinOption,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "enroll",
        epilog=example(
            "dpki device enroll enroll.request --name gate-1",
            "dpki device enroll gates/*.request --name '{file}' --fleet gates --label site=hh",
            "dpki device enroll --ssh root@gate-1 root@gate-2 --fleet gates --dry-run \\",
            "  --allow root=0x12…ef/ops --break-glass rescue.pub \\",
            "  --ca hosts --hostname '{name}.example.org'",
        ),
    )(enroll)


@spends
def enroll(
    requests: Annotated[
        list[str],
        typer.Argument(
            metavar="REQUEST…",
            help="Request files, or the lines of their QR codes; - is standard input. With --ssh,"
            " hosts: USER@HOST.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="What to call the device here; {file} stands for the file's name without its"
            " end, {host} for the host's.",
        ),
    ] = None,
    fleet: Annotated[
        str | None, typer.Option("--fleet", metavar="NAME", help="The fleet that it belongs to.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="To be remembered; may be repeated."),
    ] = None,
    ssh: Annotated[
        bool,
        typer.Option("--ssh", help="The arguments are hosts: set them up, and enrol them."),
    ] = False,
    ssh_config: Annotated[
        Path | None, typer.Option("--ssh-config", help="With --ssh: for `ssh -F`.")
    ] = None,
    ssh_option: Annotated[
        list[str] | None,
        typer.Option("--ssh-option", metavar="NAME=VALUE", help="With --ssh: for `ssh -o`."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, help="With --ssh: hosts at a time.")
    ] = 8,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="ACCOUNT=CA/PRINCIPAL", help="With --ssh: as in device init."
        ),
    ] = None,
    break_glass: Annotated[
        Path | None, typer.Option("--break-glass", help="With --ssh: as in device init.")
    ] = None,
    console_access: Annotated[
        bool, typer.Option("--console-access", help="With --ssh: as in device init.")
    ] = False,
    rpc: Annotated[
        list[str] | None,
        typer.Option("--rpc", metavar="URL", help="With --ssh; default: this home's endpoints."),
    ] = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", metavar="URL", help="With --ssh; default: this home's gateways."),
    ] = None,
    init_option: Annotated[
        list[str] | None,
        typer.Option(
            "--init-option",
            metavar="NAME=VALUE",
            help="With --ssh: a further option of device init, such as reload=none.",
        ),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="With --ssh: the device's folder there.")
    ] = Path("/etc/dpki"),
    install_dir: Annotated[
        Path, typer.Option("--install-dir", help="With --ssh: where dpki goes there.")
    ] = Path("/opt/dpki"),
    install_from: Annotated[
        str | None,
        typer.Option(
            "--install-from",
            metavar="SPEC",
            help="With --ssh: a wheel here, or what pip takes there; default: this very dpki.",
        ),
    ] = None,
    no_service: Annotated[
        bool, typer.Option("--no-service", help="With --ssh: don't make the agent a service.")
    ] = False,
    ca: Annotated[
        str | None,
        typer.Option("--ca", metavar="NAME", help="With --ssh: issue host certificates by it."),
    ] = None,
    hostname: Annotated[
        list[str] | None,
        typer.Option("--hostname", help="With --ca; {name} is the device's. May be repeated."),
    ] = None,
    lifetime: LifetimeOption = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol devices by their requests, or over SSH. Prints their addresses.

    Up to 100 are one transaction. Compare each fingerprint with the one that the device shows.

    With --ssh nothing is to be compared. Each host is looked at first, and what is missing is said
    before anything is changed there; then dpki is installed, the device makes its keys and is
    enrolled, and its agent is started. Run again, it does what is left. A host whose key is
    unknown is refused.
    """
    output = Output(json=json)
    if not ssh:
        from dpki.cli.device_work import enroll_all

        if name is None:
            raise UsageError("what are they to be called?", hint="add --name NAME")
        if any((allow, break_glass, console_access, rpc, gateway, init_option, ca, hostname)):
            raise UsageError("that goes with --ssh", hint="leave it out, or name hosts with --ssh")
        enroll_all(
            output,
            home,
            [Path(file) for file in requests],
            name,
            fleet,
            label or (),
            passphrase=passphrase,
            dry_run=dry_run,
        )
        return
    from dpki.cli.device_ssh_work import enroll_hosts
    from dpki.cli.host_wish import HostWishes
    from dpki.remote.ssh import Connection

    wishes = HostWishes(
        hosts=tuple(requests),
        name=name or "{host}",
        fleet=fleet,
        labels=tuple(label or ()),
        connection=Connection(
            "" if ssh_config is None else str(ssh_config), tuple(ssh_option or ())
        ),
        jobs=jobs,
        allow=tuple(allow or ()),
        break_glass=break_glass,
        console_access=console_access,
        rpc=tuple(rpc or ()),
        gateways=tuple(gateway or ()),
        init_options=tuple(init_option or ()),
        directory=directory,
        install_directory=install_dir,
        install_from=install_from,
        service=not no_service,
        ca=ca,
        hostnames=tuple(hostname or ()),
        lifetime=lifetime,
    )
    enroll_hosts(output, home, wishes, pin=pin, passphrase=passphrase, dry_run=dry_run)
