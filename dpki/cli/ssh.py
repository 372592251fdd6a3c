"""`dpki ssh`: certificates for hosts and people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli import ssh_grant, ssh_handover, ssh_known_hosts
from dpki.cli.options import (
    CaOption,
    DeviceOption,
    DryRunOption,
    FleetOption,
    HomeOption,
    JsonOption,
    KeygenOption,
    LabelOption,
    LifetimeOption,
    PassphraseOption,
    PinOption,
    ReasonOption,
    example,
    selected,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError

app = typer.Typer(no_args_is_help=True)
ssh_grant.register(app)
ssh_handover.register(app)
ssh_known_hosts.register(app)


@app.command(
    "issue",
    epilog=example(
        "dpki ssh issue --ca users --key alice.pub --identity alice --principal ops --for 8h",
        "dpki ssh issue --ca hosts --device gate-1 --hostname gate-1.example.org",
        "dpki ssh issue --ca hosts --fleet gates --hostname '{name}.example.org'",
        "dpki ssh issue --ca users --device gate-1 --principal telemetry    # for its SSH client",
        "dpki ssh issue … --handover gate-1.handover    # then, with the wallet: dpki ssh anchor",
    ),
)
@spends
def issue(
    ca: CaOption,
    device: DeviceOption = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    hostname: Annotated[
        list[str] | None,
        typer.Option(
            "--hostname",
            metavar="HOST",
            help="The device's; {name} stands for its name; may be repeated.",
        ),
    ] = None,
    keygen: KeygenOption = "device",
    key: Annotated[
        Path | None, typer.Option("--key", help="For this SSH public key (FILE.pub).")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="WHO", help="The key's holder, for logs.")
    ] = None,
    principal: Annotated[
        list[str] | None,
        typer.Option(
            "--principal",
            metavar="NAME",
            help="What the holder, a person or a device's client, may be; may be repeated.",
        ),
    ] = None,
    lifetime: LifetimeOption = None,
    reason: ReasonOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The certificate's file; default: beside the key."),
    ] = None,
    handover: Annotated[
        Path | None,
        typer.Option(
            "--handover",
            metavar="FILE",
            help="The operator's wallet is elsewhere: write what it has to anchor to this file.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Issue certificates. Prints their files.

    Each is signed in the HSM, anchored on chain, and handed out: a device's travels to it as a
    sealed bundle, of a host CA for its SSH server, of a user CA for its client; a person's is
    written beside the public key. With --handover it waits, signed, for dpki ssh anchor on the
    operator's machine, and is handed out by dpki ssh resume after that.
    """
    from dpki.cli.ssh_work import issue_one
    from dpki.cli.wish import IssueWish, verify_wish, with_name

    devices = selected(device, fleet, label)
    wish = IssueWish(
        ca=ca,
        device=None if devices.is_everything else str(devices),
        hostnames=tuple(hostname or ()),
        keygen=keygen,
        key=key,
        identity=identity,
        principals=tuple(principal or ()),
        lifetime=lifetime,
        reason=reason or "",
        out=out,
    )
    verify_wish(wish if devices.is_everything else with_name(wish, "x"))
    output = Output(json=json)
    if not devices.is_everything and devices.one is None:
        from dpki.cli.ssh_devices import issue_devices

        if handover is not None or out is not None:
            raise UsageError("--handover and --out go with one device, by its name")
        issue_devices(output, home, devices, wish, pin=pin, passphrase=passphrase, dry_run=dry_run)
        return
    if devices.one is not None:
        wish = with_name(wish, devices.one)
    if handover is not None:
        from dpki.cli.handing import hand_over_one

        hand_over_one(output, home, wish, handover, pin=pin, dry_run=dry_run)
        return
    issue_one(output, home, wish, pin=pin, passphrase=passphrase, dry_run=dry_run)


@app.command(
    "rotate",
    epilog=example(
        "dpki ssh rotate --device gate-1 --ca hosts --revoke-old",
        "dpki ssh rotate --fleet gates --label site=hh --ca hosts",
        "dpki ssh rotate --from users --ca users-2027 --dry-run",
    ),
)
@spends
def rotate(
    ca: CaOption,
    device: DeviceOption = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    old: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="All that lives of this CA, of people too."),
    ] = None,
    keygen: KeygenOption = "device",
    lifetime: LifetimeOption = None,
    reason: ReasonOption = None,
    revoke_old: Annotated[
        bool,
        typer.Option(
            "--revoke-old", help="Revoke the earlier ones; a device's, of predecessors too."
        ),
    ] = False,
    despite_watermark: Annotated[
        bool,
        typer.Option(
            "--despite-watermark",
            help="With --from: also what its watermark alone revoked, as after a stolen CA key.",
        ),
    ] = False,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Issue devices' next certificates, or a whole CA's. Prints their files.

    With --device, --fleet or --label: for the names of each device's last one of that CA, and its
    next key or one made here.

    With --from: to everybody who holds a living certificate of that CA, for the same key and
    principals and, without --for, to the same end. By the journal; whoever has one is passed over,
    so that an interrupted run is gone on with. Up to 1,000 are one transaction.
    """
    whose = UsageError(
        "whose certificate?",
        hint="give --device NAME, --fleet or --label, or --from OLD (without --keygen)",
    )
    devices = selected(device, fleet, label)
    if old is not None:
        from dpki.cli.reissue import ReissueWish, reissue_all

        if not devices.is_everything or keygen != "device":
            raise whose
        wish = ReissueWish(old, ca, lifetime, reason or "", revoke_old, despite_watermark)
        reissue_all(Output(json=json), home, wish, pin=pin, passphrase=passphrase, dry_run=dry_run)
        return
    if devices.is_everything or despite_watermark:
        raise whose
    if devices.one is None:
        from dpki.cli.ssh_devices import rotate_devices
        from dpki.cli.wish import IssueWish

        every = IssueWish(
            ca=ca,
            device=str(devices),
            hostnames=(),
            keygen=keygen,
            key=None,
            identity=None,
            principals=(),
            lifetime=lifetime,
            reason=reason or "",
            out=None,
        )
        rotate_devices(
            Output(json=json),
            home,
            devices,
            every,
            revoke_old=revoke_old,
            pin=pin,
            passphrase=passphrase,
            dry_run=dry_run,
        )
        return
    from dpki.cli.ssh_work import rotate_one

    rotate_one(
        Output(json=json),
        home,
        device=devices.one,
        ca=ca,
        keygen=keygen,
        lifetime=lifetime,
        reason=reason or "",
        revoke_old=revoke_old,
        pin=pin,
        passphrase=passphrase,
        dry_run=dry_run,
    )


@app.command(
    "revoke",
    epilog=example(
        "dpki ssh revoke --certificate alice-cert.pub",
        "dpki ssh revoke --ca users --serial 17 --serial 18",
        "dpki ssh revoke --ca users --below 1000",
        "dpki ssh revoke --device gate-1",
        "dpki ssh revoke --label site=hh --ca hosts --dry-run",
    ),
)
@spends
def revoke(
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="NAME", help="The CA's local name.")
    ] = None,
    serial: Annotated[
        list[int] | None, typer.Option("--serial", min=1, help="With --ca; may be repeated.")
    ] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option("--certificate", help="A …-cert.pub; may be repeated.")
    ] = None,
    device: DeviceOption = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    below: Annotated[
        int | None,
        typer.Option("--below", min=2, help="With --ca: every lower serial, in one stroke."),
    ] = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke certificates, for ever. Prints their serials.

    Of devices: all that they hold and that has not expired.
    """
    from dpki.cli.ca_work import raise_watermark
    from dpki.cli.ssh_work import revoke_some

    devices = selected(device, fleet, label)
    ways = [bool(serial), bool(certificate), not devices.is_everything, below is not None]
    needs_ca = bool(serial) or below is not None
    if ways.count(True) != 1 or (needs_ca and ca is None) or (certificate and ca is not None):
        raise UsageError(
            "which certificates?",
            hint="give --ca NAME with --serial N or --below N, or --certificate FILE, or"
            " --device NAME, --fleet or --label",
        )
    if ca is not None and below is not None:
        raise_watermark(Output(json=json), home, ca, below, dry_run=dry_run, passphrase=passphrase)
        return
    revoke_some(
        Output(json=json),
        home,
        ca=ca,
        serials=serial or [],
        certificates=certificate or [],
        devices=devices,
        passphrase=passphrase,
        dry_run=dry_run,
    )


@app.command("list", epilog=example("dpki ssh list --ca users", "dpki ssh list --fleet gates"))
def list_(
    ca: Annotated[str | None, typer.Option("--ca", metavar="NAME", help="Only this CA's.")] = None,
    device: DeviceOption = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List what was issued, and what became of it on chain."""
    from dpki.cli.ssh_work import list_all

    devices = selected(device, fleet, label)
    list_all(Output(json=json), home, ca, devices)


@app.command(
    "resume",
    epilog=example("dpki ssh resume --dry-run", "dpki ssh resume --handover ~/handovers"),
)
@spends
def resume(
    handover: Annotated[
        Path | None,
        typer.Option(
            "--handover",
            metavar="FOLDER",
            help="Write what waits for the operator's wallet, elsewhere, to files in this folder.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Finish what an interrupted run left.

    Batches of the journal are anchored, or signed again where another took their serials. Without a
    wallet: certificates that the operator has anchored meanwhile are handed out.
    """
    from dpki.cli.resume import resume_all

    resume_all(
        Output(json=json),
        home,
        pin=pin,
        passphrase=passphrase,
        dry_run=dry_run,
        handover=handover,
    )
