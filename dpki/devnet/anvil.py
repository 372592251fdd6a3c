"""A private chain on loopback: Foundry's Anvil."""

from __future__ import annotations

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Self

from dpki.chain import decode
from dpki.chain.rpc import Endpoint
from dpki.devnet.process import ManagedProcess, ProcessIdentity
from dpki.errors import EndpointUnavailable, ServiceFailed

CHAIN_ID = 31337
"""Anvil's default; development accounts are refused everywhere else."""

BINARY_VARIABLE = "DPKI_ANVIL"

_READY = timedelta(seconds=20)


class Anvil:
    """A running Anvil. Its chain begins empty and is forgotten at the end.

    Args:
        logs: Folder for its log.
        optimism: Whether to follow the OP stack's rules instead of Ethereum's Prague.
        block_time: Seconds between blocks; None mines a block for each transaction, at once.
        epoch: Blocks of an epoch: two epochs back a block is final; None for Anvil's 32.
        port: TCP port on loopback; 0 lets the system choose a free one.
        attached: Whether it must end with this process.

    Raises:
        ServiceFailed: It is not installed, or does not start.
    """

    def __init__(
        self,
        logs: Path,
        *,
        optimism: bool = False,
        block_time: int | None = None,
        epoch: int | None = None,
        port: int = 0,
        attached: bool = True,
    ) -> None:
        command = [
            find_anvil(),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--chain-id",
            str(CHAIN_ID),
        ]
        command += ["--network", "optimism"] if optimism else ["--hardfork", "prague"]
        command += [] if block_time is None else ["--block-time", str(block_time)]
        command += [] if epoch is None else ["--slots-in-an-epoch", str(epoch)]
        self.optimism = optimism
        self.process = ManagedProcess(
            "Anvil", command, log=logs / "anvil.log", environment=os.environ, attached=attached
        )
        try:
            self.url = self._wait()
        except BaseException:
            self.process.stop()
            raise

    def _wait(self) -> str:
        """Return its URL once it answers; the port stands in its own log, so it is its own."""
        found: list[str] = []

        def is_ready() -> bool:
            match = re.search(
                rb"(?m)^Listening on (127\.0\.0\.1:[0-9]+)\s*$", self.process.log.read_bytes()
            )
            if match is None:
                return False
            found[:] = [f"http://{match[1].decode()}"]
            with Endpoint(found[0], deadline=timedelta(seconds=2)) as endpoint:
                try:
                    return decode.quantity(endpoint.call("eth_chainId"), endpoint.name) == CHAIN_ID
                except EndpointUnavailable:
                    return False

        self.process.wait_ready(is_ready, _READY)
        return found[0]

    @property
    def identity(self) -> ProcessIdentity:
        """Return the process."""
        return self.process.identity

    def stop(self) -> None:
        """Stop it; its chain is gone."""
        self.process.stop()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def find_anvil() -> str:
    """Return the path of Anvil's binary: `$DPKI_ANVIL`, else on PATH.

    Raises:
        ServiceFailed: There is none.
    """
    found = shutil.which(os.environ.get(BINARY_VARIABLE) or "anvil")
    if found is None:
        raise ServiceFailed(
            "Anvil is not installed",
            hint="install Foundry (https://getfoundry.sh) or run scripts/setup, or name the"
            f" binary with {BINARY_VARIABLE}",
        )
    return found
