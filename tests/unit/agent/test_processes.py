"""Which processes belong to a session, as proc(5) shows them, and holding one of them."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent import processes
from dpki.agent.processes import Process, find_members, read_process

LISTENER = Process(10, 1, 0, "sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10", 5.0, None, "")
OWNER = Process(50, 10, 0, "sshd", "sshd: ops [priv]", 100.0, None, "")


def process(number: int, parent: int, *, session: int | None = None, scope: str = "") -> Process:
    return Process(number, parent, 1000, "sh", "sh", 101.0, session, scope)


class TestMembers:
    def test_all_descendants_and_nobody_else(self) -> None:
        inner = [process(51, 50), process(52, 51), process(53, 52)]
        others = [LISTENER, process(60, 10), process(61, 60), process(70, 1)]
        assert find_members(OWNER, [*others, OWNER, *inner]) == tuple(inner)

    def test_what_left_for_init_is_found_by_its_audit_session(self) -> None:
        left = process(80, 1, session=7)
        listener = replace(LISTENER, session=None)
        found = find_members(replace(OWNER, session=7), [listener, left, process(81, 1, session=8)])
        assert found == (left,)

    def test_and_by_its_scope(self) -> None:
        left = process(80, 1, scope="session-7.scope")
        owner = replace(OWNER, scope="session-7.scope")
        stranger = process(81, 1, scope="session-8.scope")
        assert find_members(owner, [LISTENER, left, stranger]) == (left,)

    def test_where_the_listener_is_in_the_same_one_it_tells_nothing(self) -> None:
        """sshd started by hand in somebody's session, without PAM: all its children are in it."""
        listener = replace(LISTENER, session=7, scope="session-7.scope")
        owner = replace(OWNER, session=7, scope="session-7.scope")
        admin = process(80, 1, session=7, scope="session-7.scope")
        assert find_members(owner, [listener, admin, process(51, 50)]) == (process(51, 50),)

    def test_not_the_listener_that_was_started_anew_from_it(self) -> None:
        """By hand, where no service manager does it: everybody would be locked out."""
        owner = replace(OWNER, parent=1, session=7)
        listener, guests = replace(LISTENER, session=7), process(80, 1, session=7)
        assert find_members(owner, [process(1, 0), listener, guests, owner]) == (guests,)

    def test_not_the_agent_itself(self) -> None:
        agent = replace(process(os.getpid(), 50), id=os.getpid())
        assert find_members(OWNER, [agent, process(51, 50)]) == (process(51, 50),)


class TestReading:
    """As proc(5) shows a process."""

    def make(self, proc: Path, *, state: str = "S", name: str = "sshd", audit: str = "7") -> None:
        folder = proc / "50"
        folder.mkdir()
        rest = " ".join(["0"] * 17)
        (folder / "stat").write_text(f"50 ({name}) {state} 10 {rest} {100 * TICKS} 0 0\n")
        (folder / "cmdline").write_bytes(b"sshd: ops [priv]\0\0\0")
        (folder / "sessionid").write_text(audit)
        (folder / "cgroup").write_text("0::/user.slice/user-1000.slice/session-7.scope\n")

    def test_everything_that_is_needed(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        expected = replace(OWNER, session=7, scope="session-7.scope", owner=tmp_path.stat().st_uid)
        assert read_process(50, tmp_path) == expected

    def test_a_name_that_would_be_more_fields(self, tmp_path: Path) -> None:
        self.make(tmp_path, name="a) S 1 (b")
        found = read_process(50, tmp_path)
        assert found is not None
        assert (found.name, found.parent) == ("a) S 1 (b", 10)

    @pytest.mark.parametrize("audit", ["4294967295", "", "x"])
    def test_no_audit_session(self, tmp_path: Path, audit: str) -> None:
        self.make(tmp_path, audit=audit)
        found = read_process(50, tmp_path)
        assert found is not None
        assert found.session is None

    def test_the_gone_and_the_dead(self, tmp_path: Path) -> None:
        assert read_process(51, tmp_path) is None
        self.make(tmp_path, state="Z")
        assert read_process(50, tmp_path) is None


TICKS = os.sysconf("SC_CLK_TCK")


def test_a_process_that_is_another_one_by_now_is_not_held() -> None:
    own = read_process(os.getpid())
    assert own is not None
    with ExitStack() as stack:
        assert processes._hold(own, stack) is not None
        assert processes._hold(replace(own, start=own.start - 1), stack) is None


def test_a_process_that_ends_by_itself_meanwhile_is_no_failure() -> None:
    child = subprocess.Popen(["true"])
    descriptor = os.pidfd_open(child.pid)
    try:
        child.wait()
        processes._send(descriptor, signal.SIGTERM)
    finally:
        os.close(descriptor)
