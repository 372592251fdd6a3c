"""Padding to size classes, so that a sealed thing's size tells little (docs/formats.md, Bundle)."""

from __future__ import annotations

from dpki.errors import MalformedInput

LARGEST_CLASS = 512 << 10
"""Bytes of the largest size class."""

_SMALLEST_CLASS = 1 << 10
_LENGTH_BYTES = 4

MAXIMUM_FRAMED = LARGEST_CLASS - _LENGTH_BYTES
"""Bytes that fit in the largest size class."""


def frame(plaintext: bytes) -> bytes:
    """Return the plaintext behind its length, padded with zeros to the smallest class.

    Raises:
        MalformedInput: It fits in none.
    """
    if len(plaintext) > MAXIMUM_FRAMED:
        raise MalformedInput(
            f"{len(plaintext)} bytes do not fit in a bundle of at most {MAXIMUM_FRAMED}"
        )
    framed = len(plaintext).to_bytes(_LENGTH_BYTES, "big") + plaintext
    return framed.ljust(_size_class(len(framed)), b"\0")


def unframe(framed: bytes) -> bytes:
    """Return what `frame` was given.

    Raises:
        MalformedInput: It is padded otherwise.
    """
    length = int.from_bytes(framed[:_LENGTH_BYTES], "big")
    end = _LENGTH_BYTES + length
    if end > len(framed) or _size_class(end) != len(framed) or any(framed[end:]):
        raise MalformedInput("the bundle's padding is not what it should be")
    return framed[_LENGTH_BYTES:end]


def is_size_class(length: int) -> bool:
    """Return whether something of this many bytes can be framed."""
    return _SMALLEST_CLASS <= length <= LARGEST_CLASS and length & (length - 1) == 0


def _size_class(length: int) -> int:
    size = _SMALLEST_CLASS
    while size < length:
        size *= 2
    return size
