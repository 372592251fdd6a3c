"""Five minutes on one device, by the installed commands: let in, put out, and kept out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.players import SSHD_REFUSES, Story, open_story
from scripts.stage import dpki_command, stop
from scripts.story import STEPS

PATIENCE = 90.0


@pytest.fixture
def story() -> Iterator[Story]:
    """A domain with two CAs and an enrolled device, on which no agent has run yet."""
    with open_story(ipfs=False) as story:
        for step in STEPS:
            step.play(story)
            if step.name == "enrol":
                break
        yield story


def wait_for(happened: Callable[[], bool], agent: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert agent.poll() is None, "the agent ended"
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)


def test_a_technician_comes_and_is_put_out(story: Story) -> None:
    story.issue_host()
    stage, gate = story.stage, story.gate
    key = story.make_key(story.laptop / "technician")
    with (stage.directory / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [dpki_command(), "agent", "run", "--dir", gate.directory],
            env=stage.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    session = None
    try:
        granted = story.admin(
            *("ssh", "grant", "--device", gate.name, "--account", stage.account, "--for", "5m"),
            *("--key", f"{key}.pub", "--end-sessions"),
        )
        client = story.client(key, Path(granted["certificate"]))
        wait_for(lambda: stage.ssh(gate.server, client).stdout == "logged-in\n", agent)
        session = subprocess.Popen(
            stage.ssh_command(gate.server, client, "cat"),
            env=stage.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("still here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "still here\n"
        story.admin(*granted["revoke"].split()[1:])
        assert session.wait(PATIENCE) != 0
        story.expect_no_login(client, SSHD_REFUSES)
    finally:
        if session is not None:
            stop(session)
        stop(agent)
