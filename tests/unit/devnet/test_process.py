"""Processes that start, end, hang, ignore signals, and outlive or don't outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.devnet import process
from dpki.devnet.process import ManagedProcess, ProcessIdentity
from dpki.errors import ServiceFailed

SLEEP = ["sleep", "600"]
IGNORING = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
STUBBORN = [sys.executable, "-c", IGNORING]
SOON = timedelta(seconds=20)

Start = Callable[..., ManagedProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[ManagedProcess] = []

    def begin(command: list[str], *, attached: bool = True) -> ManagedProcess:
        one = ManagedProcess(
            "test",
            command,
            log=tmp_path / f"{len(started)}.log",
            environment=os.environ,
            attached=attached,
        )
        started.append(one)
        return one

    yield begin
    for one in started:
        one.stop()


def child_of(pid: int) -> int:
    """Return the only child of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: bool(children.read_text().split()))
    (child,) = children.read_text().split()
    return int(child)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    stat = process._stat(pid)
    return stat is not None and stat[0] != "Z"


@pytest.mark.parametrize("attached", [True, False])
class TestEnd:
    def test_stops(self, start: Start, attached: bool) -> None:
        one = start(SLEEP, attached=attached)
        assert one.identity.is_running()
        one.stop()
        assert not one.identity.is_running()

    def test_stopping_twice_is_no_error(self, start: Start, attached: bool) -> None:
        one = start(SLEEP, attached=attached)
        one.stop()
        one.stop()

    def test_one_that_ignores_sigterm_is_killed(
        self, start: Start, attached: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "GRACE", timedelta(milliseconds=200))
        one = start(STUBBORN, attached=attached)
        one.wait_ready(lambda: b"up" in one.log.read_bytes(), SOON)
        inner = child_of(one.identity.pid) if attached else one.identity.pid
        one.stop()
        assert not is_alive(inner)


class TestReady:
    def test_waits(self, start: Start) -> None:
        answers = iter([False, False, True])
        start(SLEEP).wait_ready(lambda: next(answers), SOON)

    @pytest.mark.parametrize("attached", [True, False])
    def test_one_that_ends_first_says_why(self, start: Start, attached: bool) -> None:
        one = start(["sh", "-c", "echo no such luck; exit 3"], attached=attached)
        with pytest.raises(ServiceFailed, match="ended while starting: no such luck") as caught:
            one.wait_ready(lambda: False, SOON)
        assert str(one.log) in caught.value.hint

    def test_one_that_never_gets_ready(self, start: Start) -> None:
        one = start(SLEEP)
        with pytest.raises(ServiceFailed, match=r"not ready within 0\.03 s"):
            one.wait_ready(lambda: False, timedelta(milliseconds=30))

    def test_a_program_that_is_not_there(self, start: Start) -> None:
        with pytest.raises(ServiceFailed, match="could not start test"):
            start(["/nowhere/at/all"], attached=False)
        with pytest.raises(ServiceFailed, match="ended while starting"):
            start(["/nowhere/at/all"]).wait_ready(lambda: False, SOON)

    def test_the_log_is_private(self, start: Start) -> None:
        assert start(SLEEP).log.stat().st_mode & 0o777 == 0o600


class TestParent:
    """An attached process ends with its parent, however that ends; a detached one doesn't."""

    @pytest.mark.parametrize("attached", [True, False])
    def test_killed(self, tmp_path: Path, attached: bool) -> None:
        program = (
            "import os, sys, threading, time; from pathlib import Path; "
            "from dpki.devnet.process import ManagedProcess; found = []; "
            "begin = lambda: found.append(ManagedProcess('x', ['sleep', '600'],"
            f" log=Path({str(tmp_path / 'log')!r}),"
            f" environment=os.environ, attached={attached})); "
            # Started by a thread that ends: PR_SET_PDEATHSIG alone would kill it here.
            "thread = threading.Thread(target=begin); thread.start(); thread.join(); "
            "print(found[0].identity.pid, flush=True); time.sleep(600)"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        identity = ProcessIdentity.of("x", int(parent.stdout.readline()))
        inner = child_of(identity.pid) if attached else identity.pid
        try:
            assert is_alive(inner)
            parent.kill()
            parent.wait()
            if attached:
                until(lambda: not is_alive(inner) and not identity.is_running())
            else:
                assert identity.stop()
            assert not is_alive(inner)
        finally:
            parent.stdout.close()
            if is_alive(inner):
                os.kill(inner, signal.SIGKILL)

    def test_the_supervisor_killed(self, start: Start) -> None:
        one = start(SLEEP)
        inner = child_of(one.identity.pid)
        os.kill(one.identity.pid, signal.SIGKILL)
        until(lambda: not is_alive(inner))

    def test_ctrl_c_goes_to_the_parent_alone(self, start: Start) -> None:
        one = start(SLEEP)
        assert os.getsid(one.identity.pid) != os.getsid(0)


class TestIdentity:
    def test_another_process_with_the_same_pid_is_left_alone(self, start: Start) -> None:
        one = start(SLEEP, attached=False)
        for stranger in (
            replace(one.identity, started=one.identity.started + 1),
            replace(one.identity, boot="another"),
        ):
            assert not stranger.is_running()
            assert not stranger.stop()
            assert one.identity.is_running()

    def test_one_that_is_gone(self, start: Start) -> None:
        one = start(["true"], attached=False)
        one._process.wait()
        assert not one.identity.is_running()
        assert not one.identity.stop()

    def test_a_zombie_is_gone(self, start: Start) -> None:
        one = start(["sleep", "600"], attached=False)
        os.kill(one.identity.pid, signal.SIGKILL)
        until(lambda: not one.identity.is_running())
        assert process._stat(one.identity.pid) is not None

    def test_names_with_brackets_do_not_confuse(self, tmp_path: Path, start: Start) -> None:
        program = tmp_path / "a) S 1 (b"
        program.symlink_to("/bin/sleep")
        one = start([str(program), "600"], attached=False)
        until(lambda: "a) S" in Path(f"/proc/{one.identity.pid}/comm").read_text())
        assert ProcessIdentity.of("x", one.identity.pid).started == one.identity.started

    def test_no_process(self) -> None:
        with pytest.raises(ServiceFailed):
            ProcessIdentity.of("x", 2**22 + 1)
