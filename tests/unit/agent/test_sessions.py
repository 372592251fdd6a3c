"""Which records of logins are believed, and when their sessions end."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent import sessions
from dpki.agent.index import IndexedCertificate, LoginIndex
from dpki.agent.login import boot_id, leave_record
from dpki.agent.processes import Process, read_process
from dpki.agent.sessions import (
    BOOT_VARIABLE,
    end_sessions,
    is_session,
    next_end,
    parse_login_record,
    this_boot,
)
from dpki.errors import MalformedInput
from dpki.model import AuthorityId, Hash32

BOOT = "0123abcd"
HASH = "ab" * 32
NAMED = f"{'cd' * 32}-7-{HASH}"
RECORD = parse_login_record(f"50-{BOOT}-100500-{NAMED}-marked")
OWNER = Process(50, 10, 0, "sshd", "sshd: ops [priv]", 100.0, None, "")


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
            {"title": "sshd: /usr/sbin/sshd -D [listener] 0 of 10"},
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
        monkeypatch.setattr(sessions, "end_session", lambda owner: True)
        index = LoginIndex((), (), ())
        for boot, count in ((boot_id(), 0), (BOOT, 1)):
            monkeypatch.setenv(BOOT_VARIABLE, BOOT + "0" * 24)
            (tmp_path / f"50-{boot}-100500-{NAMED}-marked").touch()
            assert len(end_sessions(tmp_path, index, datetime.now(UTC))) == count
            assert not any(tmp_path.iterdir())
