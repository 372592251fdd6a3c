"""`dpki agent`: what runs on a device."""

from __future__ import annotations

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


@app.command("status", epilog=example("dpki agent status --dir /etc/dpki"))
def status(directory: DeviceDirectory, json: JsonOption = False) -> None:
    """Show what the last run found, without network."""
    from dpki.agent.status import load_status

    output = Output(json=json)
    found = load_status(directory.absolute())
    for line in found.lines():
        output.say(line)
    output.result(found.to_json(), found.mode)
