"""`dpki ssh grant`: the command for the technician, and the time that is left."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.cli import granting
from dpki.cli.granting import format_left, login_command, stay, wait_until
from dpki.cli.output import Output
from dpki.model import AuthorityId

START = datetime(2026, 1, 2, tzinfo=UTC)
CERTIFICATE = (AuthorityId(b"\x01" * 32), 17)


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


def test_it_tells_each_second_what_is_left_and_ends_at_the_end() -> None:
    clock, shown = Clock(), []
    wait_until(START + timedelta(seconds=2.5), shown.append, lambda: clock.now, clock.sleep)
    assert shown == [timedelta(seconds=s) for s in (2.5, 1.5, 0.5)]
    assert clock.slept == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5:00"), (299.2, "5:00"), (59, "0:59"), (0.1, "0:01"), (3600, "1:00:00")],
)
def test_what_is_left_is_never_shown_too_short(seconds: float, text: str) -> None:
    assert format_left(timedelta(seconds=seconds)) == text


def test_the_command_offers_nothing_but_the_certificate() -> None:
    command = login_command(Path("/k/my id.pub"), Path("/k/x-cert.pub"), "ops", "pump-17")
    assert command == (
        "ssh -i '/k/my id' -o CertificateFile=/k/x-cert.pub -o IdentitiesOnly=yes ops@pump-17"
    )


class TestStaying:
    """Who waits, and what an interruption does."""

    @pytest.fixture
    def interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wait(*_: object) -> None:
            signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(granting, "wait_until", wait)

    @pytest.fixture
    def revoked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path | None]:
        opened: list[Path | None] = []

        def open_desk(home: Path | None) -> object:
            opened.append(home)
            raise InterruptedError  # as far as it has to get

        monkeypatch.setattr(granting, "open_desk", open_desk)
        return opened

    def stay(self, *, hold: bool) -> None:
        end = START + timedelta(minutes=5)
        stay(Output(json=False), Path("/home"), end, CERTIFICATE, hold=hold, passphrase=None)

    def test_nobody_waits_where_nobody_looks(
        self, interrupted: None, revoked: list[Path | None]
    ) -> None:
        self.stay(hold=False)
        assert revoked == []

    def test_at_a_terminal_an_interruption_ends_the_showing_alone(
        self,
        interrupted: None,
        revoked: list[Path | None],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        self.stay(hold=False)
        assert revoked == []
        assert "the access goes on until its end" in capsys.readouterr().err

    def test_what_is_held_is_taken_back(
        self, interrupted: None, revoked: list[Path | None]
    ) -> None:
        with pytest.raises(InterruptedError):
            self.stay(hold=True)
        assert revoked == [Path("/home")]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def test_at_the_end_there_is_nothing_to_take_back(
        self, revoked: list[Path | None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The end was in January.
        self.stay(hold=True)
        assert revoked == []
        assert "the access has ended" in capsys.readouterr().err
