"""RLP: the specification's own examples, and everything that is no encoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpki.chain import rlp
from dpki.errors import MalformedInput

LONG = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"dog", "83646f67"),
        (b"", "80"),
        (b"\0", "00"),
        (b"\x0f", "0f"),
        (b"\x7f", "7f"),
        (b"\x80", "8180"),
        (b"\x04\0", "820400"),
        (LONG, "b838" + LONG.hex()),
        (b"a" * 55, "b7" + b"a".hex() * 55),
        (b"a" * 1024, "b90400" + b"a".hex() * 1024),
    ],
)
def test_byte_strings(data: bytes, encoded: str) -> None:
    assert rlp.encode(data).hex() == encoded
    assert rlp.decode_bytes(bytes.fromhex(encoded)) == data


@pytest.mark.parametrize(("value", "encoded"), [(0, "80"), (15, "0f"), (1024, "820400")])
def test_numbers(value: int, encoded: str) -> None:
    assert rlp.encode_integer(value).hex() == encoded
    assert rlp.integer(rlp.decode_bytes(bytes.fromhex(encoded)), 2) == value


def test_lists_are_opened_one_level_at_a_time() -> None:
    inner = rlp.encode_list([rlp.encode(b"cat"), rlp.encode_list([])])
    items = rlp.decode_list(rlp.encode_list([inner, rlp.encode(b"dog")]))
    assert [(item.is_list, item.raw) for item in items] == [
        (True, inner),
        (False, rlp.encode(b"dog")),
    ]
    assert [item.payload for item in rlp.split(items[0].payload)] == [b"cat", b""]
    assert rlp.decode_list(b"\xc0") == []


@pytest.mark.parametrize(
    "encoded",
    [
        "",  # nothing
        "8100",  # a small byte with a prefix
        "817f",
        "b8",  # no length
        "b800",  # a long form for a short length
        "b837" + "61" * 55,
        "b90038" + "61" * 56,  # a length with a leading zero
        "b838" + "61" * 55,  # truncated
        "83646f",
        "83646f6767",  # followed by something
        "bfffffffffffffffff",  # a length beyond everything
        "c0",  # a list
    ],
)
def test_no_byte_string(encoded: str) -> None:
    with pytest.raises(MalformedInput):
        rlp.decode_bytes(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "encoded",
    ["", "80", "c1", "c180c0", "f800", "c28100", "f90001" + "80", "ffffffffffffffffff", "c3836162"],
)
def test_no_list(encoded: str) -> None:
    with pytest.raises(MalformedInput):
        rlp.decode_list(bytes.fromhex(encoded))


@pytest.mark.parametrize("data", [b"\0", b"\0\1", b"\1\2\3"])
def test_no_number_of_two_bytes(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        rlp.integer(data, 2)


def test_nesting_costs_nothing() -> None:
    bomb = b""
    for _ in range(5_000):
        bomb = rlp.encode_list([bomb])
    assert len(rlp.decode_list(bomb)) == 1


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_what_is_encoded_is_decoded(values: list[bytes]) -> None:
    encoded = rlp.encode_list([rlp.encode(value) for value in values])
    assert [item.payload for item in rlp.decode_list(encoded)] == values


@given(st.binary(max_size=100))
def test_every_value_has_one_encoding(data: bytes) -> None:
    try:
        items = rlp.decode_list(data)
    except MalformedInput:
        return
    assert rlp.encode_list([item.raw for item in items]) == data
    again = [item.raw if item.is_list else rlp.encode(item.payload) for item in items]
    assert rlp.encode_list(again) == data
