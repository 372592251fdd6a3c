"""Options that several commands share, so that they are spelled and explained the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from dpki.errors import MalformedInput, UsageError
from dpki.issuance.selection import Selection, parse_selection

_Typed = TypeVar("_Typed")
_Parsed = TypeVar("_Parsed")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The admin's folder; default $DPKI_HOME or ~/.config/dpki."),
]
PinOption = Annotated[
    str | None,
    typer.Option(
        "--pin",
        metavar="SPEC",
        help="Where the token's PIN comes from: env:NAME, file:PATH, command:…, prompt.",
    ),
]
PassphraseOption = Annotated[
    str | None,
    typer.Option(
        "--passphrase",
        metavar="SPEC",
        help="Where the wallet's passphrase comes from: env:NAME, file:PATH, command:…, prompt.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change and cost; send nothing.")
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Don't ask, even where it is for ever: for scripts.")
]
DomainOption = Annotated[
    str, typer.Option("--domain", metavar="ID", help="The domain id: eip155:…@0x….")
]
RpcOption = Annotated[
    list[str], typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint; may be repeated.")
]
QuorumOption = Annotated[
    int | None,
    typer.Option(
        "--quorum",
        min=1,
        metavar="K",
        help="How many endpoints must agree; default: half of them, rounded up.",
    ),
]
DeviceDirectory = Annotated[
    Path, typer.Option("--dir", help="The device's folder: configuration, keys, state.")
]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="A device's name, or a pattern such as 'gate-*'; may be repeated.",
    ),
]
FleetOption = Annotated[
    str | None, typer.Option("--fleet", metavar="NAME", help="Only devices of this fleet.")
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="KEY=VALUE", help="Only devices with this label; may be repeated."
    ),
]
CaOption = Annotated[str, typer.Option("--ca", metavar="NAME", help="The CA's local name.")]
KeygenOption = Annotated[
    str,
    typer.Option(
        "--keygen",
        metavar="device|admin|same",
        help="Whose key: the device's next one, a pair made here (sealed), or the same as before.",
    ),
]
LifetimeOption = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="Validity, such as 8h or 30d."),
]
ReasonOption = Annotated[
    str | None,
    typer.Option(
        "--reason", metavar="WHY", help="Stands in the key id, and so in logs: TICKET-17."
    ),
]


def selected(
    device: Sequence[str] | None, fleet: str | None, label: Sequence[str] | None
) -> Selection:
    """Return which devices the three options mean; everything where none was given."""
    return parse_selection(device or (), fleet, label or ())


def example(*lines: str) -> str:
    """Return a help text's last part, with commands that can be copied."""
    # \b keeps the lines as they are.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def argument(parse: Callable[[_Typed], _Parsed], typed: _Typed) -> _Parsed:
    """Parse what somebody typed: what is malformed there is a mistake in usage.

    Raises:
        UsageError: It does not parse.
    """
    try:
        return parse(typed)
    except MalformedInput as error:
        raise UsageError(error.message, hint=error.hint) from error
