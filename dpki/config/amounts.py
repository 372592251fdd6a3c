"""Amounts of a chain's currency, as people write them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from dpki.errors import UsageError

_ETHER = 10**18
_NANO = 10**9


def format_ether(wei: int) -> str:
    """Return an amount for people, without its unit: at most nine decimals, rounded up."""
    whole, rest = divmod(-(-wei // _NANO), _ETHER // _NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def parse_ether(text: str) -> int:
    """Return the wei of an amount in ether, such as `0.05`.

    Raises:
        UsageError: It is no such amount, or has more than nine decimals.
    """
    try:
        wei = Decimal(text) * _ETHER
    except InvalidOperation:
        wei = Decimal(-1)
    if not wei.is_finite() or wei <= 0 or wei % _NANO:
        raise UsageError(f"{text[:40]!r} is no amount of ether", hint="it reads like 0.05")
    return int(wei)
