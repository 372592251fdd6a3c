"""Private IPFS nodes on loopback: Kubo.

A node here knows nobody, asks nobody and announces nothing: no bootstrap peers, no DHT, no mDNS, no
content routing, every address on 127.0.0.1. Two of them are told about each other, so that what is
put on one and read back from the other's gateway really crosses the network (bitswap). The RPC port
is an admin's port and is never anywhere but on loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from dpki.devnet.process import ManagedProcess, ProcessIdentity
from dpki.errors import ServiceFailed
from dpki.files import make_private_directory, write_atomic
from dpki.http import Deadline, HttpClient, TransferFailed

BINARY_VARIABLE = "DPKI_KUBO"

_READY = timedelta(seconds=30)
_ANSWER = timedelta(seconds=5)
_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class KuboAddresses:
    """Where a node listens.

    Attributes:
        api: RPC port, http://127.0.0.1:port. It gives full control over the node.
        gateway: Gateway, http://127.0.0.1:port.
        peer: Its own multiaddress, with peer id, for other nodes.
    """

    api: str
    gateway: str
    peer: str

    @property
    def api_multiaddr(self) -> str:
        """Return the RPC port as the multiaddress that IPFS clients take."""
        return f"/ip4/127.0.0.1/tcp/{self.api.rsplit(':', 1)[1]}"


class Kubo:
    """A running node; see `wait` for when it is ready.

    Args:
        repository: Folder of its own; made when it isn't there, with the node's blocks afterwards.
        log: File that gets its output.
        attached: Whether it must end with this process.

    Raises:
        ServiceFailed: It is not installed, or can't be set up.
    """

    def __init__(self, repository: Path, log: Path, *, attached: bool = True) -> None:
        binary = find_kubo()
        # LIBP2P_FORCE_PNET and the like must not leak in from somebody's shell.
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("IPFS_", "LIBP2P_"))
        }
        environment["IPFS_PATH"] = str(repository)
        if not (repository / "config").exists():
            make_private_directory(repository)
            _initialise(binary, repository, environment)
        for stale in ("api", "gateway"):
            (repository / stale).unlink(missing_ok=True)
        self.repository = repository
        self.process = ManagedProcess(
            f"Kubo ({repository.name})",
            [binary, "daemon", "--migrate=false"],
            log=log,
            environment=environment,
            attached=attached,
        )
        self._addresses: KuboAddresses | None = None

    @property
    def addresses(self) -> KuboAddresses:
        """Return where it listens; only after `wait`."""
        if self._addresses is None:
            raise ServiceFailed(f"{self.process.name} was not waited for")
        return self._addresses

    @property
    def identity(self) -> ProcessIdentity:
        """Return the process."""
        return self.process.identity

    def wait(self) -> KuboAddresses:
        """Return where it listens, once its RPC port and gateway answer.

        Raises:
            ServiceFailed: It did not get ready in time; it is stopped.
        """
        try:
            with _Client() as client:
                self.process.wait_ready(lambda: self._is_ready(client), _READY)
        except BaseException:
            self.process.stop()
            raise
        return self.addresses

    def _is_ready(self, client: _Client) -> bool:
        # The daemon writes both files only after it listens: no port is guessed, none can be
        # somebody else's.
        try:
            api = (self.repository / "api").read_text().strip()
            gateway = (self.repository / "gateway").read_text().strip()
        except FileNotFoundError:
            return False
        port = re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/([0-9]+)", api)
        if port is None or not re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", gateway):
            return False
        url = f"http://127.0.0.1:{port[1]}"
        node = client.ask(f"{url}/api/v0/id")
        peers = [
            a for a in (node or {}).get("Addresses") or [] if a.startswith("/ip4/127.0.0.1/tcp/")
        ]
        if not peers:
            return False
        self._addresses = KuboAddresses(url, gateway, peers[0])
        return True

    def connect(self, other: Kubo) -> None:
        """Connect to another node and wait until both know.

        Raises:
            ServiceFailed: It did not work.
        """
        with _Client() as client:
            client.ask(f"{self.addresses.api}/api/v0/swarm/connect?arg={other.addresses.peer}")
            self.process.wait_ready(lambda: _peers(client, self) and _peers(client, other), _ANSWER)

    def stop(self) -> None:
        """Stop it; its repository stays."""
        self.process.stop()

    def __enter__(self) -> Self:
        """Wait until it is ready, and return itself."""
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


class _Client:
    """Kubo's RPC: POST, JSON back."""

    def __init__(self) -> None:
        self._http = HttpClient()

    def ask(self, url: str) -> dict[str, list[str]] | None:
        """Return the answer; None where there is none yet."""
        try:
            response = self._http.request("POST", url, deadline=Deadline(_ANSWER), limit=_LIMIT)
            answer: dict[str, list[str]] = json.loads(response.body)
        except (TransferFailed, ValueError):
            return None
        return answer if response.status == 200 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _peers(client: _Client, node: Kubo) -> bool:
    return bool((client.ask(f"{node.addresses.api}/api/v0/swarm/peers") or {}).get("Peers"))


def start_nodes(directory: Path, logs: Path, count: int, *, attached: bool = True) -> list[Kubo]:
    """Start nodes side by side; they are not ready yet (`join_nodes`).

    Raises:
        ServiceFailed: One could not be started; none is left running.
    """
    nodes: list[Kubo] = []
    try:
        for index in range(count):
            name = f"kubo-{index}"
            nodes.append(Kubo(directory / name, logs / f"{name}.log", attached=attached))
    except BaseException:
        stop_all([node.stop for node in nodes])
        raise
    return nodes


def join_nodes(nodes: Sequence[Kubo]) -> None:
    """Wait until every node is ready, and connect each to the first.

    Raises:
        ServiceFailed: One did not get ready.
    """
    for node in nodes:
        node.wait()
    for node in nodes[1:]:
        node.connect(nodes[0])


def stop_all(stops: Sequence[Callable[[], None]]) -> None:
    """Call every one, also after a failure; then raise the first failure."""
    failures: list[Exception] = []
    for stop in stops:
        try:
            stop()
        except Exception as error:  # noqa: BLE001 - the others must be stopped all the same
            failures.append(error)
    if failures:
        raise failures[0]


def find_kubo() -> str:
    """Return the path of Kubo's binary: `$DPKI_KUBO`, else `ipfs` on PATH.

    Raises:
        ServiceFailed: There is none.
    """
    found = shutil.which(os.environ.get(BINARY_VARIABLE) or "ipfs")
    if found is None:
        raise ServiceFailed(
            "Kubo, the IPFS node, is not installed",
            hint="run scripts/setup, or put `ipfs` from https://dist.ipfs.tech/#kubo on PATH, or"
            f" name the binary with {BINARY_VARIABLE}; without it, choose the directory store",
        )
    return found


def _initialise(binary: str, repository: Path, environment: dict[str, str]) -> None:
    """Make a repository and turn off everything that would speak to the world."""
    try:
        # The profile "test": loopback addresses with ports of the system's choice, no bootstrap, no
        # mDNS.
        subprocess.run(
            [binary, "init", "--profile=test"],
            env=environment,
            check=True,
            capture_output=True,
            timeout=30,
        )
        path = repository / "config"
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ServiceFailed(
            f"could not set up a Kubo node in {repository}",
            hint="is it Kubo 0.38 or later? `ipfs version` says",
        ) from error
    config["Addresses"] = {
        "Swarm": ["/ip4/127.0.0.1/tcp/0"],
        "API": "/ip4/127.0.0.1/tcp/0",
        "Gateway": "/ip4/127.0.0.1/tcp/0",
        "Announce": [],
        "AppendAnnounce": [],
        "NoAnnounce": [],
    }
    config["Bootstrap"] = []
    config["Discovery"] = {"MDNS": {"Enabled": False}}
    config["Routing"] = {"Type": "none"}
    config["AutoConf"] = {"Enabled": False}
    config["AutoTLS"] = {"Enabled": False}
    config["Swarm"] = {
        "DisableNatPortMap": True,
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
        # Reuse of ports and QUIC bring nothing between two neighbours on loopback.
        "Transports": {
            "Network": {"QUIC": False, "WebTransport": False, "WebRTCDirect": False, "Relay": False}
        },
    }
    config["Provide"] = {"Enabled": False}
    config["HTTPRetrieval"] = {"Enabled": False}
    config["Version"] = {"SwarmCheckEnabled": False}
    config["Plugins"] = {"Plugins": {"telemetry": {"Disabled": True}}}
    write_atomic(path, json.dumps(config, indent=2).encode())
