"""`dpki ca profile`: what a CA may issue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, example
from dpki.cli.output import Output
from dpki.errors import CheckedFalse

if TYPE_CHECKING:
    from dpki.certificates.profile import Profile

app = typer.Typer(name="profile", help="What a CA may issue.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The CA's local name.")]


@app.command(
    "show",
    epilog=example("dpki ca profile show users > ~/.config/dpki/profiles/users.toml"),
)
def show(name: NameArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show what a CA may issue. Prints its profile, as its file has it.

    A CA without a file has the default: any principal, a terminal for users, nothing else.
    """
    from dpki.config.profile import dump_profile

    output = Output(json=json)
    profile, path, is_default = _find(home, name)
    text = dump_profile(profile)
    output.say(f"the default profile; put your own into {path}" if is_default else f"from {path}")
    output.result(_describe(name, path, is_default) | {"profile": text}, text.rstrip("\n"))


@app.command(
    "lint", epilog=example("dpki ca profile lint users", "dpki ca profile lint users --strict")
)
def lint(
    name: NameArgument,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 3 where something is dangerous.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Say in plain words what a CA's profile allows.

    And what of it is dangerous.
    """
    from dpki.certificates.profile_lint import explain, find_dangers

    output = Output(json=json)
    profile, path, is_default = _find(home, name)
    allowed, dangers = explain(profile), find_dangers(profile)
    lines = [f"{name} {line}" if index == 0 else line for index, line in enumerate(allowed)]
    lines += [f"warning: {danger}" for danger in dangers]
    if strict and dangers:
        output.say("\n".join(lines))
        raise CheckedFalse(
            f"the profile of CA {name} is dangerous in {len(dangers)} ways: {'; '.join(dangers)}",
            hint=f"allow less in {path}",
        )
    output.result(
        _describe(name, path, is_default) | {"allows": list(allowed), "warnings": list(dangers)},
        "\n".join(lines),
    )


def _find(home: Path | None, name: str) -> tuple[Profile, Path, bool]:
    """Return the profile in force, its file, and whether that file is not there."""
    from dpki.chain.snapshot import fetch_snapshot
    from dpki.cli.session import open_desk
    from dpki.config.profile import load_profile
    from dpki.issuance.plan import find_ssh_authority, profile_of

    with open_desk(home) as desk:
        path = desk.home.profile(name)
        configured = load_profile(path)
        ca = desk.index.find_authority(name)
        authority = find_ssh_authority(fetch_snapshot(desk.reader, desk.domain), ca)
    return profile_of(authority, configured), path, configured is None


def _describe(name: str, path: Path, is_default: bool) -> dict[str, object]:
    return {"ca": name, "file": str(path), "is_default": is_default}
