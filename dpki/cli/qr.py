"""A request as QR codes (ISO/IEC 18004) in a terminal: as many as it takes, each as it fits."""

from __future__ import annotations

import io
import os
import sys
from bisect import bisect_left
from collections.abc import Sequence

import segno
import typer

from dpki.cli.output import Output
from dpki.devices.enrollment import EnrollmentRequest, request_line, request_parts
from dpki.devices.request_text import MOST_PARTS

WINDOW = 80, 24
"""Columns and rows of a terminal that doesn't say."""

PAPER = 80, 40
"""The same of what is no terminal, such as a file: whoever shows it makes room."""

SMALLEST = 5
"""The least version of a code: what an ordinary terminal's 24 rows show."""

_LARGEST = 40
_QUIET = 4
_SIDE = 17 + 4 * SMALLEST + 2 * _QUIET
_LEAST = _SIDE, (_SIDE + 1) // 2 + 1
# Black on white, whatever the terminal's own colours; left out where it is no terminal.
_COLOURS, _PLAIN = "\x1b[97;40m", "\x1b[0m"


def show_codes(output: Output, request: EnrollmentRequest) -> None:
    """Show a request: at a terminal one code at a time, else all of them.

    Ctrl-C there ends the showing and nothing else.
    """
    columns, rows = _room()
    texts = code_texts(request, largest_version(columns, rows))
    if columns < _LEAST[0] or rows < _LEAST[1]:
        least = "{} columns and {} rows".format(*_LEAST)
        output.say(f"this window is too small for a QR code: make it {least}")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        for number, text in enumerate(texts, 1):
            output.say(f"{draw(text)}\ncode {number} of {len(texts)}")
        return
    if len(texts) > 1:
        output.say(f"{len(texts)} QR codes; a larger window, or a smaller font, makes them fewer")
    try:
        _show_one_by_one(output, texts)
    except (KeyboardInterrupt, typer.Abort):
        output.say("\nno more codes; the request's file has all of it")


def largest_version(columns: int, rows: int) -> int:
    """Return the version of the largest code that a terminal shows whole, with a line below it."""
    modules = min(columns, 2 * (rows - 1)) - 2 * _QUIET
    return min(max((modules - 17) // 4, SMALLEST), _LARGEST)


def code_texts(request: EnrollmentRequest, version: int) -> tuple[str, ...]:
    """Return what codes up to a version say: the request's line, or as few parts as will do."""
    line = request_line(request)
    if _fits(line, version):
        return (line,)
    count = 1 + bisect_left(
        range(1, MOST_PARTS),
        True,
        key=lambda count: _fits(max(request_parts(request, count), key=len), version),
    )
    return request_parts(request, count)


def draw(text: str) -> str:
    """Return a code of block characters, two of its rows in each line."""
    drawn = io.StringIO()
    segno.make_qr(text, error="l").terminal(drawn, border=_QUIET, compact=True)
    return "\n".join(f"{_COLOURS}{line}{_PLAIN}" for line in drawn.getvalue().splitlines())


def follow(typed: str, number: int, count: int) -> int:
    """Return the code to show after one: the next, the one that was typed, or the same again."""
    wanted = typed.strip()
    if not wanted:
        return number + 1
    known = wanted.isdecimal() and len(wanted) <= len(str(count)) and 1 <= int(wanted) <= count
    return int(wanted) if known else number


def _show_one_by_one(output: Output, texts: Sequence[str]) -> None:
    number = 1
    while number <= len(texts):
        output.say(draw(texts[number - 1]))
        asked = f"code {number} of {len(texts)}; Enter for the next, or a number"
        typed = typer.prompt(asked, default="", show_default=False, err=True)
        number = follow(typed, number, len(texts))


def _fits(text: str, version: int) -> bool:
    try:
        # Any mask: which is the best takes most of the time, and no room.
        segno.make_qr(text, version=version, error="l", mask=0, boost_error=False)
    except segno.DataOverflowError:
        return False
    return True


def _room() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return PAPER
    # A serial line has no size.
    return columns or WINDOW[0], rows or WINDOW[1]
