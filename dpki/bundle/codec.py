"""Deterministic CBOR, the one spelling of everything that dpki puts in files and bundles.

RFC 8949 in core deterministic encoding (section 4.2.1), of five types only: maps with text keys,
lists, byte strings, text and unsigned integers of at most 64 bits. The library's canonical form
sorts keys by length first; for text keys that is the same order as bytewise by their encodings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NoReturn

import cbor2

from dpki.errors import MalformedInput

_MAXIMUM_DEPTH = 8
_UINT64 = 1 << 64


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("tags are not used")


def dumps(value: object) -> bytes:
    """Return the deterministic CBOR of `value`.

    Args:
        value: Of the five types; subclasses of them (`Hash32`, enumerations) are programming
            errors, because a reader would not get them back.
    """
    _verify_types(value, _MAXIMUM_DEPTH)
    return cbor2.dumps(value, canonical=True)


def loads_strict(data: bytes, limit: int) -> Any:
    """Parse deterministic CBOR of the five types.

    Args:
        data: Untrusted.
        limit: Bytes, at most.

    Returns:
        dict, list, bytes, str or int; whoever calls checks which, and every key.

    Raises:
        MalformedInput: Too large, too deep, of other types, in another spelling than `dumps` would
            write, or with something after the end.
    """
    if len(data) > limit:
        raise MalformedInput(f"{len(data)} bytes are more than the {limit} that are allowed")
    try:
        value = cbor2.loads(
            data,
            max_depth=_MAXIMUM_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            # Whatever the tag: they build dates, patterns and shared references.
            semantic_decoders=defaultdict(lambda: _refuse_tag),
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedInput("this is not CBOR, or cut off") from error
    try:
        again = dumps(value)
    except TypeError as error:
        raise MalformedInput("this is CBOR, but of types that are not used here") from error
    if again != data:
        raise MalformedInput("this is not deterministic CBOR, or something follows it")
    return value


def fields_of(
    value: object, what: str, *, required: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    """Return the map when it has exactly these keys, with values of these types.

    Args:
        value: From `loads_strict`.
        what: What it should be, for the message.

    Raises:
        MalformedInput: It is no map; a key is missing, unknown or of another type.
    """
    if not isinstance(value, dict):
        raise MalformedInput(f"this is not a {what}")
    expected = {**required, **optional}
    missing = required.keys() - value.keys()
    if missing:
        raise MalformedInput(f"the {what} lacks {', '.join(sorted(missing))}")
    for key, item in value.items():
        if key not in expected:
            raise MalformedInput(f"the {what} has an unknown field {key[:40]!r}")
        if type(item) is not expected[key]:
            raise MalformedInput(f"the {what}'s field {key} is of the wrong type")
    return value


def verify_version(value: object, what: str, version: int) -> None:
    """Check the field `v` before anything else is looked at.

    Raises:
        MalformedInput: It is absent, or another version's.
    """
    found = value.get("v") if isinstance(value, dict) else None
    if type(found) is not int:
        raise MalformedInput(f"this is not a {what}")
    if found != version:
        raise MalformedInput(
            f"this is a {what} of version {found}; only version {version} is known here",
            hint="a newer dpki may have written it",
        )


def _verify_types(value: object, depth: int) -> None:
    """Raise TypeError unless `value` is made of the five types, exactly."""
    if depth < 0:
        raise TypeError("nested too deep")
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a map's key is {type(key).__name__}, not text")
            _verify_types(item, depth - 1)
    elif kind is list:
        assert isinstance(value, list)
        for item in value:
            _verify_types(item, depth - 1)
    elif kind is int:
        assert isinstance(value, int)
        if not 0 <= value < _UINT64:
            raise TypeError("an integer is negative or longer than 64 bits")
    elif kind not in (bytes, str):
        raise TypeError(f"{kind.__name__} is not used in dpki's formats")
