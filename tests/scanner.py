"""Somebody with a telephone before a terminal: reads the QR codes that are shown there."""

from __future__ import annotations

import re
from itertools import groupby

import zxingcpp

_INK = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SCALES, _AROUND = (4, 3, 5), 24
"""Pixels of a module, and of what is dark around the code."""


def codes_in(shown: str) -> list[list[str]]:
    """Return the codes on a screen, each as its lines of block characters."""
    lines = _COLOURS.sub("", shown).splitlines()
    runs = groupby(lines, key=lambda line: len(line) > 20 and set(line) <= set(_INK))
    return [list(run) for is_code, run in runs if is_code]


def scan(shown: str) -> list[str]:
    """Return what each code on a screen says."""
    return [_read(code) for code in codes_in(shown)]


def _read(code: list[str]) -> str:
    rows = [row for line in code for row in zip(*(_INK[cell] for cell in line), strict=True)]
    # A phone is held nearer, or farther away, where it does not see the code at once.
    found = (text for scale in _SCALES for text in _look(rows, scale))
    return next(found)


def _look(rows: list[tuple[int, ...]], scale: int) -> list[str]:
    side = bytes(_AROUND)
    lines = [side + bytes(255 * ink for ink in row for _ in range(scale)) + side for row in rows]
    dark = [bytes(len(lines[0]))] * _AROUND
    picture = [*dark, *(line for line in lines for _ in range(scale)), *dark]
    image = memoryview(b"".join(picture)).cast("B", (len(picture), len(lines[0])))
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
    return [str(code.text) for code in found]
