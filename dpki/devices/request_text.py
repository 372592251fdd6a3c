"""A request as text: one line, or one line for each of the QR codes that it takes.

QR codes (ISO/IEC 18004) pack capitals and digits tighter than bytes: base32 (RFC 4648 section 6)
takes 1.1 bits of a code for each of the request's, base64 in bytes 1.33.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dpki.errors import MalformedInput

TEXT_LIMIT = 1 << 20
"""Bytes of a request as text: the longest in the smallest codes, each of them scanned twice."""

MOST_PARTS = 9999
"""Parts of a request: the number has at most four digits."""

_LINE = "dpki-request:"
_PART = re.compile(rb"DPKI-REQUEST:([A-Z2-7]{16}):([1-9][0-9]{0,3})/([1-9][0-9]{0,3}):([A-Z2-7]+)")
_NAMED = 8
"""Ranges of missing parts that a message names."""


def fingerprint(data: bytes) -> str:
    """Return what people read to each other: 80 bits of a request's hash, in groups of four."""
    return _grouped(_name(data))


def as_line(data: bytes) -> str:
    """Return a request as one line of text."""
    return _LINE + base64.urlsafe_b64encode(data).decode().rstrip("=")


def as_parts(data: bytes, count: int) -> tuple[str, ...]:
    """Return a request as lines of about one length, each of which says what it is a part of.

    Args:
        count: How many parts are wanted; a few less where that many would not be of one length.
    """
    text = base64.b32encode(data).decode().rstrip("=")
    size = -(-len(text) // count)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    whole = f"{_LINE.upper()}{_name(data)}"
    return tuple(f"{whole}:{n}/{len(chunks)}:{chunk}" for n, chunk in enumerate(chunks, 1))


def from_text(data: bytes) -> bytes:
    """Return the request that a line is, or that parts add up to; what is no text, as it is.

    Parts may come in any order and more than once, with empty lines between them.

    Raises:
        MalformedInput: It begins as a text, and is none that `as_line` or `as_parts` writes; parts
            are missing, damaged, or of several requests.
    """
    begins = data.lstrip()[: len(_LINE)]
    if begins.lower() != _LINE.encode():
        return data
    if len(data) > TEXT_LIMIT:
        raise MalformedInput(f"a request as text has at most {TEXT_LIMIT} bytes")
    lines = [line.strip() for line in data.splitlines()]
    distinct = set(filter(None, lines))
    if len(distinct) == 1 and begins == _LINE.encode():
        return _parse_line(distinct.pop())
    return _join(lines)


def _parse_line(line: bytes) -> bytes:
    text = line[len(_LINE) :]
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise MalformedInput("the line is no enrolment request: it is not base64url") from error
    if as_line(data).encode() != line:
        raise MalformedInput("the line is no enrolment request: cut off, or mistyped")
    return data


def _join(lines: Iterable[bytes]) -> bytes:
    names: set[str] = set()
    # A window of another size shows the same request in another number of codes.
    series: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for place, line in enumerate(lines, 1):
        if not line:
            continue
        found = _PART.fullmatch(line)
        if found is None or int(found[2]) > int(found[3]):
            raise MalformedInput(
                f"line {place} is no part of an enrolment request",
                hint="each line is what one QR code says, whole",
            )
        names.add(found[1].decode())
        number, count, chunk = int(found[2]), int(found[3]), found[4]
        if series[count].setdefault(number, chunk) != chunk and len(names) == 1:
            raise MalformedInput(
                f"part {number} of {count} is there twice, and differs: one is damaged",
                hint="remove both lines, and scan that code again",
            )
    if len(names) > 1:
        first, second = (_grouped(name) for name in sorted(names)[:2])
        raise MalformedInput(
            f"parts of {len(names)} requests are mixed, such as {first} and {second}",
            hint="put the lines of each request into a file of its own",
        )
    count, parts = min(series.items(), key=lambda one: one[0] - len(one[1]))
    missing = [number for number in range(1, count + 1) if number not in parts]
    if missing:
        raise MalformedInput(
            f"the request has {count} parts; missing: {_ranges(missing)}",
            hint="scan those codes, too, and add their lines",
        )
    return _decode(b"".join(parts[number] for number in range(1, count + 1)), *names)


def _decode(text: bytes, name: str) -> bytes:
    try:
        data = base64.b32decode(text + b"=" * (-len(text) % 8))
    except ValueError:
        data = b""
    if base64.b32encode(data).rstrip(b"=") != text or _name(data) != name:
        raise MalformedInput(
            f"a part is damaged: together they are not the request {_grouped(name)}",
            hint="scan all the codes again",
        )
    return data


def _name(data: bytes) -> str:
    return base64.b32encode(hashlib.sha256(data).digest()[:10]).decode()


def _grouped(name: str) -> str:
    text = name.lower()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as people write them: 2, 4-6."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    words = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:_NAMED]]
    return ", ".join(words) + (" and more" if len(ranges) > _NAMED else "")
