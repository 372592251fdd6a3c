"""The agent's threads share one heap: what one leaves, the next one uses."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from dpki.agent.heap import keep_one_heap

# In a process of its own: it is for good. glibc itself says how many heaps there are.
_HEAPS = """
import ctypes, threading
from dpki.agent.heap import keep_one_heap
{before}
gate = threading.Barrier(9)
def work():
    kept = [bytes(1000 + n) for n in range(100)]
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
gate.wait()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.parametrize(("before", "is_one"), [("", False), ("keep_one_heap()", True)])
def test_threads_share_one_heap(before: str, *, is_one: bool) -> None:
    code = _HEAPS.format(before=before)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (said.stdout.count("<heap nr=") == 1) is is_one


def test_where_the_c_library_has_no_such_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_one_heap()
