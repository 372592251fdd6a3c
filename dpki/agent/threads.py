"""Blocking work beside the event loop, that nobody has to wait for when the agent is to end.

asyncio's own threads are joined before a program ends, and a question to an endpoint that hangs
would hold it up. What is abandoned here is in the midst of reading: whatever changes a file is
waited for by its caller.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """Return what the work returns, or raise what it raises; cancelled, leave it to itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(end: Callable[[], None]) -> None:
        if not future.done():  # else it was abandoned
            end()

    def run() -> None:
        try:
            end = partial(future.set_result, work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            end = partial(future.set_exception, error)
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, end)

    threading.Thread(target=run, daemon=True).start()
    return await future


async def finish_in_thread(work: Callable[[], Result]) -> Result:
    """As `in_thread`, and cancelled, wait for its end all the same: it changes files."""
    task = asyncio.ensure_future(in_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
