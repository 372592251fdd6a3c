"""An endpoint between an agent and a chain: it passes on, lies, hangs or is gone, as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dpki.chain.rpc import Call, Reader, RpcError
from tests.fakes.rpc_server import RpcServer

Tell = Callable[[Call, object], object]
"""From a question and the true answer to the one given."""


def honest(call: Call, answer: object) -> object:
    return answer


class Relay:
    """What stands between; each attribute may change at any time.

    Attributes:
        tell: What it makes of answers.
        is_gone: Whether it hangs up on every question.
        hangs: Whether it leaves questions unanswered; it hangs up on them once it does no longer.
        hung: Set once it has left one.
    """

    def __init__(self, chain: Reader) -> None:
        self.chain = chain
        self.tell: Tell = honest
        self.is_gone = False
        self.hangs = False
        self.hung = threading.Event()
        self.server = RpcServer(self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, asked: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
        if self.is_gone:
            raise OSError
        if self.hangs:
            self.hung.set()
            while self.hangs and not over.wait(0.1):
                pass
            raise OSError
        many = asked if isinstance(asked, list) else [asked]
        answers = [self._pass_on(question) for question in many]
        body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
        send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _pass_on(self, question: dict[str, Any]) -> dict[str, object]:
        call = Call(question["method"], question["params"])
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": question["id"]}
        try:
            return answer | {"result": self.tell(call, self.chain.call(call.method, call.params))}
        except RpcError as error:
            return answer | {"error": {"code": error.code, "message": error.rpc_message}}


@contextmanager
def open_relay(chain: Reader) -> Iterator[Relay]:
    """Open a relay to the chain, and end it."""
    relay = Relay(chain)
    try:
        yield relay
    finally:
        relay.server.close()
