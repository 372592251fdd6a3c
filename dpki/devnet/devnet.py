"""A whole little world on loopback: a chain, two IPFS nodes and a token.

`Devnet` is a context manager: what it started ends with it, and with the process if that is killed.
`up` and `down` are for the command line: what `up` starts stays, described in `devnet.json`, until
`down` stops exactly that.
"""

from __future__ import annotations

import enum
import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from dpki.devnet.accounts import COUNT, development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.devnet.kubo import Kubo, find_kubo, join_nodes, start_nodes, stop_all
from dpki.devnet.softhsm import SoftToken, create_softhsm, create_token
from dpki.devnet.state import FILE, DevnetState, TokenState, load_state, save_state
from dpki.errors import ServiceFailed, UsageError
from dpki.files import make_private_directory

TOKEN_LABEL = "dpki-devnet"

_NODES = 2
_STOP = timedelta(seconds=5)


class Ipfs(enum.Enum):
    """Whether a devnet has IPFS nodes."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    """Goes on without where Kubo is not installed; `Devnet.missing` then says why."""
    OFF = "off"


class Devnet:
    """A development network.

    Args: directory: Its folder: logs, token, IPFS repositories. Taken up again where it exists; the
        chain always starts
            empty.
        ipfs: Whether it has IPFS nodes.
        token: Whether it has a PKCS#11 token.
        optimism: Whether the chain follows the OP stack's rules.
        block_time: Seconds between blocks; None mines at once.
        attached: Whether everything must end with this process.

    Attributes:
        missing: Why something optional is not there; empty where everything is.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ipfs: Ipfs = Ipfs.REQUIRED,
        token: bool = True,
        optimism: bool = False,
        block_time: int | None = None,
        attached: bool = True,
    ) -> None:
        self.directory = directory.absolute()
        self.missing = ""
        self._ipfs = ipfs
        self._with_token = token
        self._optimism = optimism
        self._block_time = block_time
        self._attached = attached
        self._anvil: Anvil | None = None
        self._nodes: list[Kubo] = []
        self._state: DevnetState | None = None

    @property
    def state(self) -> DevnetState:
        """Return where everything is; only while it runs."""
        if self._state is None:
            raise ServiceFailed("the devnet is not running", hint="start it first")
        return self._state

    def start(self) -> DevnetState:
        """Start everything and return where it is.

        Raises:
            ServiceFailed: Something is not installed or did not start; nothing is left running.
        """
        logs = self.directory / "logs"
        make_private_directory(logs)
        try:
            # Kubo takes longest: it gets ready while the others start.
            if self._has_ipfs():
                self._nodes = start_nodes(
                    self.directory / "ipfs", logs, _NODES, attached=self._attached
                )
            self._anvil = Anvil(
                logs, optimism=self._optimism, block_time=self._block_time, attached=self._attached
            )
            token = self._token() if self._with_token else None
            join_nodes(self._nodes)
        except BaseException:
            self.stop()
            raise
        self._state = DevnetState(
            rpc=self._anvil.url,
            chain_id=CHAIN_ID,
            optimism=self._optimism,
            ipfs=tuple(node.addresses for node in self._nodes),
            token=token,
            accounts=tuple(
                str(development_wallet(i, chain_id=CHAIN_ID).address) for i in range(COUNT)
            ),
            logs=logs,
            processes=(self._anvil.identity, *(node.identity for node in self._nodes)),
        )
        return self._state

    def stop(self) -> None:
        """Stop everything that was started, whatever state it is in.

        Raises:
            ServiceFailed: Something does not end; the rest was stopped all the same.
        """
        stops = [node.stop for node in self._nodes]
        if self._anvil is not None:
            stops.append(self._anvil.stop)
        self._nodes, self._anvil, self._state = [], None, None
        stop_all(stops)

    def release(self) -> None:
        """Let the (detached) processes live on without this one."""
        for node in self._nodes:
            node.process.release()
        if self._anvil is not None:
            self._anvil.process.release()

    def _has_ipfs(self) -> bool:
        if self._ipfs is Ipfs.OPTIONAL:
            try:
                find_kubo()
            except ServiceFailed as error:
                self.missing = f"{error.message}: this devnet has no IPFS ({error.hint})"
                return False
        return self._ipfs is not Ipfs.OFF

    def _token(self) -> TokenState:
        directory = self.directory / "token"
        hsm = create_softhsm(directory)
        pin_file = directory / "pin"
        # A second token of the same label would make every key reference ambiguous.
        token = (
            SoftToken(TOKEN_LABEL, pin_file)
            if pin_file.exists()
            else create_token(hsm, TOKEN_LABEL, pin_file)
        )
        return TokenState(hsm.module, token.label, token.pin_file, hsm.environment)

    def __enter__(self) -> Self:
        """Start everything."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()


def up(
    directory: Path,
    *,
    ipfs: Ipfs = Ipfs.REQUIRED,
    optimism: bool = False,
    block_time: int | None = None,
) -> tuple[DevnetState, str]:
    """Start a devnet that outlives this process; return where it is, and what is missing.

    Raises:
        UsageError: One runs in this folder already.
        ServiceFailed: It did not start; nothing is left running.
    """
    directory = directory.absolute()
    earlier = load_state(directory)
    if earlier is not None and any(process.is_running() for process in earlier.processes):
        raise UsageError(
            f"a devnet runs in {directory} already", hint="stop it with `dpki devnet down`"
        )
    devnet = Devnet(directory, ipfs=ipfs, optimism=optimism, block_time=block_time, attached=False)
    state = devnet.start()
    try:
        save_state(directory, state)
    except BaseException:
        devnet.stop()
        raise
    devnet.release()
    return state, devnet.missing


def down(directory: Path, *, remove: bool = False) -> tuple[str, ...]:
    """Stop the devnet that `up` started in this folder; return the names of what was stopped.

    A process whose pid now belongs to something else is left alone.

    Args:
        remove: Also delete its folder: token, keys, IPFS repositories, logs.

    Raises:
        UsageError: There is none.
        ServiceFailed: Something does not end; the rest was stopped all the same.
    """
    state = load_state(directory)
    if state is None:
        raise UsageError(
            f"no devnet was started in {directory}", hint="start one with `dpki devnet up`"
        )
    stopped: list[str] = []

    def stop(index: int) -> None:
        process = state.processes[index]
        if process.stop(_STOP):
            stopped.append(process.name)

    stop_all([partial(stop, index) for index in reversed(range(len(state.processes)))])
    (directory / FILE).unlink(missing_ok=True)
    if remove:
        shutil.rmtree(directory)
    return tuple(stopped)
