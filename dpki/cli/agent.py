"""`dpki agent`: what runs on a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import DeviceDirectory, JsonOption, example
from dpki.cli.output import Output

if TYPE_CHECKING:
    from dpki.agent.host import Deed, Host

RootOption = Annotated[
    Path,
    typer.Option("--root", help="Root folder of a host that does not run, such as an image."),
]
RehearseOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
]

app = typer.Typer(no_args_is_help=True)


@app.command("once", epilog=example("dpki agent once --dir /etc/dpki"))
def once(directory: DeviceDirectory, json: JsonOption = False) -> None:
    """Bring the device up to date with the chain, once.

    Prints the block that it was decided from. Exit status 5 when something could not be fetched or
    checked; what was installed stays.
    """
    from dpki.agent.once import run_once

    output = Output(json=json)
    with output.working("following the chain"):
        report = run_once(directory.absolute())
    for line in report.lines():
        output.say(line)
    output.result(report.to_json(), report.block.number)
    raise typer.Exit(report.exit_status)


@app.command("run", epilog=example("dpki agent run --dir /etc/dpki"))
def run(directory: DeviceDirectory, json: JsonOption = False) -> None:
    """Look after the device until told to end: the service.

    Follows the chain by subscription and by polling, and installs what is new. Tells a line for
    each thing that happens, as data with --json. SIGHUP reads device.toml again, SIGTERM ends it.
    """
    from dpki.agent.daemon import run_daemon
    from dpki.agent.log import log_line

    output = Output(json=json)

    def tell(event: str, facts: Mapping[str, object]) -> None:
        with output.paused():
            output.event({"event": event, **facts}, log_line(event, facts))

    with output.working("looking after the device"):
        run_daemon(directory.absolute(), tell)


@app.command("status", epilog=example("dpki agent status --dir /etc/dpki"))
def status(directory: DeviceDirectory, json: JsonOption = False) -> None:
    """Show what the last run found, without network."""
    from dpki.agent.status import load_status

    output = Output(json=json)
    found = load_status(directory.absolute())
    for line in found.lines():
        output.say(line)
    output.result(found.to_json(), found.mode)


@app.command(
    "rollback-files",
    epilog=example(
        "dpki agent rollback-files --dir /etc/dpki",
        "dpki agent rollback-files drop-in --dir /etc/dpki --dry-run",
        "dpki agent rollback-files --release --dir /etc/dpki",
    ),
)
def rollback_files(
    directory: DeviceDirectory,
    what: Annotated[
        str | None, typer.Argument(help="A host pair's name, or drop-in; without, lists them.")
    ] = None,
    let_go: Annotated[
        bool, typer.Option("--release", help="Use the newest again, at once.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be brought back; change nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring a previous host certificate or drop-in back.

    Of the drop-in, its settings. Never a KRL, a CA list or an erased key. What was brought back
    stays until what it stands in for changes: by a newer certificate, another configuration, or
    --release. A previous host certificate is there during its overlap. Prints what is in force, or
    what there is.
    """
    from datetime import UTC, datetime

    from dpki.agent.rollback import bring_back, find_candidates, release, verify_candidate
    from dpki.config.device import load_device_config
    from dpki.errors import UsageError

    output, now = Output(json=json), datetime.now(UTC)
    if let_go and what is not None:
        raise UsageError("give either what to bring back, or --release")
    config = load_device_config(directory.absolute())
    candidates = find_candidates(config, now)
    if what is None and not let_go:
        for candidate in candidates:
            output.say(str(candidate))
        if not candidates:
            output.say("nothing earlier is there")
        document = {"candidates": [candidate.to_json() for candidate in candidates]}
        output.result(document, "\n".join(c.name for c in candidates) or None)
        return
    if what is not None:
        output.say(str(verify_candidate(candidates, what)))
    if dry_run:
        output.say("dry run: nothing was changed")
        output.result({"what": what, "done": False}, what)
        return
    with output.working("telling sshd"):
        installed = release(config) if what is None else bring_back(config, what, now)
    for held in installed.held or ("the newest is in use again",):
        output.say(held)
    output.result(
        {"what": what, "done": True, "held": list(installed.held), "changed": [*installed.changed]},
        what,
    )


@app.command("install", epilog=example("dpki agent install --dir /etc/dpki --dry-run"))
def install(
    directory: DeviceDirectory,
    root: RootOption = Path("/"),
    dry_run: RehearseOption = False,
    json: JsonOption = False,
) -> None:
    """Make the agent a service of this host, and start it.

    A systemd unit in a tight sandbox, and the login command's account where it is missing. What is
    there already is left as it is. Prints what was done.
    """
    from dpki.agent.host import plan_install

    host = _host(directory, root)
    _carry_out(Output(json=json), host, plan_install(host), dry_run=dry_run)


@app.command(
    "uninstall",
    epilog=example(
        "dpki agent uninstall --dir /etc/dpki --dry-run",
        "dpki agent uninstall --dir /etc/dpki --purge --yes",
    ),
)
def uninstall(
    directory: DeviceDirectory,
    root: RootOption = Path("/"),
    purge: Annotated[
        bool, typer.Option("--purge", help="Also the device's folder: keys, configuration.")
    ] = False,
    dry_run: RehearseOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before --purge.")] = False,
    json: JsonOption = False,
) -> None:
    """Take the agent off this host, and leave no trace.

    Its service, what it installed for sshd, the drop-in, the account that it made. From then on
    sshd lets in whom its own configuration lets in: neither certificates nor the break-glass key.
    The device's keys stay, but for --purge, which is for ever.
    """
    from dpki.agent.host import plan_uninstall
    from dpki.cli.confirm import confirm, verify_can_ask

    output, host = Output(json=json), _host(directory, root)
    if purge and not dry_run:
        verify_can_ask(str(directory), "to remove", yes=yes)
        confirm(output, str(directory), yes=yes)
    _carry_out(output, host, plan_uninstall(host, purge=purge), dry_run=dry_run)


def _host(directory: Path, root: Path) -> Host:
    import sys

    from dpki.agent.host import Host
    from dpki.agent.systemd import Systemctl
    from dpki.config.device import load_device_config

    directory, root = directory.absolute(), root.absolute()
    config = load_device_config(root / directory.relative_to("/"))
    return Host(directory, config, Systemctl(root), Path(sys.executable).with_name("dpki"), root)


def _carry_out(output: Output, host: Host, deeds: list[Deed], *, dry_run: bool) -> None:
    from dpki.agent.host import verify_may_change

    if deeds and not dry_run:
        verify_may_change(host)
    with output.working("changing the host"):
        for deed in deeds:
            output.say(f"would {deed.says}" if dry_run else deed.says)
            if not dry_run:
                deed.do()
    if not deeds:
        output.say("nothing is left to do")
    output.result({"done": not dry_run, "deeds": [deed.says for deed in deeds]}, None)
