"""`dpki device init | request | ask | join | rekey | topup`: on a device, keys and requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.device_request import describe_request, say_request
from dpki.cli.options import (
    DeviceDirectory,
    JsonOption,
    QuorumOption,
    RpcOption,
    example,
)
from dpki.cli.output import Output
from dpki.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

PrekeysOption = Annotated[
    int,
    typer.Option("--prekeys", min=0, max=256, metavar="N", help="One-time keys in the supply."),
]
QrOption = Annotated[
    bool, typer.Option("--qr", help="Show the request as QR codes that fit the terminal.")
]
RequestOutOption = Annotated[
    Path | None, typer.Option("--out", help="The request file; default: in the folder.")
]
TokenOption = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="SPEC",
        help="Where the one-time token comes from: env:NAME, file:PATH, command:…, prompt.",
    ),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="WHERE", help="Where to ask: broker, or a folder.")
]
WaitOption = Annotated[
    str | None,
    typer.Option("--wait", metavar="TIME", help="Wait for the answer, such as 10m."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "init",
        epilog=example(
            'dpki device init --dir /etc/dpki --domain "$DOMAIN" --rpc https://rpc.example \\',
            "  --gateway https://ipfs.io --allow root=0x12…ef/ops --break-glass rescue.pub \\",
            "  --outbound telemetry --outbound-hosts '*.example.org'",
            "dpki device init --dir /etc/dpki --rpc https://rpc.example --console-access \\",
            "  --token file:/boot/token --to /media/stick --wait 10m",
        ),
    )(init)
    app.command("request", epilog=example("dpki device request --dir /etc/dpki"))(request_)
    app.command(
        "ask",
        epilog=example("dpki device ask --dir /etc/dpki --token file:/boot/token --wait 10m"),
    )(ask)
    app.command("join", epilog=example("dpki device join partner --dir /etc/dpki"))(join)
    app.command("rekey", epilog=example("dpki device rekey --dir /etc/dpki --out update.request"))(
        rekey
    )
    app.command("topup", epilog=example("dpki device topup --dir /etc/dpki --prekeys 64"))(topup)


def init(
    directory: DeviceDirectory,
    rpc: RpcOption,
    domain: Annotated[
        str | None,
        typer.Option(
            "--domain", metavar="ID", help="The domain id: eip155:…@0x…; default: the token's."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="SPEC",
            help="Ask with a one-time token; where it comes from: env:NAME, file:PATH, command:…,"
            " prompt.",
        ),
    ] = None,
    to: ToOption = "broker",
    wait: WaitOption = None,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="URL", help="A broker for messages: mqtts://HOST/PREFIX."),
    ] = None,
    broker_user: Annotated[
        str, typer.Option("--broker-user", metavar="NAME", help="As whom to log in there.")
    ] = "",
    broker_password: Annotated[
        str,
        typer.Option(
            "--broker-password",
            metavar="SPEC",
            help="Where its password comes from: env:NAME, file:PATH, command:….",
        ),
    ] = "",
    broker_authority: Annotated[
        Path | None,
        typer.Option("--broker-authority", metavar="FILE", help="Who vouches for it, PEM."),
    ] = None,
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
    outbound: Annotated[
        str | None,
        typer.Option(
            "--outbound",
            metavar="ACCOUNT",
            help="Local account that logs in elsewhere with the device's own certificate.",
        ),
    ] = None,
    outbound_hosts: Annotated[
        str | None,
        typer.Option(
            "--outbound-hosts",
            metavar="PATTERNS",
            help="Whom the host CAs may speak for, such as '*.example.org'; default: everybody.",
        ),
    ] = None,
    outbound_dir: Annotated[
        Path | None,
        typer.Option("--outbound-dir", help="Folder for what its ssh reads."),
    ] = None,
    prekeys: PrekeysOption = 16,
    qr: QrOption = False,
    json: JsonOption = False,
) -> None:
    """On a device: make keys and a request. Prints the address.

    Keys are made here and stay here; the request is for the admin, see `dpki device enroll`. It
    proves that this device has the keys in it, and carries a supply of one-time keys.

    With --token it is also sent: `dpki device watch` enrols it, and nobody types anything. The
    token itself stays here. Run again, it makes a new request for the same keys.
    """
    from dpki.cli.device_asking import ask_by, open_place, read_token, verify_domain
    from dpki.cli.device_setup import Wishes, make_broker, make_config, make_outbound, set_up

    if token is None and (wait is not None or to != "broker"):
        raise UsageError("--to and --wait go with --token", hint="add --token SPEC")
    output = Output(json=json)
    patience = _patience(wait)
    asking = None if token is None else read_token(token, output)
    wishes = Wishes(
        domain=verify_domain(asking, domain),
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
        broker=make_broker(broker, broker_user, broker_password, broker_authority),
        outbound=make_outbound(outbound, outbound_hosts, outbound_dir),
    )
    folder = directory.absolute()
    config = make_config(wishes)
    # Before any key is made: whether there is a way to ask.
    transport = None if asking is None else open_place(to, config.broker)
    with output.working("finding the trust domain"):
        request, path = set_up(folder, config, prekeys)
    output.say(f"this is device {request.device}; its private keys are in {folder} and stay there")
    described = describe_request(request, path)
    if asking is not None and transport is not None:
        output.say(f"should no answer come, ask again with: dpki device ask --dir {folder}")
        described |= ask_by(output, asking, path, transport, patience)
    else:
        output.say(f"next, for the admin: dpki device enroll {path} --name NAME")
        say_request(output, request, qr=qr)
    output.result(described, request.device)


def request_(
    directory: DeviceDirectory,
    out: RequestOutOption = None,
    only_expired: Annotated[
        bool, typer.Option("--if-expired", help="Leave one that still counts as it is.")
    ] = False,
    qr: QrOption = False,
    json: JsonOption = False,
) -> None:
    """On a device: make a new enrolment request for its keys. Prints the address.

    A request counts for seven days. A device that is enrolled has nothing to ask for.
    """
    from dpki.agent.follow import KEYS
    from dpki.cli.device_setup import REQUEST, renew_request
    from dpki.devices.keys import load_device_keys

    output = Output(json=json)
    folder = directory.absolute()
    path = (out or folder / REQUEST).absolute()
    with output.working("asking the chain"):
        request = renew_request(folder, path, only_expired=only_expired)
    if request is None:
        address = load_device_keys(folder / KEYS).address
        output.say("the chain knows this device: there is nothing to ask for")
        output.result({"device": str(address), "request": None}, address)
        return
    output.say(f"next, for the admin: dpki device enroll {path} --name NAME")
    say_request(output, request, qr=qr)
    output.result(describe_request(request, path), request.device)


def ask(
    directory: DeviceDirectory,
    token: TokenOption,
    to: ToOption = "broker",
    wait: WaitOption = None,
    request: Annotated[
        Path | None, typer.Option("--request", help="The request file; default: in the folder.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """On a device: ask to be enrolled, with a one-time token.

    Also again: for a device that was set up without one, or got no answer. Prints the address. Exit
    status 3 when the answer is no, 5 when none came.
    """
    from dpki.cli.device_asking import ask_by, open_place, read_token
    from dpki.config.device import load_device_config

    output, patience = Output(json=json), _patience(wait)
    folder = directory.absolute()
    path = (request or folder / "enroll.request").absolute()
    transport = open_place(to, load_device_config(folder).broker)
    asked = ask_by(output, read_token(token, output), path, transport, patience)
    output.result(asked, asked["device"])


def join(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="As in device.toml: [domains.NAME]."),
    ],
    directory: DeviceDirectory,
    out: Annotated[
        Path | None, typer.Option("--out", help="The request file; default: NAME.request.")
    ] = None,
    qr: QrOption = False,
    json: JsonOption = False,
) -> None:
    """On a device: ask a further trust domain to know its keys.

    Makes a request for that domain's admin: to enrol, or, where the device is enrolled, to have its
    keys of now known. Prints the request's file.
    """
    from dpki.cli.device_setup import make_joining

    output = Output(json=json)
    folder = directory.absolute()
    path = (out or folder / f"{name}.request").absolute()
    with output.working("asking the chain"):
        request = make_joining(folder, name, path)
    word = "update" if request.nonce else "enroll"
    output.say(f"next, for that domain's admin: dpki device {word} {path}")
    say_request(output, request, qr=qr)
    output.result(describe_request(request, path), path)


def rekey(
    directory: DeviceDirectory,
    out: RequestOutOption = None,
    qr: QrOption = False,
    json: JsonOption = False,
) -> None:
    """On a device: make the next SSH host key.

    With it a request for the admin, see `dpki device update`. Prints the request's file.
    """
    from dpki.devices.keys import add_host_key

    _request_update(Output(json=json), directory, out, add_host_key, qr=qr)


def topup(
    directory: DeviceDirectory,
    prekeys: PrekeysOption = 16,
    out: RequestOutOption = None,
    qr: QrOption = False,
    json: JsonOption = False,
) -> None:
    """On a device: fill up its supply of one-time keys.

    With it a request that anybody may relay, see `dpki device update`. Prints the request's file.
    """
    from dpki.devices.prekeys import add_prekeys

    def fill(folder: Path) -> None:
        add_prekeys(folder, prekeys)

    _request_update(Output(json=json), directory, out, fill, qr=qr)


def _patience(wait: str | None) -> timedelta | None:
    from dpki.config.durations import parse_duration

    return None if wait is None else parse_duration(wait)


def _request_update(
    output: Output,
    directory: Path,
    out: Path | None,
    change: Callable[[Path], object],
    *,
    qr: bool,
) -> None:
    from dpki.certificates.keys import ssh_fingerprint
    from dpki.cli.device_setup import make_update
    from dpki.devices.document import parse_key_document

    folder = directory.absolute()
    path = (out or folder / "update.request").absolute()
    with output.working("asking the chain"):
        request = make_update(folder, path, change)
    document = parse_key_document(request.document)
    newest = ssh_fingerprint(document.ssh_host[-1])
    output.say(f"its newest SSH host key is {newest}; {len(document.prekeys)} one-time keys")
    output.say(f"next, for the admin: dpki device update {path}")
    say_request(output, request, qr=qr)
    described = describe_request(request, path)
    output.result(described | {"fingerprint": newest, "prekeys": len(document.prekeys)}, path)
