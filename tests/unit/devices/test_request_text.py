from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from dpki.devices.request_text import (
    MOST_PARTS,
    TEXT_LIMIT,
    as_line,
    as_parts,
    fingerprint,
    from_text,
)
from dpki.errors import MalformedInput

REQUEST = random.Random(1).randbytes(5243)
OTHER = random.Random(2).randbytes(2001)
PARTS, OTHERS = as_parts(REQUEST, 15), as_parts(OTHER, 6)
NAME = fingerprint(REQUEST)


def joined(lines: Sequence[str], end: str = "\n") -> bytes:
    return from_text(end.join(lines).encode())


def refusal(lines: Sequence[str]) -> str:
    with pytest.raises(MalformedInput) as refused:
        joined(lines)
    return refused.value.message


def test_a_part_says_what_it_is_in_the_letters_that_codes_pack_best() -> None:
    # ISO/IEC 18004, table 5.
    packed = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    assert len(PARTS) == 15
    for number, part in enumerate(PARTS, 1):
        assert set(part) <= packed
        words = part.split(":")
        assert words[:3] == ["DPKI-REQUEST", NAME.replace("-", "").upper(), f"{number}/15"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n \n", " \n\t"])
def test_parts_in_any_order_and_more_than_once(end: str) -> None:
    shuffled = random.Random(3).sample([*PARTS, *PARTS[3:9]], 21)
    assert (
        joined(PARTS, end) == joined(shuffled, end) == joined(["", *shuffled, ""], end) == REQUEST
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 100])
def test_any_length_in_any_number(size: int) -> None:
    data = REQUEST[:size]
    for count in range(1, 200):
        parts = as_parts(data, count)
        assert len(parts) <= count
        assert joined(parts) == data


def test_a_line_may_be_scanned_twice() -> None:
    line = as_line(REQUEST)
    assert joined([line]) == joined(["", line, "", line], "\r\n") == REQUEST


def test_what_is_no_text_is_left_alone() -> None:
    for data in (b"", REQUEST, b"dpki-request", b" \n"):
        assert from_text(data) == data


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        ([1], "15 parts; missing: 2-15"),
        ([*range(2, 16)], "15 parts; missing: 1"),
        ([1, 2, 5, 6, 7, 9], "15 parts; missing: 3-4, 8, 10-15"),
    ],
    ids=str,
)
def test_missing_parts_are_named(kept: list[int], missing: str) -> None:
    assert missing in refusal([PARTS[number - 1] for number in kept])


def test_many_missing_parts_are_named_in_few_words() -> None:
    said = refusal(as_parts(REQUEST, 200)[::2])
    assert said.endswith("200 parts; missing: 2, 4, 6, 8, 10, 12, 14, 16 and more")


def test_the_same_request_in_windows_of_two_sizes() -> None:
    wide = as_parts(REQUEST, 7)
    assert joined([*PARTS[:4], *wide]) == joined([*PARTS, *wide[:3]]) == REQUEST
    assert "7 parts; missing: 2" in refusal([*PARTS[:4], wide[0], *wide[2:]])


def test_parts_of_two_requests() -> None:
    both = sorted([NAME, fingerprint(OTHER)])
    for lines in ([*PARTS, *OTHERS], [PARTS[0], OTHERS[0]], [*PARTS, OTHERS[5]]):
        said = refusal(lines)
        assert "parts of 2 requests are mixed" in said
        assert f"{both[0]} and {both[1]}" in said


@pytest.mark.parametrize("change", ["letter", "end", "swapped", "name"])
def test_a_damaged_part(change: str) -> None:
    parts = list(PARTS)
    match change:
        case "letter":
            last = parts[4][-1]
            parts[4] = parts[4][:-1] + ("A" if last != "A" else "B")
        case "end":
            parts[4] = parts[4][:-1]
        case "swapped":
            words = [part.split(":") for part in parts]
            words[3][3], words[4][3] = words[4][3], words[3][3]
            parts = [":".join(part) for part in words]
        case _:
            name = NAME.replace("-", "").upper()
            parts = [part.replace(name, name[::-1]) for part in parts]
    assert "a part is damaged" in refusal(parts)


def test_two_readings_of_one_part() -> None:
    assert "part 5 of 15 is there twice, and differs" in refusal([*PARTS, PARTS[4][:-1]])


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "enroll.request",
        PARTS[0].lower(),
        PARTS[0].replace(":1/15:", ":0/15:"),
        PARTS[0].replace(":1/15:", ":16/15:"),
        PARTS[0].replace(":1/15:", ":01/15:"),
        PARTS[0].replace(":1/15:", ":1/99999:"),
        PARTS[0].replace(":1/15:", ":1/999999999999999999:"),
        PARTS[0].replace(":1/15:", ":1/:"),
        PARTS[0].rpartition(":")[0] + ":",
        PARTS[0].replace("DPKI-REQUEST:", "DPKI-REQUEST:A"),
        PARTS[0] + "=",
        PARTS[0] + " " + PARTS[1],
        as_line(REQUEST),
    ],
)
def test_a_line_that_is_no_part(line: str) -> None:
    assert refusal([PARTS[1], "", line]) == "line 3 is no part of an enrolment request"


def test_a_claim_of_very_many_parts_costs_nothing() -> None:
    one = PARTS[0].replace(":1/15:", f":1/{MOST_PARTS}:")
    assert f"{MOST_PARTS} parts; missing: 2-9999" in refusal([one])


def test_text_is_bounded() -> None:
    text = as_parts(REQUEST, 1)[0]
    longest = text + "A" * (TEXT_LIMIT - len(text))
    assert "a part is damaged" in refusal([longest])
    assert "at most 1048576 bytes" in refusal([longest + "A"])
    assert "at most 1048576 bytes" in refusal([as_line(bytes(TEXT_LIMIT))])
