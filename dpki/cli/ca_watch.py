"""`dpki ca watch`: who has to confirm what a CA's operator anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    argument,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.chain.layout import Watchdog

WatchdogOption = Annotated[
    list[str],
    typer.Option(
        "--watchdog",
        metavar="ADDRESS:WEIGHT:KEY",
        help="From dpki watchdog keys; all of them, repeat it.",
    ),
]

WatchdogsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--watchdog",
        metavar="ADDRESS:WEIGHT:KEY",
        help="Who confirms its batches, from the first on; from dpki watchdog keys; repeat it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "watch",
        epilog=example(
            "dpki ca watch users --threshold 2 --watchdog 0x…:1:0x… --watchdog 0x…:1:0x… \\",
            "  --watchdog 0x…:1:0x…",
        ),
    )(watch)


@spends
def watch(
    name: Annotated[str, typer.Argument(metavar="CA", help="The CA's local name, or its id.")],
    watchdog: WatchdogOption,
    threshold: Annotated[
        int, typer.Option("--threshold", min=1, help="The weight that has to confirm.")
    ],
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Name a CA's watchdogs. Prints what is pending, else done.

    From its next serial on, a batch counts only once watchdogs of the threshold's weight confirmed
    it. All of them are named at once; who watches can be changed, that the CA is watched can't.
    """
    from dpki.cli.ca_work import find_named
    from dpki.cli.governing import carry_out

    named = [parse_watchdog(text) for text in watchdog]
    verify_watch([one.weight for one in named], threshold)
    carry_out(
        Output(json=json),
        home,
        lambda desk, calls: [calls.set_watch(find_named(desk, name), named, threshold)],
        dry_run=dry_run,
        passphrase=passphrase,
    )


def parse_watchdog(text: str) -> Watchdog:
    """Parse `ADDRESS:WEIGHT:KEY`.

    Raises:
        UsageError: It is spelled otherwise, or the key is none.
    """
    from dpki.bundle.seal import SealingKeys
    from dpki.chain.layout import Watchdog
    from dpki.model import Address, Hash32

    address, *rest = text.split(":")
    if len(rest) != 2 or not rest[0].isdecimal() or not 1 <= int(rest[0]) < 2**32:
        raise UsageError(
            f"{text[:80]!r} is no watchdog",
            hint="write ADDRESS:WEIGHT:KEY, as dpki watchdog keys says",
        )
    key = argument(Hash32.parse, rest[1])
    argument(SealingKeys, bytes(key))
    return Watchdog(argument(Address.parse, address), int(rest[0]), key)


def verify_watch(weights: list[int], threshold: int) -> None:
    """Refuse a threshold that can't be reached.

    Raises:
        UsageError: All of them weigh less.
    """
    if threshold > sum(weights):
        raise UsageError(
            f"the watchdogs weigh {sum(weights)} together, and {threshold} shall confirm",
            hint="choose a lower --threshold, or more weight",
        )
