"""Recursive Length Prefix, the encoding of block headers and state: strict in both directions.

Ethereum Yellow Paper, appendix B. Every value has exactly one encoding; any other is refused, so
that what hashes alike is alike. Nothing here trusts a length: each is held against the bytes that
are there, and lists are opened one level at a time, so nesting costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dpki.errors import MalformedInput


class Item(NamedTuple):
    """One decoded item.

    Attributes:
        is_list: Whether `payload` holds items rather than bytes.
        payload: What lies after the prefix.
        raw: The whole item, as encoded.
    """

    is_list: bool
    payload: bytes
    raw: bytes


def encode(data: bytes) -> bytes:
    """Return the encoding of a byte string."""
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _prefix(0x80, len(data)) + data


def encode_integer(value: int) -> bytes:
    """Return the encoding of a number that is not negative: big-endian, no leading zero."""
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


def encode_list(items: Sequence[bytes]) -> bytes:
    """Return the encoding of a list of items that are encoded already."""
    payload = b"".join(items)
    return _prefix(0xC0, len(payload)) + payload


def decode_list(data: bytes) -> list[Item]:
    """Return the items of one encoded list that fills `data` wholly; lists in it stay closed.

    Raises:
        MalformedInput: It is no list, not canonical, truncated, or something follows it.
    """
    item, end = _item(data, 0)
    if not item.is_list or end != len(data):
        raise MalformedInput("the RLP is no single list")
    return split(item.payload)


def decode_bytes(data: bytes) -> bytes:
    """Return the one byte string that fills `data` wholly.

    Raises:
        MalformedInput: As for `decode_list`.
    """
    item, end = _item(data, 0)
    if item.is_list or end != len(data):
        raise MalformedInput("the RLP is no single byte string")
    return item.payload


def split(payload: bytes) -> list[Item]:
    """Return the items that stand one after another in a list's payload.

    Raises:
        MalformedInput: One is not canonical or truncated.
    """
    items = []
    position = 0
    while position < len(payload):
        item, position = _item(payload, position)
        items.append(item)
    return items


def integer(data: bytes, size: int) -> int:
    """Return the number that a byte string of at most `size` bytes stands for.

    Raises:
        MalformedInput: It is longer, or begins with a zero.
    """
    if len(data) > size or data[:1] == b"\0":
        raise MalformedInput("a number in the RLP is too long or begins with a zero")
    return int.from_bytes(data)


def _item(data: bytes, start: int) -> tuple[Item, int]:
    """Return the item at `start`, and where it ends."""
    if start >= len(data):
        raise MalformedInput("the RLP is truncated")
    first = data[start]
    if first < 0x80:
        byte = data[start : start + 1]
        return Item(False, byte, byte), start + 1
    is_list = first >= 0xC0
    short = first - (0xC0 if is_list else 0x80)
    begin, length = start + 1, short
    if short > 55:
        begin += short - 55
        written = data[start + 1 : begin]
        length = int.from_bytes(written)
        # The shortest form alone is canonical; a missing byte shows as a length too small, too.
        if written[:1] == b"\0" or length <= 55:
            raise MalformedInput("a length in the RLP is not in its shortest form")
    end = begin + length
    if end > len(data):
        raise MalformedInput("the RLP is truncated")
    payload = data[begin:end]
    if not is_list and length == 1 and payload[0] < 0x80:
        raise MalformedInput("a byte in the RLP is not in its shortest form")
    return Item(is_list, payload, data[start:end]), end


def _prefix(offset: int, length: int) -> bytes:
    if length <= 55:
        return bytes([offset + length])
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([offset + 55 + len(size)]) + size
