"""Durations as people write them: 90s, 5m, 8h, 30d."""

from __future__ import annotations

import re
from datetime import timedelta

from dpki.errors import UsageError

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """Parse a positive whole number and one unit, such as `8h`.

    Raises:
        UsageError: It is spelled otherwise, zero, or longer than a hundred years.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,9})([dhms])", text)
    duration = timedelta(seconds=int(match[1]) * _SECONDS[match[2]]) if match else None
    if duration is None or duration > _LONGEST:
        raise UsageError(
            f"{text[:40]!r} is not a duration",
            hint="write a positive whole number and s, m, h or d, such as 90s, 5m, 8h or 30d",
        )
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that divides it; fractions of a second are dropped."""
    seconds = int(duration.total_seconds())
    for unit, size in _SECONDS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"
