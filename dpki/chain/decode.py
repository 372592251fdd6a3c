"""Strict decoding of what a JSON-RPC endpoint answers.

The encodings are those of the execution API (ethereum/execution-apis, "Hex value encoding").
Whatever does not fit is the endpoint's fault and never evidence about a certificate: every failure
here is `EndpointUnavailable` (claim T11).
"""

from __future__ import annotations

import re
from datetime import datetime

from dpki.errors import EndpointUnavailable
from dpki.model import Block, Hash32, from_timestamp

_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})")
_BLOCKS = 2**63
_DATA = re.compile(r"0x[0-9a-fA-F]*")


def nonsense(source: str, what: str) -> EndpointUnavailable:
    """Return the error for an answer that can't be right."""
    return EndpointUnavailable(
        f"{source} answered nonsense: {what}", hint="try another RPC endpoint; nothing was changed"
    )


def quantity(value: object, source: str) -> int:
    """Return a hexadecimal quantity of at most 256 bits."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise nonsense(source, "a number is malformed")
    return int(value, 16)


def data(value: object, source: str) -> bytes:
    """Return hexadecimal bytes."""
    # A pattern of pairs takes five times as long, and there are a million of these in an audit.
    if not isinstance(value, str) or len(value) % 2 or not _DATA.fullmatch(value):
        raise nonsense(source, "bytes are malformed")
    return bytes.fromhex(value[2:])


def word(value: object, source: str) -> bytes:
    """Return exactly 32 bytes, as storage is answered."""
    decoded = data(value, source)
    if len(decoded) != 32:
        raise nonsense(source, f"a storage word has {len(decoded)} bytes")
    return decoded


def hash32(value: object, source: str) -> Hash32:
    """Return a 32-byte hash."""
    return Hash32(word(value, source))


def time(seconds: int, source: str) -> datetime:
    """Return a timestamp as a time; one beyond the calendar is nonsense."""
    try:
        return from_timestamp(seconds)
    except (ValueError, OverflowError, OSError) as error:
        raise nonsense(source, "a timestamp lies beyond the calendar") from error


def mapping(value: object, source: str) -> dict[str, object]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise nonsense(source, "an object was expected")
    return value


def sequence(value: object, source: str) -> list[object]:
    """Return a JSON array."""
    if not isinstance(value, list):
        raise nonsense(source, "a list was expected")
    return value


def block(value: object, source: str) -> Block:
    """Return number, hash and time of a block object."""
    fields = mapping(value, source)
    number = quantity(fields.get("number"), source)
    if number >= _BLOCKS:
        # Nodes refuse such a number, and databases can't hold it: it would be remembered, and no
        # question about it ever answered.
        raise nonsense(source, "a block number that no chain reaches")
    return Block(
        number=number,
        hash=hash32(fields.get("hash"), source),
        time=time(quantity(fields.get("timestamp"), source), source),
    )
