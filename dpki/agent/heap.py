"""What the C library keeps of memory that the agent is done with.

glibc gives threads heaps of their own, up to eight per processor, and the agent starts a thread for
each look and each question: what one left half empty the next does not fill, and an agent that runs
for years grows. Nor does it give back what an oversized answer needed, once it has learnt that
answers can be large. One heap and fixed thresholds cost nothing here: Python's own lock lets one
thread allocate at a time (mallopt(3)).
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BLOCK = 128 * 1024
"""Bytes: glibc's own thresholds, before it moves them."""


def keep_one_heap() -> None:
    """Have all threads share one heap that gives back what it does not need, from now on.

    Does nothing where the C library has no such setting (musl).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _BLOCK)
