"""Subscriptions at endpoints that say too much, too little, or nonsense (claim T4)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from dpki.agent.hints import FLOOD, LARGEST, endpoint_name, listen, listen_always
from dpki.agent.schedule import Hint
from dpki.errors import EndpointUnavailable
from dpki.model import Address

CONTRACT = Address(b"\x01" * 20)
Play = Callable[[ServerConnection], Awaitable[None]]


def result(id: int, key: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": key})


def refusal(id: int) -> str:
    error = {"code": -32601, "message": "no"}
    return json.dumps({"jsonrpc": "2.0", "id": id, "error": error})


def notice(key: str) -> str:
    params = {"subscription": key, "result": {"number": "0x7fffffffffffffff"}}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})


@asynccontextmanager
async def endpoint(play: Play, asked: list[object] | None = None) -> AsyncIterator[str]:
    """An endpoint that hears both questions, and then plays its part."""

    async def part(socket: ServerConnection) -> None:
        questions = [json.loads(await socket.recv()), json.loads(await socket.recv())]
        if asked is not None:
            asked.extend(questions)
        await play(socket)

    async with serve(part, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/secret-key"


def heard(play: Play, asked: list[object] | None = None) -> tuple[list[Hint], str]:
    """Return the hints of an endpoint that plays so, and how it ended."""
    hints: list[Hint] = []

    async def run() -> str:
        async with endpoint(play, asked) as url:
            with pytest.raises(EndpointUnavailable) as caught:
                await asyncio.wait_for(listen(url, [CONTRACT], hints.append), 30)
            return caught.value.message

    return hints, asyncio.run(run())


def test_blocks_and_events_are_hints() -> None:
    asked: list[object] = []

    async def play(socket: ServerConnection) -> None:
        for message in (result(1, "0xa"), result(2, "0xb"), notice("0xa"), notice("0xb")):
            await socket.send(message)

    hints, end = heard(play, asked)
    assert hints == [Hint.HEAD, Hint.EVENT]
    assert "ended the subscription" in end
    assert [q["method"] for q in asked if isinstance(q, dict)] == ["eth_subscribe"] * 2
    assert [q["params"] for q in asked if isinstance(q, dict)] == [
        ["newHeads"],
        ["logs", {"address": [str(CONTRACT)]}],
    ]


def test_without_logs_any_block_may_hold_an_event() -> None:
    async def play(socket: ServerConnection) -> None:
        for message in (result(1, "0xa"), refusal(2), notice("0xa")):
            await socket.send(message)

    assert heard(play)[0] == [Hint.EVENT]


def test_who_takes_no_subscription_is_left() -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send(refusal(1))
        await socket.send(refusal(2))
        await socket.wait_closed()

    assert "takes no subscription" in heard(play)[1]


def test_a_flood_is_hung_up_on() -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send(result(1, "0xa"))
        while True:
            await socket.send(notice("0xa"))

    hints, end = heard(play)
    assert "floods" in end
    assert len(hints) <= 2 * FLOOD


@pytest.mark.parametrize(
    "message", ["nonsense", "[]", "[" * 50_000, "x" * (LARGEST + 1), b"\xff"], ids=range(5)
)
def test_nonsense_is_hung_up_on(message: str | bytes) -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send(message)
        await socket.wait_closed()

    hints, end = heard(play)
    assert hints == []
    assert "nonsense" in end or "failed" in end


def test_what_nobody_asked_for_is_no_hint() -> None:
    async def play(socket: ServerConnection) -> None:
        for message in (notice("0xa"), result(7, "0xa"), result(True, "0xa"), result(1, 10)):
            await socket.send(message)

    assert heard(play)[0] == []


def test_no_redirect_is_followed_and_no_key_is_told() -> None:
    async def moved(connection: ServerConnection, request: object) -> object:
        response = connection.respond(302, "")
        response.headers["Location"] = "ws://127.0.0.1:1/inner"
        return response

    async def run() -> str:
        async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=moved) as at:
            url = f"ws://127.0.0.1:{at.sockets[0].getsockname()[1]}/secret-key"
            with pytest.raises(EndpointUnavailable) as caught:
                await listen(url, [CONTRACT], lambda hint: None)
            return caught.value.message

    said = asyncio.run(run())
    assert "InvalidStatus" in said
    assert "secret" not in said


def test_a_name_holds_no_key() -> None:
    assert endpoint_name("wss://user:pass@rpc.example:8546/v2/KEY?k=1") == "wss://rpc.example:8546"


def test_it_comes_back_after_a_failure_and_tells_each_change_once() -> None:
    calls = 0
    again = asyncio.Event()

    async def play(socket: ServerConnection) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            return
        await socket.send(result(1, "0xa"))
        await socket.send(notice("0xa"))
        await socket.wait_closed()

    said: list[str] = []

    async def run() -> None:
        async with endpoint(play) as url:
            task = asyncio.ensure_future(
                listen_always(
                    url,
                    [CONTRACT],
                    lambda hint: again.set(),
                    lambda name, does: said.append(does),
                )
            )
            await asyncio.wait_for(again.wait(), 30)
            task.cancel()

    asyncio.run(run())
    assert said[1:] == ["subscribed"]
    assert "ended the subscription" in said[0]
