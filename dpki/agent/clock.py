"""The device's clock against the chain's: who is believed, and when it is said. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta


def judge_clock(clock: datetime, chain: datetime, limit: timedelta) -> str:
    """Return in words how far the clock and the newest block lie apart; nothing within the limit.

    Every rule about time goes by the later of the two, so a clock that stands still or was reset
    opens nothing; but one that is behind lets nothing be remembered of the chain (`memory`), and
    one that is ahead closes what has not ended.

    Args:
        clock: What the device takes for now.
        chain: Time of the newest agreed block.
    """
    apart = chain - clock
    if apart > limit:
        return f"the clock is {_words(apart)} behind the chain, by which time is judged now"
    if -apart > limit:
        return f"the clock is {_words(-apart)} ahead of the chain, unless the chain stands"
    return ""


def _words(apart: timedelta) -> str:
    seconds = int(apart.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"
