"""What more than one layer of tests stands on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dpki.devnet.kubo import Kubo, join_nodes, start_nodes, stop_all
from dpki.signer.pkcs11_module import find_module
from tests.brokers import Mosquitto
from tests.faulty_modules import build_faulty_module
from tests.geth import Geth
from tests.soft_tokens import SoftHsmFolder
from tests.ssh_outbox import Host, reachable_host

# A machine that has other work makes no example wrong.
settings.register_profile("dpki", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dpki")

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that
# they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    """Let Python end a recursion as in the program: ape lets it go on until the stack ends."""
    sys.setrecursionlimit(1000)


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another folder than the user's for what wallets have sent: every chain here has the same id.

    A run waits for nobody but itself then.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsmFolder]:
    """A folder for SoftHSM tokens, in force for the whole test process."""
    folder = SoftHsmFolder.create(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder.configuration))
        yield folder


@pytest.fixture(scope="session")
def faulty_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKCS#11 module before SoftHSM's that fails where $DPKI_FAULT says."""
    return build_faulty_module(tmp_path_factory.mktemp("faulty"), find_module())


@pytest.fixture(scope="session")
def kubo_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kubo, Kubo]]:
    """Two private IPFS nodes on loopback that know each other."""
    folder = tmp_path_factory.mktemp("kubo")
    nodes = start_nodes(folder, folder, 2)
    try:
        join_nodes(nodes)
        yield nodes[0], nodes[1]
    finally:
        stop_all([node.stop for node in nodes])


@pytest.fixture(scope="session")
def geth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Geth]:
    """A go-ethereum, of Ethereum's Prague rules."""
    with Geth(tmp_path_factory.mktemp("geth")) as node:
        yield node


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker on loopback, with TLS and a password."""
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture(scope="session")
def ssh_host() -> Iterator[Host]:
    """A host that ssh reaches."""
    with reachable_host() as host:
        yield host


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a program that is found as `ssh`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program
