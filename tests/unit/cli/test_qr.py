from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import segno
import typer

from dpki.cli.device_request import say_request
from dpki.cli.output import Output
from dpki.cli.qr import (
    PAPER,
    SMALLEST,
    WINDOW,
    code_texts,
    draw,
    follow,
    largest_version,
    show_codes,
)
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import (
    EnrollmentRequest,
    make_enrollment_request,
    parse_request,
    request_line,
    request_parts,
)
from dpki.devices.keys import generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from tests.scanner import codes_in, scan
from tests.world import DOMAIN


def request(prekeys: int) -> EnrollmentRequest:
    keys = dataclasses.replace(
        generate_device_keys(), prekeys=tuple(PrekeySecret.generate(n + 1) for n in range(prekeys))
    )
    deadline = datetime.now(UTC) + timedelta(hours=1)
    document = make_key_document(keys)
    return make_enrollment_request(keys, DOMAIN.id, DOMAIN.devices, document, deadline)


NONE, SOME, ALL = request(0), request(16), request(256)
WINDOWS = [WINDOW, (80, 25), PAPER, (100, 54), (132, 60), (240, 67)]


def joined(scanned: list[str]) -> EnrollmentRequest:
    return parse_request("\n".join(scanned).encode())


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_scanner_reads_every_code_that_a_window_shows(window: tuple[int, int]) -> None:
    columns, rows = window
    texts = code_texts(SOME, largest_version(columns, rows))
    shown = [draw(text) for text in texts]
    for code in shown:
        (lines,) = codes_in(code)
        assert len(lines) < rows
        assert max(map(len, lines)) <= columns
    assert [scan(code) for code in shown] == [[text] for text in texts]
    assert joined(list(texts)) == SOME


def version_of(text: str) -> int:
    return int(segno.make_qr(text, error="l", mask=0, boost_error=False).version)


@pytest.mark.parametrize("version", [SMALLEST, 6, 9, 10, 20, 26, 27])
def test_codes_are_alike_and_as_few_as_will_do(version: int) -> None:
    texts = code_texts(SOME, version)
    assert max(map(version_of, texts)) <= version
    *chunks, last = (text.rpartition(":")[2] for text in texts)
    assert len(set(map(len, chunks))) == 1
    assert 0 < len(last) <= len(chunks[0])
    assert max(map(version_of, request_parts(SOME, len(texts) - 1))) > version


@pytest.mark.parametrize(
    ("window", "none", "some"),
    [((80, 24), 28, 72), ((80, 40), 6, 15), ((105, 54), 3, 7), ((125, 64), 2, 5)],
    ids=str,
)
def test_as_many_as_operations_md_says(window: tuple[int, int], none: int, some: int) -> None:
    version = largest_version(*window)
    assert [len(code_texts(asked, version)) for asked in (NONE, SOME)] == [none, some]


def test_one_code_says_the_line_where_it_fits() -> None:
    assert code_texts(NONE, 40) == code_texts(NONE, 38) == (request_line(NONE),)
    assert version_of(request_line(NONE)) == 38
    assert scan(draw(request_line(NONE))) == [request_line(NONE)]
    # In capitals it is a little smaller.
    (only,) = code_texts(NONE, 37)
    assert joined([only]) == NONE
    assert len(code_texts(NONE, 30)) == 2


def test_the_longest_request_in_the_least_window() -> None:
    texts = code_texts(ALL, SMALLEST)
    assert joined(list(texts)) == ALL


def test_the_largest_code_for_a_window() -> None:
    assert largest_version(*WINDOW) == SMALLEST
    # As wide as it is high: two rows of modules make a line.
    assert largest_version(400, 24) == largest_version(45, 400) == SMALLEST
    assert largest_version(49, 400) == largest_version(400, 26) == SMALLEST + 1
    assert largest_version(0, 0) == SMALLEST
    assert largest_version(1000, 1000) == 40


@pytest.mark.parametrize(
    ("typed", "then"),
    [("", 3), (" ", 3), ("1", 1), (" 5 ", 5), ("0", 2), ("6", 2), ("x", 2), ("-1", 2), ("²", 2)],
)
def test_what_is_typed_after_code_2_of_5(typed: str, then: int) -> None:
    assert follow(typed, 2, 5) == then


def test_all_of_them_where_nobody_is_at_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say_request(Output(json=False), SOME, qr=True)
    said = capsys.readouterr().err
    assert SOME.fingerprint in said
    assert "\x1b" not in said
    codes = scan(said)
    assert len(codes) == len(code_texts(SOME, largest_version(*PAPER)))
    assert f"code {len(codes)} of {len(codes)}" in said
    assert joined(codes) == SOME


class Person:
    """Somebody at a terminal who types this."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], *typed: str | BaseException
    ) -> None:
        self.asked: list[str] = []
        self._typed = iter(typed)
        for stream in (sys.stdin, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
        monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size(size))
        monkeypatch.setattr("typer.prompt", self._prompt)

    def _prompt(self, text: str, **_: object) -> str:
        sys.stderr.write(f"{text}: \n")
        self.asked.append(text.partition(";")[0])
        typed = next(self._typed)
        if isinstance(typed, BaseException):
            raise typed
        return typed


def test_one_at_a_time_and_back_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(monkeypatch, (200, 54), "", "", "1", "7", "")
    show_codes(Output(json=False), SOME)
    assert person.asked == [f"code {n} of 7" for n in (1, 2, 3, 1, 7)]
    said = capsys.readouterr().err
    assert scan(said) == [code_texts(SOME, 20)[n] for n in (0, 1, 2, 0, 6)]
    assert "a larger window" in said
    # In colours of its own: a scanner does not care for light letters on a dark ground.
    assert said.count("\x1b[97;40m") == said.count("\x1b[0m") > 0


@pytest.mark.parametrize("end", [KeyboardInterrupt(), typer.Abort()], ids=["Ctrl-C", "Ctrl-D"])
def test_whoever_has_seen_enough(
    end: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(monkeypatch, (200, 54), "", end)
    show_codes(Output(json=False), SOME)
    assert len(person.asked) == 2
    assert "the request's file has all of it" in capsys.readouterr().err


def test_a_terminal_that_does_not_know_its_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(monkeypatch, (0, 0), typer.Abort())
    show_codes(Output(json=False), SOME)
    assert person.asked == [f"code 1 of {len(code_texts(SOME, largest_version(*WINDOW)))}"]
    assert "too small" not in capsys.readouterr().err


@pytest.mark.parametrize("size", [(44, 24), (45, 23)], ids=str)
def test_a_window_that_is_too_small_for_any_code(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Person(monkeypatch, size, typer.Abort())
    show_codes(Output(json=False), NONE)
    assert "too small for a QR code: make it 45 columns and 24 rows" in capsys.readouterr().err


def test_standard_input_may_be_what_nobody_can_open_again() -> None:
    """A socket here, as under ssh; a terminal of somebody else's, as after `sudo -u`, likewise."""
    ours, theirs = socket.socketpair()
    asked = request(0)
    load = "load_request(Path('-')).fingerprint"
    code = f"from pathlib import Path; from dpki.cli.device_work import load_request; print({load})"
    with ours, theirs:
        ours.sendall(request_line(asked).encode())
        ours.shutdown(socket.SHUT_WR)
        said = subprocess.check_output([sys.executable, "-c", code], stdin=theirs, text=True)
    assert said == f"{asked.fingerprint}\n"
