"""Subscriptions: an endpoint says over a WebSocket that there may be something new (claim T4).

`eth_subscribe` (https://geth.ethereum.org/docs/interacting-with-geth/rpc/pubsub): new heads, and
logs of the domain's contracts. Nothing of it is believed, not even that there is a block: it is a
reason to look earlier. Whoever says nothing delays by no more than the polling interval, and
whoever says too much is hung up on.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from dpki.agent.schedule import Hint, backoff
from dpki.agent.threads import in_thread
from dpki.errors import EndpointUnavailable
from dpki.model import Address

LARGEST = 64 * 1024
"""Bytes of one message: a block's header has two thousand."""

FLOOD = 5000.0
"""Messages at once, and `RATE` a second from then on: more than any chain's blocks and events."""

RATE = 100.0

LONGEST_PAUSE = 3600.0
"""Seconds between two tries: most public endpoints have no WebSocket at the same address."""

LASTING = 60.0
"""Seconds after which a connection counts as one that works."""

_OPENING = 10.0
_PING = 20.0
_HINT = "the agent polls meanwhile; set `subscribe` in device.toml to other endpoints, or to []"


async def listen_always(
    url: str,
    contracts: Sequence[Address],
    tell: Callable[[Hint], None],
    report: Callable[[str, str], None],
) -> None:
    """Listen to an endpoint for ever; while it is away, try again, ever less often.

    Args:
        tell: Called with each hint.
        report: Called with the endpoint's name and what it does, when that changes.
    """
    name, failures, said = endpoint_name(url), 0, ""

    def say(does: str) -> None:
        nonlocal said
        if does != said:
            said = does
            report(name, does)

    while True:
        started = time.monotonic()
        try:
            await listen(url, contracts, tell, lambda: say("subscribed"))
        except EndpointUnavailable as error:
            say(error.message)
        # One that floods has hinted, too: only a connection that lasts shows that all is well.
        failures = 1 if time.monotonic() > started + LASTING else failures + 1
        await asyncio.sleep(backoff(failures, random.random(), LONGEST_PAUSE))


async def listen(
    url: str,
    contracts: Sequence[Address],
    tell: Callable[[Hint], None],
    subscribed: Callable[[], None] = lambda: None,
) -> None:
    """Listen to an endpoint until it fails.

    Args:
        contracts: Whose logs to ask for.
        tell: Called with each hint.
        subscribed: Called once the endpoint has taken a subscription.

    Raises:
        EndpointUnavailable: It is not there, takes no subscription, hangs or floods.
    """
    name, parts = endpoint_name(url), urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        # Not by the event loop: it would have a name resolved in a thread that holds up the end.
        sock = await in_thread(lambda: socket.create_connection((host, port), _OPENING))
        sock.setblocking(False)
        async with _Straight(
            url,
            sock=sock,
            open_timeout=_OPENING,
            ping_interval=_PING,
            ping_timeout=_PING,
            close_timeout=1,
            max_size=LARGEST,
            max_queue=4,
            compression=None,
            user_agent_header=None,
            proxy=None,
        ) as connection:
            await Subscriptions(name, contracts, tell, subscribed).follow(connection)
    except (OSError, TimeoutError, WebSocketException) as error:
        # Its text may hold the URL, and with it a key.
        raise EndpointUnavailable(
            f"the subscription at {name} failed ({type(error).__name__})", hint=_HINT
        ) from error
    raise EndpointUnavailable(f"{name} ended the subscription", hint=_HINT)


def endpoint_name(url: str) -> str:
    """Return scheme, host and port: the rest of a URL may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class _Straight(connect):
    """A connection that follows no redirect: it could lead into the device's own network."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Subscriptions:
    """What one connection has subscribed to."""

    def __init__(
        self,
        name: str,
        contracts: Sequence[Address],
        tell: Callable[[Hint], None],
        subscribed: Callable[[], None],
    ) -> None:
        self._name = name
        self._questions: dict[int, tuple[Hint, list[object]]] = {
            1: (Hint.HEAD, ["newHeads"]),
            2: (Hint.EVENT, ["logs", {"address": [str(contract) for contract in contracts]}]),
        }
        self._tell = tell
        self._subscribed = subscribed
        self._hints: dict[str, Hint] = {}
        self._refused: set[Hint] = set()

    async def follow(self, connection: ClientConnection) -> None:
        """Subscribe, and take messages until the connection ends.

        Raises:
            EndpointUnavailable: The endpoint is no use.
        """
        for id, (_, params) in self._questions.items():
            question = {"jsonrpc": "2.0", "id": id, "method": "eth_subscribe", "params": params}
            await connection.send(json.dumps(question))
        left, at = FLOOD, time.monotonic()
        async for message in connection:
            now = time.monotonic()
            left, at = min(FLOOD, left + (now - at) * RATE) - 1, now
            if left < 0:
                raise EndpointUnavailable(f"{self._name} floods its subscription", hint=_HINT)
            self.take(message)

    def take(self, message: str | bytes) -> None:
        """Turn a message into a hint; what nobody asked for is none.

        Raises:
            EndpointUnavailable: It is no JSON-RPC message, or the endpoint takes no subscription.
        """
        try:
            fields = json.loads(message)
        # RecursionError: brackets nested by the thousand.
        except (ValueError, RecursionError) as error:
            raise EndpointUnavailable(f"{self._name} sends nonsense", hint=_HINT) from error
        if not isinstance(fields, dict):
            raise EndpointUnavailable(f"{self._name} sends nonsense", hint=_HINT)
        params, id = fields.get("params"), fields.get("id")
        if isinstance(params, dict):
            key = params.get("subscription")
            hint = self._hints.get(key) if isinstance(key, str) else None
            if hint is not None:
                # Without logs, any block may hold an event.
                self._tell(Hint.EVENT if Hint.EVENT in self._refused else hint)
        elif type(id) is int and id in self._questions:
            hint, _ = self._questions.pop(id)
            key = fields.get("result")
            if isinstance(key, str):
                self._hints[key] = hint
                self._subscribed()
            else:
                self._refused.add(hint)
                if len(self._refused) == 2:
                    raise EndpointUnavailable(f"{self._name} takes no subscription", hint=_HINT)
