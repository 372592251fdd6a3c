"""`dpki council`: several who decide together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli import council_init, council_simulate
from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    YesOption,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import UsageError

app = typer.Typer(no_args_is_help=True)

RoundArgument = Annotated[
    str, typer.Argument(metavar="ROUND", help="The round's id, or how an open one's begins.")
]
CouncilOption = Annotated[
    str | None,
    typer.Option(
        "--council", metavar="ADDRESS", help="The council; default: the domain's governor."
    ),
]
RelayOption = Annotated[
    list[Path] | None,
    typer.Option("--relay", metavar="FILE", help="A signed vote to bring; may be repeated."),
]

council_init.register(app)


@app.command(
    "propose",
    epilog=example(
        "dpki council propose 'ca operator users 0x…' 'ca lifetime users 12h' --for 3d",
        "dpki council propose 'council add 0x… intermediate'",
    ),
)
@spends
def propose(
    actions: Annotated[
        list[str],
        typer.Argument(metavar="ACTION…", help="What to decide, in the words of the commands."),
    ],
    length: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long it stays open; default 7d."),
    ] = None,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Open a round, and approve it yourself. Prints its id.

    All of its actions happen together or not at all. Where the same is open already, you join it.
    """
    from dpki.cli.council_work import open_round

    open_round(
        Output(json=json),
        home,
        actions,
        length,
        council,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("list", epilog=example("dpki council list", "dpki council list --all"))
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Every round that there ever was.")
    ] = False,
    council: CouncilOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the rounds that are open, and what each would do."""
    from dpki.cli.council_show import list_rounds

    list_rounds(Output(json=json), home, council, everything=everything)


@app.command(
    "show",
    epilog=example("dpki council show 0x3f2a", "dpki council show 0x3f2a… --out close.round"),
)
def show(
    round_: RoundArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write what a laptop needs to sign a vote."),
    ] = None,
    council: CouncilOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show in plain words what a round would do. Prints its state.

    And who voted, what is missing, when it ends, and whether its calls would fail now.
    """
    from dpki.cli.council_show import show_round

    show_round(Output(json=json), home, council, round_, out)


@app.command(
    "sign",
    epilog=example("dpki council sign close.round --approve --keystore key.json --out my.vote"),
)
def sign(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The round, from dpki council show --out.")
    ],
    approve: Annotated[bool, typer.Option("--approve", help="Vote for it.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Vote against it.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take a vote back.")] = False,
    nonce: Annotated[
        int, typer.Option("--nonce", help="How many votes of yours the round has counted.")
    ] = 0,
    valid: Annotated[
        str | None,
        typer.Option(
            "--valid", metavar="TIME", help="How long it may be brought; default: always."
        ),
    ] = None,
    keystore: Annotated[
        Path | None, typer.Option("--keystore", help="The key; default: the home's wallet.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The vote; default: beside FILE.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be signed; sign nothing.")
    ] = False,
    yes: YesOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Sign a vote without any network. Prints the vote's file.

    Shows what the round would do first, and finds its id from that: nothing is signed unseen.
    """
    from dpki.cli.council_sign import sign_offline

    chosen = [
        word
        for word, given in (("approve", approve), ("reject", reject), ("withdraw", withdraw))
        if given
    ]
    if len(chosen) != 1:
        raise UsageError("which vote?", hint="one of --approve, --reject and --withdraw")
    sign_offline(
        Output(json=json),
        home,
        file,
        chosen[0],
        nonce=nonce,
        valid=valid,
        keystore=keystore,
        out=out,
        passphrase=passphrase,
        dry_run=dry_run,
        yes=yes,
    )


@app.command(
    "approve",
    epilog=example(
        "dpki council approve 0x3f2a", "dpki council approve 0x3f2a --relay a.vote --relay b.vote"
    ),
)
@spends
def approve(
    round_: RoundArgument,
    relay: RelayOption = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although its calls would fail now.")
    ] = False,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Vote for a round, or bring votes for it. Prints its state."""
    from dpki.cli.council_work import cast

    cast(
        Output(json=json),
        home,
        council,
        round_,
        "approve",
        relay or [],
        anyway=anyway,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("reject", epilog=example("dpki council reject 0x3f2a"))
@spends
def reject(
    round_: RoundArgument,
    relay: RelayOption = None,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Vote against a round, or bring votes against it. Prints its state."""
    from dpki.cli.council_work import cast

    cast(
        Output(json=json),
        home,
        council,
        round_,
        "reject",
        relay or [],
        anyway=True,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("withdraw", epilog=example("dpki council withdraw 0x3f2a"))
@spends
def withdraw(
    round_: RoundArgument,
    relay: RelayOption = None,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take a vote back while the round is not executed. Prints its state."""
    from dpki.cli.council_work import cast

    cast(
        Output(json=json),
        home,
        council,
        round_,
        "withdraw",
        relay or [],
        anyway=True,
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("execute", epilog=example("dpki council execute 0x3f2a --relay last.vote"))
@spends
def execute(
    round_: RoundArgument,
    relay: RelayOption = None,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Do what a round decided; anybody may. Prints its state."""
    from dpki.cli.council_work import execute_round

    execute_round(
        Output(json=json),
        home,
        council,
        round_,
        relay or [],
        dry_run=dry_run,
        passphrase=passphrase,
    )


@app.command("settle", epilog=example("dpki council settle 0x3f2a"))
@spends
def settle(
    round_: RoundArgument,
    council: CouncilOption = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Close the books on a rejected or expired round; anybody may. Prints its state.

    Its proposer may open another one, and weights move by what was rejected.
    """
    from dpki.cli.council_work import settle_round

    settle_round(Output(json=json), home, council, round_, dry_run=dry_run, passphrase=passphrase)


@app.command("members", epilog=example("dpki council members"))
def members(
    council: CouncilOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """List the members with their roles and weights.

    The weights are recomputed from all that ever happened: exit status 3 where the chain differs.
    """
    from dpki.cli.council_weights import list_members

    list_members(Output(json=json), home, council)


@app.command(
    "weights", epilog=example("dpki council weights --plot", "dpki council weights --svg w.svg")
)
def weights(
    plot: Annotated[bool, typer.Option("--plot", help="Draw them over time.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw them into a file.")
    ] = None,
    council: CouncilOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Recompute everybody's weight from the beginning.

    Exit status 3 where the chain says something else than the rules.
    """
    from dpki.cli.council_weights import show_weights

    show_weights(Output(json=json), home, council, plot=plot, svg=svg)


council_simulate.register(app)
