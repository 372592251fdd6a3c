"""The shapes that revocations have in life, for ssh-keygen and sshd to judge alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpki.certificates.krl import Revocations


@dataclass(frozen=True)
class Shape:
    """Revocations of one CA, and serials at their edges.

    Attributes:
        serials: As `Revocations` takes them.
        below: The watermark.
        whole: Whether the CA's key is revoked itself.
        probes: Serials to ask about, mapped to whether they are revoked.
    """

    probes: Mapping[int, bool]
    serials: tuple[int | range, ...] = ()
    below: int = 0
    whole: bool = False

    def revocations(self, authority_key: bytes) -> Revocations:
        """Return them as a CA's."""
        return Revocations(authority_key, self.serials, self.below)


LAST = 2**32 - 1
SPARSE = tuple(range(7, 1_000_000, 997))
ALTERNATING = tuple(range(1, 40_001, 2))

SHAPES = {
    "none": Shape({1: False, LAST: False}),
    "one": Shape({4: False, 5: True, 6: False}, (5,)),
    "neighbours": Shape({4: False, 5: True, 6: True, 7: False}, (5, 6)),
    "range": Shape({9: False, 10: True, 100_000: True, 100_001: False}, (range(10, 100_001),)),
    "ranges": Shape(
        {99: False, 100: True, 199: True, 200: False, 300: True, 399: True, 400: False},
        (range(100, 200), range(300, 400)),
    ),
    "alternating beyond 16,384": Shape(
        {1: True, 2: False, 16_384: False, 16_385: True, 39_999: True, 40_000: False}, ALTERNATING
    ),
    "sparse in a million": Shape(
        {6: False, 7: True, 8: False, SPARSE[-1] - 1: False, SPARSE[-1]: True, 1_000_000: False},
        SPARSE,
    ),
    "watermark": Shape({1: True, 7: True, 8: False}, (), below=8),
    "watermark, ranges and singles": Shape(
        {99: True, 100: False, 500: True, 501: False, 600: True, 699: True, 700: False},
        (3, 500, range(600, 700)),
        below=100,
    ),
    "both ends": Shape({1: True, 2: False, LAST - 1: False, LAST: True}, (1, LAST)),
    "a whole CA's key": Shape({1: True, LAST: True}, whole=True),
    "a whole CA's key and serials": Shape({5: True, 6: True}, (5,), whole=True),
}
