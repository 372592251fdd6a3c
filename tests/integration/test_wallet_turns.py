"""One wallet and many processes: turns, crashes, and what those leave; real commands and chain."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dpki.config.admin import StoreConfig
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.locks import Turn
from dpki.transactions.outbox import Outbox
from tests.admins import Admin, make_admin_of
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder

ACCOUNT = development_wallet(0, chain_id=CHAIN_ID).address
GWEI = 10**9


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        directory = tmp_path_factory.mktemp("admin")
        store = StoreConfig(directories=(directory / "store",))
        yield anvil, make_admin_of(directory, anvil, store, softhsm.token())


@dataclass
class Command:
    """A command in a process of its own."""

    process: subprocess.Popen[str]
    log: Path
    out: Path

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until(self, text: str) -> None:
        """Wait until it has said something."""
        for _ in range(3000):
            if text in self.said:
                return
            assert self.process.poll() is None, self.said
            time.sleep(0.01)
        raise AssertionError(f"it never said {text!r}: {self.said}")

    def end(self) -> int:
        return self.process.wait(60)


@contextmanager
def start(world: World, *words: str) -> Iterator[Command]:
    log, out = (world.directory / f"{abs(hash(words))}.{kind}" for kind in ("log", "out"))
    with log.open("w") as errors, out.open("w") as results:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from dpki.cli.app import main; main()"),
                *words,
                *world.admin.option,
                "--json",
            ],
            env=world.environment(),
            stdout=results,
            stderr=errors,
            text=True,
        )
        try:
            yield Command(process, log, out)
        finally:
            process.kill()
            process.wait()


def nonce(world: World, block: str = "latest") -> int:
    return int(str(world.rpc("eth_getTransactionCount", str(ACCOUNT), block)), 16)


def suspended(world: World) -> bool:
    return "suspended" in str(ok(world.dpki("ca", "show", "hosts", *world.admin.option))["state"])


class TestTurns:
    def test_different_commands_at_once_all_get_through(self, world: World) -> None:
        device = world.directory / "gate-2"
        public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
        ok(world.dpki("device", "init", "--dir", device, *public))
        commands = [
            world.for_key("alice")[:-2],
            ["ca", "create", "third", "--kind", "ssh-host"],
            ["device", "enroll", str(device / "enroll.request"), "--name", "gate-2"],
            ["ca", "suspend", "hosts"],
        ]
        before = nonce(world)
        with ExitStack() as stack:
            with Outbox(CHAIN_ID, ACCOUNT).hold(Turn("dpki a long one")):
                running = [stack.enter_context(start(world, *words)) for words in commands]
                for one in running:
                    one.until("waiting for dpki a long one (process ")
                assert nonce(world, "pending") == before
            for one in running:
                assert one.end() == 0, one.said
        assert nonce(world) == before + len(commands)
        assert Outbox(CHAIN_ID, ACCOUNT).load() == ()
        ok(world.dpki("ca", "lift", "hosts", *world.admin.option))

    def test_whoever_waits_can_be_interrupted(self, world: World) -> None:
        before = nonce(world)
        with (
            Outbox(CHAIN_ID, ACCOUNT).hold(Turn()),
            start(world, "ca", "suspend", "hosts") as command,
        ):
            command.until("waiting for")
            command.process.send_signal(signal.SIGINT)
            assert command.end() == 130
        assert "Traceback" not in command.said
        assert (nonce(world, "pending"), suspended(world)) == (before, False)

    def test_the_name_of_the_command_is_told(self, world: World, chain_stands: None) -> None:
        with start(world, "ca", "suspend", "hosts") as first:
            until_pending(world)
            with start(world, "ca", "create", "fourth", "--kind", "ssh-user") as second:
                second.until(f"waiting for dpki ca suspend (process {first.process.pid})")
                world.rpc("evm_setAutomine", True)
                world.rpc("evm_mine")
                assert (first.end(), second.end()) == (0, 0), second.said


@pytest.fixture
def chain_stands(world: World) -> Iterator[None]:
    """The chain mines nothing by itself; afterwards it does again, and nothing waits."""
    world.rpc("evm_setAutomine", False)
    yield
    world.rpc("evm_setAutomine", True)
    world.rpc("evm_mine")
    if suspended(world):
        ok(world.dpki("ca", "lift", "hosts", *world.admin.option))


def until_pending(world: World) -> None:
    for _ in range(3000):
        if nonce(world, "pending") > nonce(world):
            return
        time.sleep(0.01)
    raise AssertionError("nothing was sent")


def leave_stuck(world: World) -> int:
    """Kill a command that waits for its block; return the number of what it left."""
    with start(world, "ca", "suspend", "hosts") as command:
        until_pending(world)
        command.process.send_signal(signal.SIGKILL)
        command.end()
    return nonce(world)


def hash_at_node(world: World, number: int) -> object:
    found: Any = world.rpc("eth_getTransactionBySenderAndNonce", str(ACCOUNT), hex(number))
    return None if found is None else found["hash"]


def unstick(world: World, number: int, *words: str) -> dict[str, Any]:
    """Replace what is stuck, and mine once that is done; return what the command says."""
    before = hash_at_node(world, number)
    with start(world, "wallet", "unstick", "--yes", *words) as command:
        while hash_at_node(world, number) == before:
            assert command.process.poll() is None, command.said
            time.sleep(0.01)
        world.rpc("evm_mine")
        assert command.end() == 0, command.said
        (replaced,) = command.document["replaced"]
    return dict(replaced)


def pending(world: World) -> list[dict[str, Any]]:
    document = ok(world.dpki("wallet", "pending", *world.admin.option))
    assert document["account"] == str(ACCOUNT)
    return list(document["waiting"])  # type: ignore[call-overload]


@pytest.mark.usefixtures("chain_stands")
class TestWhatACrashLeft:
    def test_is_shown_and_ended(self, world: World) -> None:
        number = leave_stuck(world)
        (waiting,) = pending(world)
        assert waiting["nonce"] == number
        assert waiting["state"] == "waiting at the node"
        assert waiting["sent_by"] == "dpki ca suspend"
        assert waiting["sent_at"]
        assert waiting["does"].startswith("calls 0x")
        assert ok(world.dpki("wallet", "show", *world.admin.option))["waiting"] == 1

        rehearsed = ok(world.dpki("wallet", "unstick", "--dry-run", *world.admin.option))
        assert (rehearsed["waiting"], rehearsed["gas"]) == ([waiting], 25_200)
        assert pending(world) == [waiting]

        replaced = unstick(world, number)
        assert (replaced["became"], replaced["gas"]) == ("ended", 21_000)
        assert (nonce(world), pending(world), suspended(world)) == (number + 1, [], False)
        nothing = world.dpki("wallet", "unstick", "--yes", *world.admin.option)
        assert ok(nothing)["replaced"] == []

    def test_is_sent_again_for_more(self, world: World) -> None:
        number = leave_stuck(world)
        replaced = unstick(world, number, "--resend", "--nonce", str(number))
        assert replaced["became"] == "sent again"
        assert (nonce(world), pending(world), suspended(world)) == (number + 1, [], True)

    def test_is_known_though_the_node_lost_it(self, world: World) -> None:
        number = leave_stuck(world)
        world.rpc("anvil_dropAllTransactions")
        assert nonce(world, "pending") == number
        (waiting,) = pending(world)
        assert (waiting["state"], waiting["sent_by"]) == ("lost by the node", "dpki ca suspend")
        unstick(world, number, "--resend")
        assert (pending(world), suspended(world)) == ([], True)

    def test_is_known_though_it_was_not_sent_from_here(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = leave_stuck(world)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
        (waiting,) = pending(world)
        assert (waiting["nonce"], waiting["sent_by"]) == (number, None)
        unstick(world, number, "--resend")
        assert suspended(world)

    def test_may_get_into_a_block_by_itself(self, world: World) -> None:
        leave_stuck(world)
        with ExitStack() as stack:
            with Outbox(CHAIN_ID, ACCOUNT).hold(Turn()):
                command = stack.enter_context(start(world, "wallet", "unstick", "--yes"))
                command.until("waiting for")
                world.rpc("evm_mine")
            assert command.end() == 1
        assert "is in a block meanwhile" in command.said
        assert (pending(world), suspended(world)) == ([], True)

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        [
            (("--yes", "--nonce", "9999"), 2, "no transaction with number 9999 waits"),
            ((), 2, "to end transactions is for ever, and nobody is at a terminal"),
            (("--yes", "--max-fee", "0.000001"), 1, "and the limit is 0.000001 ETH"),
            (("--yes", "--resend", "--max-fee", "0.000001"), 1, "and the limit is 0.000001 ETH"),
        ],
    )
    def test_is_left_where_it_may_not_be_replaced(
        self, world: World, words: tuple[str, ...], status: int, message: str
    ) -> None:
        number = leave_stuck(world)
        before = pending(world)
        result = world.dpki("wallet", "unstick", *words, *world.admin.option)
        assert result.status == status, result.err
        assert message in result.message
        assert (nonce(world), pending(world)) == (number, before)
