"""How long a host pair stays beside the one that replaced it. Pure.

Judged by the chain's time: a device's clock may jump either way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Pair:
    """A host pair that is installed.

    Attributes:
        name: Of its files: the first digits of its certificate's hash.
        superseded: The chain's time when another took its place; None for one in use.
    """

    name: str
    superseded: datetime | None = None


def retain(
    pairs: Sequence[Pair],
    wanted: Sequence[str],
    presentable: Collection[str],
    now: datetime,
    overlap: timedelta,
) -> tuple[Pair, ...]:
    """Return the pairs that stay: those in use, and the ones before them for their overlap.

    One whose certificate no longer counts (revoked, expired, its CA suspended) goes at once.

    Args:
        pairs: What is installed.
        wanted: Names of those to use; the best first.
        presentable: Names of those that still count.
        now: The chain's time.
        overlap: How long the others stay.
    """
    kept = [Pair(name) for name in wanted]
    for pair in pairs:
        since = pair.superseded or now
        if pair.name not in wanted and pair.name in presentable and now < since + overlap:
            kept.append(Pair(pair.name, since))
    return tuple(kept)


def keys_to_erase(own: Sequence[bytes], presented: Collection[bytes]) -> tuple[bytes, ...]:
    """Return the host keys made on this device that are older than all that are presented.

    Newer ones wait for their certificate.

    Args:
        own: Public key blobs, the newest last.
        presented: Public key blobs of the pairs that are installed.
    """
    used = [index for index, blob in enumerate(own) if blob in presented]
    return tuple(own[: min(used)]) if used else ()
