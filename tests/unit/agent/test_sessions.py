"""Which processes belong to a session, and which records are believed."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent import sessions
from dpki.agent.index import IndexedCertificate, LoginIndex
from dpki.agent.login import boot_id, leave_record
from dpki.agent.sessions import (
    BOOT_VARIABLE,
    Process,
    end_sessions,
    find_members,
    is_session,
    next_end,
    parse_login_record,
    read_process,
    this_boot,
)
from dpki.errors import MalformedInput
from dpki.model import AuthorityId, Hash32

BOOT = "0123abcd"
HASH = "ab" * 32
NAMED = f"{'cd' * 32}-7-{HASH}"
RECORD = parse_login_record(f"50-{BOOT}-100500-{NAMED}-marked")
LISTENER = Process(10, 1, 0, "sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10", 5.0, None, "")
OWNER = Process(50, 10, 0, "sshd", "sshd: ops [priv]", 100.0, None, "")


def process(number: int, parent: int, *, session: int | None = None, scope: str = "") -> Process:
    return Process(number, parent, 1000, "sh", "sh", 101.0, session, scope)


class TestRecords:
    def test_what_a_name_says(self) -> None:
        assert (RECORD.process, RECORD.boot, RECORD.moment) == (50, BOOT, 100.5)
        assert RECORD.certificate == NAMED
        assert RECORD.is_marked

    def test_what_a_name_said_before_it_told_ca_and_serial(self) -> None:
        record = parse_login_record(f"50-{BOOT}-100500-{HASH}")
        assert record.certificate == HASH
        assert not record.is_marked

    def test_what_the_login_command_writes_is_read(self, tmp_path: Path) -> None:
        for marked in (False, True):
            path = leave_record(str(tmp_path), os.getpid(), NAMED, marked)
            record = parse_login_record(Path(path).name)
            assert record.is_marked is marked
            own = read_process(os.getpid())
            assert own is not None
            assert own.start <= record.moment

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "x",
            f"0-{BOOT}-1-{NAMED}",
            f"50-{BOOT}-1-{NAMED[2:]}",
            f"50-{BOOT}-1-{NAMED}-marke",
            f"50-{BOOT.upper()}-1-{NAMED}",
            f"99999999999-{BOOT}-1-{NAMED}",
            f"50-{BOOT}-1-{NAMED}\n",
        ],
    )
    def test_anything_else_is_refused(self, name: str) -> None:
        with pytest.raises(MalformedInput, match="no record of a login"):
            parse_login_record(name)


class TestNextEnd:
    """Wherever the certificate's holder is by then: who is inside is asked when it is time."""

    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    def index(self, *minutes: int) -> LoginIndex:
        ca = AuthorityId(b"\1" * 32)
        return LoginIndex(
            (),
            tuple(
                IndexedCertificate(Hash32(bytes([m]) * 32), ca, m, self.NOW + timedelta(minutes=m))
                for m in minutes
            ),
            (),
        )

    def test_is_the_earliest_that_is_still_to_come(self) -> None:
        later = self.NOW + timedelta(minutes=3)
        assert next_end(self.index(5, 9, 2), self.NOW) == self.NOW + timedelta(minutes=2)
        assert next_end(self.index(5, 9, 2), later) == self.NOW + timedelta(minutes=5)

    def test_one_that_is_over_is_not_waited_for(self) -> None:
        assert next_end(self.index(5), self.NOW + timedelta(minutes=5)) is None
        assert next_end(self.index(), self.NOW) is None


class TestWhoseProcess:
    def test_the_one_that_asked(self) -> None:
        assert is_session(OWNER, RECORD, BOOT)
        assert is_session(replace(OWNER, title="sshd-session: ops [priv]"), RECORD, BOOT)

    @pytest.mark.parametrize(
        "changes",
        [
            {"start": 102.0},
            {"name": "bash"},
            {"title": "bash"},
            {"title": LISTENER.title},
            {"title": "/usr/sbin/sshd -D"},
            {"owner": 54321},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_no_other(self, changes: dict[str, object]) -> None:
        assert not is_session(replace(OWNER, **changes), RECORD, BOOT)  # type: ignore[arg-type]

    def test_nobodys_of_another_boot(self) -> None:
        assert not is_session(OWNER, RECORD, "ffffffff")


class TestTheBoot:
    """As the login command reads it, whatever the agent's sandbox shows of /proc."""

    def test_by_systemds_word(self) -> None:
        assert this_boot({BOOT_VARIABLE: f"{BOOT}4b2a4c21" + "0" * 16}) == BOOT

    @pytest.mark.parametrize("word", [None, "", "%b", "0123ABCD", "0123abc"])
    def test_without_one_by_the_kernels(self, word: str | None) -> None:
        assert this_boot({} if word is None else {BOOT_VARIABLE: word}) == boot_id()

    def test_a_session_of_it_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The attack: in a container, whose boot has a name of its own, a guest stays for ever."""
        monkeypatch.setattr(sessions, "read_process", lambda number: OWNER)
        monkeypatch.setattr(sessions, "_end", lambda owner: True)
        index = LoginIndex((), (), ())
        for boot, count in ((boot_id(), 0), (BOOT, 1)):
            monkeypatch.setenv(BOOT_VARIABLE, BOOT + "0" * 24)
            (tmp_path / f"50-{boot}-100500-{NAMED}-marked").touch()
            assert len(end_sessions(tmp_path, index, datetime.now(UTC))) == count
            assert not any(tmp_path.iterdir())


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
    with sessions.ExitStack() as stack:
        assert sessions._hold(own, stack) is not None
        assert sessions._hold(replace(own, start=own.start - 1), stack) is None


def test_a_process_that_ends_by_itself_meanwhile_is_no_failure() -> None:
    child = subprocess.Popen(["true"])
    descriptor = os.pidfd_open(child.pid)
    try:
        child.wait()
        sessions._send(descriptor, signal.SIGTERM)
    finally:
        os.close(descriptor)
