"""What was used lately, and no more of it: for readers that live for months."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A mapping that holds so many entries, and forgets the one that was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Key, Value] = {}

    def __len__(self) -> int:
        """Return how many it holds."""
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return an entry, which counts as used by that; None where it is not, or no longer."""
        if key not in self._entries:
            return None
        # A dict keeps the order in which keys came in.
        value = self._entries[key] = self._entries.pop(key)
        return value

    def put(self, key: Key, value: Value) -> Value:
        """Enter a value, and return it."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]
        return value

    def keys(self) -> Iterable[Key]:
        """Return the keys, longest unused first."""
        return tuple(self._entries)

    def values(self) -> Iterable[Value]:
        """Return the values, longest unused first."""
        return tuple(self._entries.values())
