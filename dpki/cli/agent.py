"""`dpki agent`: what runs on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from dpki.cli.options import DeviceDirectory, JsonOption, example
from dpki.cli.output import Output

app = typer.Typer(
    name="agent", help="On a device: follow the chain and set up sshd.", no_args_is_help=True
)


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
