"""T4: an endpoint that stalls, drips or floods costs a bounded time and a bounded memory.

None of these servers ever finishes its answer: a reader without an end would wait for the test's.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dpki.chain.rpc import Call, Endpoint
from dpki.errors import EndpointUnavailable
from dpki.model import Hash32
from tests.fakes.rpc_server import Script, answering, response, serving

SHORT = timedelta(milliseconds=150)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def dripping(first: bytes, drop: bytes) -> Script:
    """Send something, then a little now and then, for ever."""

    def script(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
        send(first)
        while not over.wait(0.02):
            send(drop)

    return script


def silent(first: bytes = b"") -> Script:
    """Send something, then nothing."""

    def script(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
        send(first)
        over.wait()

    return script


STALLS = {
    "says nothing": silent(),
    "stops in the status line": silent(b"HTTP/1.1 2"),
    "stops in the headers": silent(HEAD),
    "stops in the body": silent(HEAD + b"Content-Length: 100\r\n\r\n{"),
    "drips the status line": dripping(b"HTTP/1.1 200 ", b"O"),
    "drips headers": dripping(HEAD, b"x: y\r\n"),
    "drips one header": dripping(HEAD + b"x: ", b"y"),
    "drips interim responses": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips the body": dripping(HEAD + b"Content-Length: 1000000\r\n\r\n[", b" "),
    "drips chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "drips chunk extensions": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "has no end of body": dripping(HEAD + b"\r\n[", b" "),
}


@pytest.mark.parametrize("script", STALLS.values(), ids=STALLS.keys())
def test_a_stalled_answer_ends_at_the_deadline(script: Script) -> None:
    with serving(script) as server, Endpoint(server.url, deadline=SHORT) as endpoint:
        with pytest.raises(EndpointUnavailable) as caught:
            endpoint.call("eth_chainId")
        with pytest.raises(EndpointUnavailable):
            endpoint.batch([Call("eth_chainId")] * 3)
    assert caught.value.exit_status == 5
    assert f"127.0.0.1:{server.port}" in caught.value.message


def test_a_server_that_never_reads() -> None:
    """The question is larger than what the system's buffers take."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Endpoint(url, deadline=SHORT) as endpoint, pytest.raises(EndpointUnavailable):
            endpoint.call("eth_sendRawTransaction", ["0x" + "00" * 30_000_000])


def test_a_server_that_never_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        # Connections beyond the backlog are left hanging by the system.
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            url = f"http://127.0.0.1:{address[1]}"
            with Endpoint(url, deadline=SHORT) as endpoint, pytest.raises(EndpointUnavailable):
                endpoint.call("eth_chainId")
        finally:
            for one in waiting:
                one.close()


def test_one_deadline_holds_for_all_the_requests_of_a_batch() -> None:
    """Ten requests that each take a third of the deadline are seven too many."""
    served = []

    def script(question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
        served.append(len(question))
        over.wait(0.1)
        send(response(json.dumps([{"id": q["id"], "result": "0x1"} for q in question]).encode()))

    with (
        serving(script) as server,
        Endpoint(server.url, deadline=timedelta(milliseconds=300)) as endpoint,
        pytest.raises(EndpointUnavailable),
    ):
        endpoint.batch([Call("eth_chainId")] * 1000)
    assert len(served) < 5


def flooding(head: bytes, chunk: bytes) -> Script:
    """Send without an end, and count."""

    def script(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
        send(head)
        while not over.is_set():
            send(chunk)

    return script


FLOODS = {
    "a long body": flooding(HEAD + b"\r\n", b" " * 65536),
    "chunks": flooding(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"
    ),
    "headers": flooding(HEAD, b"x: " + b"y" * 1000 + b"\r\n"),
    "an announced length": silent(HEAD + b"Content-Length: 99999999999\r\n\r\n"),
    "an absurd length": silent(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "a length that is none": silent(HEAD + b"Content-Length: -1\r\n\r\n"),
}


@pytest.mark.parametrize("script", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_cut_off(script: Script) -> None:
    with (
        serving(script) as server,
        Endpoint(server.url, limit=200_000) as endpoint,
        pytest.raises(EndpointUnavailable),
    ):
        endpoint.call("eth_chainId")


def test_a_compressed_bomb_is_not_unpacked() -> None:
    import gzip

    body = gzip.compress(b" " * 50_000_000)
    bomb = response(body, extra="Content-Encoding: gzip\r\n")

    def script(_question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
        send(bomb)

    with serving(script) as server, Endpoint(server.url) as endpoint:
        with pytest.raises(EndpointUnavailable, match="no JSON"):
            endpoint.call("eth_chainId")
        assert "accept-encoding: identity" in server.headers[0].lower()


def test_a_redirect_is_not_followed() -> None:
    with serving(answering(lambda q: {"id": q["id"], "result": "0x1"})) as elsewhere:
        redirect = response(b"", "307 Temporary Redirect", f"Location: {elsewhere.url}\r\n")

        def script(_question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
            send(redirect)

        with (
            serving(script) as server,
            Endpoint(server.url) as endpoint,
            pytest.raises(EndpointUnavailable, match="307"),
        ):
            endpoint.call("eth_chainId")
        assert elsewhere.questions == []


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(lambda q: {"id": q["id"], "result": "0x1"})) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        with Endpoint(server.url) as endpoint:
            assert endpoint.call("eth_chainId") == "0x1"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Endpoint(f"http://user:hunter2@127.0.0.1:{port}/KEY") as endpoint,
        pytest.raises(EndpointUnavailable, match="refused") as caught,
    ):
        endpoint.call("eth_chainId")
    assert "hunter2" not in str(caught.value)
    assert "KEY" not in str(caught.value)


def test_a_connection_that_breaks_is_unavailability() -> None:
    def script(_question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
        send(HEAD + b"Content-Length: 10\r\n\r\n{")
        raise OSError

    with (
        serving(script) as server,
        Endpoint(server.url) as endpoint,
        pytest.raises(EndpointUnavailable, match="broke"),
    ):
        endpoint.call("eth_chainId")


def test_an_answer_in_pieces_is_put_together() -> None:
    """The honest case: slow, but in time."""

    def script(question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
        whole = response(json.dumps({"id": question["id"], "result": str(Hash32.zero())}).encode())
        for byte in whole:
            send(bytes([byte]))

    with serving(script) as server, Endpoint(server.url) as endpoint:
        assert endpoint.call("eth_x") == str(Hash32.zero())
        assert endpoint.call("eth_x") == str(Hash32.zero())
    assert len(server.questions) == 2
