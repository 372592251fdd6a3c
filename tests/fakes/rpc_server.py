"""An HTTP server on loopback that answers JSON-RPC as badly as it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Script = Callable[[Any, Callable[[bytes], None], threading.Event], None]
"""Question, a way to send bytes, and an event that is set at the end."""


class RpcServer:
    """One script answers every request; `questions` remembers them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.questions: list[Any] = []
        self.headers: list[str] = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while line := stream.readline():
                length, headers = 0, [line.decode()]
                while (header := stream.readline()).strip():
                    headers.append(header.decode())
                    name, _, value = header.decode().partition(":")
                    if name.lower() == "content-length":
                        length = int(value)
                self.headers.append("".join(headers))
                body = stream.read(length)
                if len(body) < length:
                    # Who asked was killed while asking.
                    return
                question = json.loads(body or b"null")
                self.questions.append(question)
                self.script(question, connection.sendall, self._over)


@contextmanager
def serving(script: Script) -> Iterator[RpcServer]:
    """Run a server for as long as the block lasts."""
    server = RpcServer(script)
    try:
        yield server
    finally:
        server.close()


def response(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    """Return a whole HTTP response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(answer: Callable[[Any], Any]) -> Script:
    """Return a script that sends what `answer` makes of the question, as JSON."""

    def script(question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
        send(response(json.dumps(answer(question)).encode()))

    return script
