"""`dpki devnet`: a chain, two IPFS nodes and a token on this machine, for trying and testing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, example
from dpki.cli.output import Output
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.devnet.state import DevnetState

app = typer.Typer(no_args_is_help=True)

DirectoryOption = Annotated[
    Path | None, typer.Option("--dir", help="Its folder; default: devnet in the admin's folder.")
]


@app.command("up", epilog=example("dpki devnet up", "dpki init --devnet ~/.config/dpki/devnet"))
def up(
    directory: DirectoryOption = None,
    optimism: Annotated[bool, typer.Option("--optimism", help="OP-stack rules.")] = False,
    ipfs: Annotated[
        str,
        typer.Option(
            "--ipfs", metavar="required|optional", help="Whether it may do without IPFS nodes."
        ),
    ] = "required",
    block_time: Annotated[
        int | None,
        typer.Option("--block-time", min=1, help="Seconds between blocks; default: at once."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Start a devnet. Prints its endpoint."""
    from dpki.devnet.devnet import Ipfs
    from dpki.devnet.devnet import up as start

    output = Output(json=json)
    if ipfs not in (Ipfs.REQUIRED.value, Ipfs.OPTIONAL.value):
        raise UsageError(f"--ipfs is required or optional, not {ipfs[:40]!r}")
    folder = _folder(directory, home)
    with output.working("starting the devnet"):
        state, missing = start(folder, ipfs=Ipfs(ipfs), optimism=optimism, block_time=block_time)
    if missing:
        output.say(f"warning: {missing}")
    output.say(f"a devnet runs; next: dpki init --devnet {folder}")
    output.result(_describe(state, folder) | {"missing": missing}, state.rpc)


@app.command("status", epilog=example("RPC=$(dpki devnet status)"))
def status(
    directory: DirectoryOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Say whether the devnet runs. Prints its endpoint.

    Exit status 3 when it does not.
    """
    from dpki.devnet.state import load_state

    output = Output(json=json)
    folder = _folder(directory, home)
    state = load_state(folder)
    running = state is not None and all(process.is_running() for process in state.processes)
    if state is None or not running:
        output.say(f"no devnet runs in {folder}")
        output.result({"running": False, "directory": str(folder)})
        raise typer.Exit(3)
    for process in state.processes:
        output.say(f"{process.name} runs, pid {process.pid}")
    output.result(_describe(state, folder), state.rpc)


@app.command("down", epilog=example("dpki devnet down"))
def down(
    directory: DirectoryOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Stop the devnet. Its chain is forgotten, its token stays."""
    from dpki.devnet.devnet import down as stop

    output = Output(json=json)
    with output.working("stopping the devnet"):
        stopped = stop(_folder(directory, home))
    output.say(f"stopped: {', '.join(stopped) or 'nothing was left running'}")
    output.result({"stopped": list(stopped)})


def _folder(directory: Path | None, home: Path | None) -> Path:
    from dpki.config.admin import find_home

    return find_home(home).devnet if directory is None else directory.absolute()


def _describe(state: DevnetState, folder: Path) -> dict[str, object]:
    return {
        "running": True,
        "directory": str(folder),
        "rpc": state.rpc,
        "chain_id": state.chain_id,
        "optimism": state.optimism,
        "ipfs": [{"api": node.api_multiaddr, "gateway": node.gateway} for node in state.ipfs],
        "accounts": list(state.accounts),
        "logs": str(state.logs),
    }
