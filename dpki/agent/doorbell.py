"""The doorbell, listened to for years: one more reason to look, and nothing that is believed."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from dpki.agent.hints import LASTING
from dpki.agent.schedule import backoff
from dpki.agent.threads import in_thread
from dpki.errors import DpkiError
from dpki.model import Address
from dpki.transport.address import Broker


async def listen_for_doorbell(
    broker: Broker,
    device: Address,
    rung: Callable[[], object],
    report: Callable[[str, str], None],
) -> None:
    """Listen for ever; while the broker is away or misbehaves, try again, ever less often.

    Args:
        rung: Called in the event loop whenever somebody has rung.
        report: Called with the broker's name and what it does, when that changes.
    """
    # paho is loaded only where somebody wants a doorbell.
    from dpki.transport.doorbell import listen

    loop, over = asyncio.get_running_loop(), threading.Event()
    name, failures, said = f"broker {broker.address}", 0, ""

    def say(does: str) -> None:
        nonlocal said
        if does != said:
            said = does
            report(name, does)

    def tell(work: Callable[[], object]) -> None:
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work)

    try:
        while True:
            started = time.monotonic()
            try:
                await in_thread(
                    lambda: listen(
                        broker,
                        device,
                        lambda: tell(rung),
                        lambda: tell(lambda: say("listening for the doorbell")),
                        over,
                    )
                )
            except DpkiError as error:
                say(error.message)
            failures = 1 if time.monotonic() > started + LASTING else failures + 1
            await asyncio.sleep(backoff(failures, random.random()))
    finally:
        # A thread can't be cancelled; this one looks here each second.
        over.set()
