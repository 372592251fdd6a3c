"""T4: the host at the far end of `dpki device enroll --ssh` costs an admin bounded time and memory.

What it says is parsed with bounds (tests/unit/remote); this is about how much, and for how long.
"""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import HostFailed
from dpki.remote.ssh import ANSWER_LIMIT, Connection, RemoteHost

HOST = RemoteHost("gate-1", Connection())
HUNG = timedelta(seconds=15)


def does(program: Path, deed: str) -> None:
    """Have `ssh` do this: it stands for whatever the host does."""
    program.write_text(f"#!/bin/sh\n{deed}\n")


def test_an_answer_without_end_is_cut_off(fake_ssh: Path) -> None:
    does(fake_ssh, "head -c 100000000 /dev/zero; exec sleep 60")
    with pytest.raises(HostFailed, match="answered with too much"):
        HOST.run("true", deadline=HUNG)


def test_the_largest_answer_that_is_taken(fake_ssh: Path) -> None:
    does(fake_ssh, f"exec head -c {ANSWER_LIMIT} /dev/zero")
    assert HOST.run("true", deadline=HUNG) == bytes(ANSWER_LIMIT)


def test_complaints_without_end_fill_no_memory(fake_ssh: Path) -> None:
    does(fake_ssh, "head -c 64000000 /dev/zero >&2; echo >&2; echo 'error: no room' >&2; exit 1")
    tracemalloc.start()
    with pytest.raises(HostFailed, match="gate-1: no room"):
        HOST.run("true", deadline=HUNG)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "deed", ["exec sleep 60", "exec yes >&2", "while :; do printf x; sleep 0.05; done"]
)
def test_the_deadline_holds_also_while_it_talks(fake_ssh: Path, deed: str) -> None:
    does(fake_ssh, deed)
    with pytest.raises(HostFailed, match="did not answer within 1 s"):
        HOST.run("true", deadline=timedelta(seconds=1))


def test_what_is_given_is_not_waited_for(fake_ssh: Path) -> None:
    """A host that reads nothing of a wheel, and one that reads all of it."""
    does(fake_ssh, "exec true")
    assert HOST.run("true", given=bytes(10_000_000), deadline=HUNG) == b""
    does(fake_ssh, "exec wc -c")
    assert HOST.run("true", given=bytes(10_000_000), deadline=HUNG).strip() == b"10000000"


def test_there_may_be_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostFailed, match="ssh can't be run"):
        HOST.run("true", deadline=HUNG)
