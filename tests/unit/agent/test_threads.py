"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dpki.agent.threads import finish_in_thread, in_thread


def test_result_and_failure_come_back() -> None:
    async def both() -> str:
        with pytest.raises(KeyError):
            await in_thread(lambda: {}["x"])
        return await in_thread(lambda: threading.current_thread().name)

    assert asyncio.run(both()) != threading.main_thread().name


def test_what_only_reads_is_left_to_itself() -> None:
    hanging = threading.Event()

    async def abandon() -> None:
        task = asyncio.ensure_future(in_thread(lambda: hanging.wait(30)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(abandon())
    assert not hanging.is_set()
    hanging.set()


def test_what_changes_files_is_waited_for() -> None:
    begun, done = threading.Event(), []

    async def cancel() -> None:
        def work() -> None:
            begun.set()
            released.wait(30)
            done.append("written")

        released = threading.Event()
        task = asyncio.ensure_future(finish_in_thread(work))
        await in_thread(lambda: begun.wait(30))
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert done == ["written"]
