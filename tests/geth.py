"""go-ethereum on a private chain on loopback: a second, independent Ethereum node beside Anvil.

Its development mode, with the devnet's chain id and funded accounts, so that what runs on Anvil can
run on it as well. Blocks are made when there is something to put in, and the newest final block is
a multiple of 32, as far behind as that may be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Self

from dpki.chain import decode
from dpki.chain.rpc import Endpoint
from dpki.devnet.accounts import COUNT, development_wallet
from dpki.devnet.anvil import CHAIN_ID
from dpki.devnet.process import ManagedProcess
from dpki.errors import EndpointUnavailable
from dpki.model import Address

EPOCH = 32
"""Blocks from one that is final to the next."""

_READY = timedelta(seconds=30)
_AFTER_PRAGUE = ("osakaTime", "bogotaTime")
_NETWORK = [
    *("--http", "--http.addr", "127.0.0.1", "--http.port", "0", "--http.api", "eth,debug,dev"),
    *("--ws", "--ws.addr", "127.0.0.1", "--ws.port", "0", "--ws.api", "eth"),
    *("--ipcdisable", "--nodiscover", "--maxpeers", "0", "--cache", "64"),
    # Else it offers what a reorg threw out again, sooner or later; whoever wants that does it.
    "--txpool.nolocals",
]


class Geth:
    """A running go-ethereum; see `Anvil`. Its chain is forgotten with its folder.

    Args:
        directory: An empty folder for its data and log.
    """

    def __init__(self, directory: Path) -> None:
        geth, data = find_geth(), directory / "data"
        genesis = directory / "genesis.json"
        genesis.write_text(json.dumps(_genesis(geth)))
        _run(geth, "init", "--datadir", str(data), str(genesis))
        self.process = ManagedProcess(
            "go-ethereum",
            [geth, "--dev", "--datadir", str(data), *_NETWORK],
            log=directory / "geth.log",
            environment=os.environ,
        )
        try:
            self.url = self._wait()
            # One port for both protocols.
            self.websocket = self.url.replace("http", "ws", 1)
            # Until there is a block it finds no transaction: "transaction indexing is in progress".
            self.mine()
        except BaseException:
            self.process.stop()
            raise

    def _wait(self) -> str:
        found: list[str] = []

        def is_ready() -> bool:
            log = self.process.log.read_bytes()
            match = re.search(rb"HTTP server started\s+endpoint=(127\.0\.0\.1:[0-9]+)", log)
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

    def mine(self, blocks: int = 1) -> None:
        """Make blocks: it makes one for each withdrawal that it is told of."""
        nobody = str(Address(b"\x99" * 20))
        with Endpoint(self.url) as endpoint:
            for _ in range(blocks):
                before = endpoint.call("eth_blockNumber")
                withdrawal = {
                    "index": before,
                    "validatorIndex": "0x0",
                    "address": nobody,
                    "amount": "0x1",
                }
                endpoint.call("dev_addWithdrawal", [withdrawal])
                end = time.monotonic() + _READY.total_seconds()
                while endpoint.call("eth_blockNumber") == before:
                    assert time.monotonic() < end, self.process.tail()

    def finalize(self) -> None:
        """Make blocks until all that there is is final."""
        with Endpoint(self.url) as endpoint:
            head = decode.quantity(endpoint.call("eth_blockNumber"), endpoint.name)
        self.mine(-head % EPOCH)

    def stop(self) -> None:
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_geth() -> str:
    found = shutil.which("geth")
    assert found is not None, "go-ethereum is not installed: run scripts/setup --tests"
    return found


def _genesis(geth: str) -> dict[str, object]:
    """Return its own development genesis, with the devnet's chain id, rules and accounts."""
    genesis: dict[str, dict[str, object]] = json.loads(_run(geth, "--dev", "dumpgenesis"))
    config = {k: v for k, v in genesis["config"].items() if k not in _AFTER_PRAGUE}
    wallets = [development_wallet(index, chain_id=CHAIN_ID) for index in range(COUNT)]
    funded = {str(wallet.address): {"balance": hex(10**22)} for wallet in wallets}
    return {
        **genesis,
        "config": {**config, "chainId": CHAIN_ID},
        "gasLimit": hex(30_000_000),
        "alloc": {**genesis["alloc"], **funded},
    }


def _run(geth: str, *words: str) -> str:
    done = subprocess.run([geth, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
