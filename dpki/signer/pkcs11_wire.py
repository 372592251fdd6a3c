"""How dpki talks with the process that a PKCS#11 module runs in: JSON objects behind their length.

One side asks, the other answers; nobody speaks out of turn. Bytes travel as hexadecimal text.
"""

from __future__ import annotations

import json
import socket
import time

_LIMIT = 16 * 1024 * 1024
_HEAD = 4


def send(channel: socket.socket, message: dict[str, object], deadline: float | None = None) -> None:
    """Send a message.

    Args:
        deadline: On the monotonic clock; None for none.

    Raises:
        TimeoutError: The other side did not take it in time.
        OSError: The other side is gone.
    """
    data = json.dumps(message).encode()
    _bound(channel, deadline)
    channel.sendall(len(data).to_bytes(_HEAD) + data)


def receive(channel: socket.socket, deadline: float | None = None) -> dict[str, object]:
    """Return the next message.

    Args:
        deadline: On the monotonic clock; None for none.

    Raises:
        TimeoutError: It did not come, whole, in time.
        EOFError: The other side is gone.
        ValueError: It is no message.
    """
    data, wanted = bytearray(), _HEAD
    while len(data) < wanted:
        _bound(channel, deadline)
        part = channel.recv(65536)
        if not part:
            raise EOFError
        data += part
        if wanted == _HEAD and len(data) >= _HEAD:
            wanted += int.from_bytes(data[:_HEAD])
            if wanted > _LIMIT:
                raise ValueError("the message is too long")
    if len(data) > wanted:
        raise ValueError("more than one message came")
    try:
        message = json.loads(data[_HEAD:])
    except RecursionError as error:
        raise ValueError("the message is nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("the message is no object")
    return message


def _bound(channel: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        # Zero would mean not to wait at all, which raises something else.
        channel.settimeout(max(0.001, deadline - time.monotonic()))
