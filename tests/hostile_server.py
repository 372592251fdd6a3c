"""An HTTP server that behaves as badly as a test wants, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Misbehaviour = Callable[[socket.socket, threading.Event], None]
"""Gets a connection whose request was read, and an event that says when to stop."""


class HostileServer:
    """Accepts connections and lets `misbehave` answer each.

    Attributes:
        requests: Every request's head, as it came.
    """

    def __init__(self, misbehave: Misbehaviour) -> None:
        self._misbehave = misbehave
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.5)
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head)
            self._misbehave(connection, self._over)


@contextlib.contextmanager
def hostile_server(misbehave: Misbehaviour) -> Iterator[HostileServer]:
    """Run one for the length of a block."""
    server = HostileServer(misbehave)
    try:
        yield server
    finally:
        server.close()


def say(answer: bytes) -> Misbehaviour:
    """Answer once, then close."""
    return lambda connection, over: connection.sendall(answer)


def say_then_repeat(start: bytes, piece: bytes, pause: float) -> Misbehaviour:
    """Start well, then go on for ever, a piece at a time."""

    def misbehave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(pause):
            connection.sendall(piece)

    return misbehave


def say_then_hang(start: bytes) -> Misbehaviour:
    """Start well, then say nothing more and keep the line."""

    def misbehave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        over.wait()

    return misbehave


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a complete answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
