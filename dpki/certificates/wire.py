"""SSH's binary encoding (RFC 4251, section 5), read strictly.

Every length is checked and nothing may be left over: what two readers could understand differently
is refused.
"""

from __future__ import annotations

from dpki.errors import MalformedInput


class WireReader:
    """Reads SSH wire values from bytes, in order.

    Args:
        data: Untrusted bytes.
        what: What they should be, for error messages ("SSH certificate").
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._position = 0

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    @property
    def is_at_end(self) -> bool:
        """Whether everything has been read."""
        return self._position == len(self._data)

    def take(self, count: int) -> bytes:
        """Read `count` bytes.

        Raises:
            MalformedInput: Fewer are left.
        """
        end = self._position + count
        if end > len(self._data):
            raise MalformedInput(f"the {self._what} is truncated")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def uint32(self) -> int:
        """Read a big-endian uint32."""
        return int.from_bytes(self.take(4))

    def uint64(self) -> int:
        """Read a big-endian uint64."""
        return int.from_bytes(self.take(8))

    def string(self) -> bytes:
        """Read a length-prefixed string."""
        return self.take(self.uint32())

    def end(self) -> None:
        """Require that everything has been read.

        Raises:
            MalformedInput: Bytes are left over.
        """
        if not self.is_at_end:
            left = len(self._data) - self._position
            raise MalformedInput(f"the {self._what} has {left} bytes too many")


def uint32(value: int) -> bytes:
    """Encode a uint32."""
    return value.to_bytes(4)


def uint64(value: int) -> bytes:
    """Encode a uint64."""
    return value.to_bytes(8)


def string(value: bytes) -> bytes:
    """Encode a length-prefixed string."""
    return uint32(len(value)) + value
