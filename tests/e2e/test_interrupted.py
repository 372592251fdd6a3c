"""Whoever interrupts the demo, and whenever: nothing that it started keeps running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stage import dpki_command

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "scripts" / "demo_story.py"
MARK = "DPKI_E2E_INTERRUPTED"


def living(mark: str, folder: Path) -> dict[int, str]:
    """Every process with our mark in its environment, or the demo's folder in its command line.

    Looked up here, without the demo's own code, which it judges.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            marked = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if title and (marked or str(folder) in title):
            found[int(entry.name)] = title
    return found


@contextlib.contextmanager
def demo(folder: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the demo in a session of its own, all its folders below `folder`."""
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "TMPDIR": str(folder)} | variables
    process = subprocess.Popen(
        [sys.executable, DEMO],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, mark
    finally:
        process.kill()
        process.communicate()
        for pid in living(mark, folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the demo printed up to the line with `word`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    pytest.fail(f"the demo ended before it printed {word!r}:\n{''.join(lines)}", pytrace=False)


def interrupt_and_check(
    process: subprocess.Popen[str], mark: str, folder: Path, number: signal.Signals
) -> None:
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, rest
    assert "Interrupted" in rest
    assert living(mark, folder) == {}
    assert not list(folder.iterdir()), "the demo left files"


def test_ctrl_c_while_services_start(folder: Path) -> None:
    with demo(folder) as (process, mark):
        read_until(process, "devnet")
        until = time.monotonic() + 30
        while not any("anvil" in title for title in living(mark, folder).values()):
            assert time.monotonic() < until, "Anvil never started"
            time.sleep(0.02)
        interrupt_and_check(process, mark, folder, signal.SIGINT)


def test_sigterm_while_sshd_runs_and_no_ipfs_is_there(folder: Path) -> None:
    with demo(folder, DPKI_KUBO="/nonexistent/ipfs") as (process, mark):
        printed = read_until(process, "verify")
        assert "NO IPFS" in printed
        running = " ".join(living(mark, folder).values())
        assert "sshd" in running
        assert "anvil" in running
        interrupt_and_check(process, mark, folder, signal.SIGTERM)


def test_a_failing_command_is_shown_and_everything_stopped(folder: Path, tmp_path: Path) -> None:
    """A `softhsm2-util` that fails stands for whatever may be missing or broken."""
    tool = tmp_path / "softhsm2-util"
    tool.write_text("#!/bin/sh\necho the token is on fire >&2\nexit 1\n")
    tool.chmod(0o755)
    with demo(folder, PATH=f"{tmp_path}:{os.environ['PATH']}") as (process, mark):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"$ {dpki_command()} devnet up" in output.replace("\n", " ")
        assert "exit status" in output
        assert living(mark, folder) == {}
        assert not list(folder.iterdir()), "the demo left files"
