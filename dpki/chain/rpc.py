"""One JSON-RPC endpoint, treated as a stranger (claim T4).

Every question has one total deadline and one size limit, batches are split and their answers
matched by id, and whatever is late, missing, doubled or malformed is `EndpointUnavailable`: the
endpoint can delay, and it can't do more. The rest of `chain` asks a `Reader`, so that several
endpoints that must agree can take one endpoint's place.
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import unquote, urlsplit

from dpki.chain import decode
from dpki.errors import ConfigError, EndpointUnavailable
from dpki.http import Deadline, HttpClient, Response, TransferFailed
from dpki.model import Block, Hash32

BATCH = 100
"""Calls in one JSON batch: public endpoints refuse more."""

REVERTED = 3
"""The code of a call that reverted (geth's, taken over by most)."""

_REVERTS = ("revert", "opcode", "out of gas")

# Seconds to wait after a busy answer; the last one is never waited for.
_PAUSES = (0.2, 0.4, 0.8, math.inf)
_BUSY = frozenset({429, 500, 502, 503, 504})
_HINT = "check the URL and that the node is up, or use another RPC endpoint"


@dataclass(frozen=True)
class Call:
    """One JSON-RPC question."""

    method: str
    params: Sequence[object] = ()


class RpcError(EndpointUnavailable):
    """The endpoint answered with a JSON-RPC error object.

    Attributes:
        code: Its number; the meaning varies between nodes.
        rpc_message: Its text, cut and stripped of control characters, for it is a stranger's.
        data: Its payload: revert data, where a call reverted.
    """

    def __init__(
        self, source: str, method: str, code: int, message: str, data: object = None
    ) -> None:
        self.code = code
        self.rpc_message = printable(message)
        self.data = data
        super().__init__(f"{source} refused {method}: {self.rpc_message} (code {code})", hint=_HINT)

    @property
    def is_revert(self) -> bool:
        """Whether it is the contract that refused, not the endpoint."""
        text = self.rpc_message.lower()
        return self.code == REVERTED or any(word in text for word in _REVERTS)


class _BatchRefused(RpcError):
    """The endpoint refused a batch as a whole."""


class Reader(Protocol):
    """What answers questions about a chain: one endpoint, or several that must agree."""

    @property
    def name(self) -> str:
        """Return what to call it in messages; never a secret."""
        ...

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question.

        Raises:
            RpcError: It was refused.
            EndpointUnavailable: It was not answered, or with nonsense.
        """
        ...

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in the order of the questions.

        Raises:
            RpcError: One of them was refused.
            EndpointUnavailable: One of them was not answered, or with nonsense.
        """
        ...


class Endpoint:
    """One JSON-RPC endpoint over HTTP. Safe to use from several threads.

    Args:
        url: http or https. Credentials in it (user information, API keys in path or query) are used
            and never shown.
        deadline: For one `call` or one `batch`, retries and the last byte of the answer included.
        limit: Bytes in one HTTP answer, at most.
        http: What carries the questions; None makes a client of its own.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline: timedelta = timedelta(seconds=15),
        limit: int = 32 * 1024 * 1024,
        http: HttpClient | None = None,
    ) -> None:
        self._url, self._headers, self._name = _parse_url(url)
        self._deadline = deadline
        self._limit = limit
        self._batch_size = BATCH
        self._ids = itertools.count(1)
        self._http = http or HttpClient()

    @property
    def name(self) -> str:
        """Return scheme, host and port: the rest of the URL may hold credentials."""
        return self._name

    def __repr__(self) -> str:
        """Return the class and the name, without credentials."""
        return f"Endpoint({self._name})"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        return self._single(Call(method, params), Deadline(self._deadline))

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in their order; see `Reader.batch`."""
        deadline = Deadline(self._deadline)
        results: list[object] = []
        while len(results) < len(calls):
            start, size = len(results), self._batch_size
            if size == 1:
                results.append(self._single(calls[start], deadline))
                continue
            try:
                results += self._batch(calls[start : start + size], deadline)
            except _BatchRefused:
                # Free plans allow three calls in a batch, or none; they don't say so beforehand.
                self._batch_size = max(1, size // 5)
        return results

    def _single(self, call: Call, deadline: Deadline) -> object:
        question = self._question(call)
        fields = decode.mapping(self._exchange(question, deadline), self._name)
        # An error may carry no id: the endpoint could not read the question.
        is_unread = "error" in fields and fields.get("id") is None
        if fields.get("id") != question["id"] and not is_unread:
            raise decode.nonsense(self._name, "the answer belongs to another question")
        return self._result(fields, call.method)

    def _batch(self, calls: Sequence[Call], deadline: Deadline) -> list[object]:
        questions = [self._question(call) for call in calls]
        answer = self._exchange(questions, deadline)
        if isinstance(answer, dict) and "error" in answer:
            try:
                self._result(answer, calls[0].method)
            except RpcError as error:
                raise _BatchRefused(
                    self._name, calls[0].method, error.code, error.rpc_message
                ) from error
        wanted = {question["id"] for question in questions}
        answers: dict[object, dict[str, object]] = {}
        for item in decode.sequence(answer, self._name):
            fields = decode.mapping(item, self._name)
            key = fields.get("id")
            if type(key) is not int or key not in wanted:
                raise decode.nonsense(self._name, "a batch holds an answer that nobody asked for")
            if key in answers:
                raise decode.nonsense(self._name, "a batch answers one question twice")
            answers[key] = fields
        if len(answers) != len(questions):
            raise decode.nonsense(
                self._name, f"a batch leaves {len(questions) - len(answers)} questions unanswered"
            )
        return [
            self._result(answers[question["id"]], call.method)
            for question, call in zip(questions, calls, strict=True)
        ]

    def _question(self, call: Call) -> dict[str, object]:
        return {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": call.method,
            "params": list(call.params),
        }

    def _result(self, fields: dict[str, object], method: str) -> object:
        error = fields.get("error")
        if error is not None:
            detail = decode.mapping(error, self._name)
            code, message = detail.get("code"), detail.get("message")
            raise RpcError(
                self._name,
                method,
                code if isinstance(code, int) else 0,
                message if isinstance(message, str) else "no reason given",
                detail.get("data"),
            )
        if "result" not in fields:
            raise decode.nonsense(self._name, "an answer holds neither result nor error")
        return fields["result"]

    def _exchange(self, body: object, deadline: Deadline) -> object:
        response = self._post(json.dumps(body, separators=(",", ":")).encode(), deadline)
        try:
            parsed: object = json.loads(response.body)
        # RecursionError: brackets nested by the thousand.
        except (ValueError, RecursionError) as error:
            if response.status != 200:
                raise self._status(response) from error
            raise decode.nonsense(self._name, "the answer is no JSON") from error
        # Some endpoints put a JSON-RPC error under HTTP status 400.
        if response.status != 200 and not (
            isinstance(parsed, dict) and isinstance(parsed.get("error"), dict)
        ):
            raise self._status(response)
        return parsed

    def _status(self, response: Response) -> EndpointUnavailable:
        return EndpointUnavailable(
            f"{self._name} answered HTTP status {response.status}", hint=_HINT
        )

    def _post(self, content: bytes, deadline: Deadline) -> Response:
        """Send; ask a busy or hiccuping endpoint again, a few times, inside the deadline."""
        pauses = iter(_PAUSES)
        while True:
            try:
                response = self._http.request(
                    "POST",
                    self._url,
                    headers=self._headers,
                    content=content,
                    deadline=deadline,
                    limit=self._limit,
                )
            except TransferFailed as error:
                raise EndpointUnavailable(f"{self._name}: {error.message}", hint=_HINT) from error
            pause = next(pauses)
            if response.status not in _BUSY or pause >= deadline.remaining():
                return response
            time.sleep(pause)


def fetch_block(reader: Reader, which: int | str | Hash32) -> Block | None:
    """Return a block by number, tag or hash; None where the chain has none.

    Args:
        which: A number, "latest", "safe" or "finalized", or a block hash.

    Raises:
        EndpointUnavailable: No answer, or one that is not the block that was asked for.
    """
    shown = fetch_shown_block(reader, which)
    return None if shown is None else shown[0]


def fetch_shown_block(reader: Reader, which: int | str | Hash32) -> tuple[Block, object] | None:
    """Return a block, and the object that it was shown as; see `fetch_block`."""
    if isinstance(which, Hash32):
        answer = reader.call("eth_getBlockByHash", [str(which), False])
    else:
        answer = reader.call(
            "eth_getBlockByNumber", [which if isinstance(which, str) else hex(which), False]
        )
    if answer is None:
        return None
    block = decode.block(answer, reader.name)
    if (isinstance(which, Hash32) and block.hash != which) or (
        isinstance(which, int) and block.number != which
    ):
        raise decode.nonsense(reader.name, "another block than the one asked for")
    return block, answer


def printable(text: str, length: int = 200) -> str:
    """Return a stranger's text cut and without control characters, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:length])


def _parse_url(url: str) -> tuple[str, dict[str, str], str]:
    """Return the URL without user information, the headers, and the name to show."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    wrong = ConfigError(
        "the RPC endpoint is no http or https URL", hint="it reads like https://rpc.example.org"
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not url.isascii()
        or not url.isprintable()
    ):
        raise wrong
    host = f"[{parts.hostname}]" if _is_ipv6(parts.hostname) else parts.hostname
    place = host if port is None else f"{host}:{port}"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    clean = parts._replace(netloc=place, fragment="").geturl()
    return clean, headers, f"{parts.scheme}://{place}"


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
