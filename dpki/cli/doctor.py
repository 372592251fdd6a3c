"""`dpki doctor`: what is missing, too old, misconfigured or unsafe, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, PinOption, example
from dpki.cli.output import Output

if TYPE_CHECKING:
    from dpki.config.admin import Home
    from dpki.doctor.finding import Finding
    from dpki.signer.pin import PinSource

DEVICE = Path("/etc/dpki")


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = example("dpki doctor", "dpki doctor --dir /etc/dpki")
    app.command("doctor", epilog=epilog)(doctor)


def doctor(
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="A device's folder; default /etc/dpki, if it is there."),
    ] = None,
    pin: PinOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Find what is wrong, and say what mends it.

    Looks at an admin's home, a device's folder, or both, whichever is there; changes nothing.
    Prints how the whole stands: ok, warning, could not check, problem.

    Exit status 0 when all is well, 3 when there is a problem, 5 when something could not be
    checked. The token's keys are opened only where the PIN needs no asking, or with --pin.
    """
    from dpki.config.admin import find_home
    from dpki.config.device import FILE_NAME
    from dpki.doctor.finding import Finding, Level, exit_status, worst

    output = Output(json=json)
    found_home = find_home(home)
    findings: list[Finding] = []
    if directory is None and home is None and (DEVICE / FILE_NAME).exists():
        directory = DEVICE
    if home is not None or (found_home.config.exists() and directory is None):
        findings += _admin(found_home, pin, output)
    if directory is not None:
        findings += _device(directory.absolute(), output)
    if not findings:
        said = "nothing is set up here: neither an admin's home nor a device"
        where = f"{found_home.directory}, {DEVICE}"
        mend = "dpki init (admin) or dpki device init (device)"
        findings.append(Finding("setup", Level.PROBLEM, said, where, mend))
    for finding in findings:
        for line in finding.lines():
            output.say(line)
    verdict = worst(findings).value
    document = {"verdict": verdict, "findings": [finding.to_json() for finding in findings]}
    output.result(document, verdict)
    raise typer.Exit(exit_status(findings))


def _admin(home: Home, pin: str | None, output: Output) -> list[Finding]:
    from dpki.cli.session import now
    from dpki.doctor.admin import examine_admin

    source = _pin_source(home, pin, output)
    with output.working("looking at the admin's side"):
        return examine_admin(home, now(), source)


def _device(directory: Path, output: Output) -> list[Finding]:
    from dpki.cli.session import now
    from dpki.doctor.device import examine_device

    with output.working("looking at the device"):
        return examine_device(directory, now())


def _pin_source(home: Home, spec: str | None, output: Output) -> PinSource | None:
    """Return where the PIN comes from; None where somebody would have to be asked."""
    from dpki.cli.session import secret
    from dpki.config.admin import load_admin_config
    from dpki.errors import ConfigError

    if spec is None:
        try:
            spec = load_admin_config(home).token.pin
        except ConfigError:
            return None  # the examination says why
        if spec == "prompt":
            return None
    source = secret(spec, output)
    known: list[str] = []

    def once(what: str) -> str:
        # One wrong PIN must not become one for each key: tokens lock.
        if not known:
            known.append(source(what))
        return known[0]

    return once
