"""`dpki explain`: why an error comes, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from dpki.cli.options import JsonOption, example
from dpki.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog=example("dpki explain EndpointUnavailable"))(explain)


def _complete(incomplete: str) -> list[str]:
    from dpki.explanations import explanations

    return [name for name in explanations() if name.lower().startswith(incomplete.lower())]


def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ERROR]",
            help="The error's name, or a contract's name for its refusal; all, if left out.",
            autocompletion=_complete,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain an error: why, and what to do.

    Names are the ones that failing commands show, in words and in --json.
    """
    from dpki.explanations import explanations, find_explanation

    output = Output(json=json)
    if name is None:
        output.result({"errors": list(explanations())}, "\n".join(explanations()))
        return
    found = find_explanation(name)
    lines = [f"{found.name} (exit status {found.exit_status})", f"why:  {found.why}"]
    lines.append(f"next: {found.next}")
    document = {
        "name": found.name,
        "exit_status": found.exit_status,
        "why": found.why,
        "next": found.next,
        "contract": found.is_revert,
    }
    output.result(document, "\n".join(lines))
