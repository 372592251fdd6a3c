"""The worst day, rehearsed by the command that people run, and what it says of a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.stage import MARK, marked_processes, stop_marked

REPOSITORY = Path(__file__).resolve().parents[2]
REHEARSAL = REPOSITORY / "scripts" / "rehearse_story.py"
BROKEN = """
import sys
from scripts import rehearse_story
from scripts.players import require
from scripts.story import Step

rehearse_story.BEFORE = (Step("all", "all is well", lambda day: None),)
rehearse_story.DAY = (Step("theft", "the thief", lambda day: require(False, "he is still in")),)
sys.argv = ["rehearse", "--json"]
sys.exit(rehearse_story.main())
"""


def rehearse(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it, all its folders below `folder`; nothing of it may be left."""
    mark = {MARK: str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
    try:
        done = subprocess.run(
            [sys.executable, *command],
            env=os.environ | mark,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert marked_processes(folder) == []
        assert list(folder.iterdir()) == []
        return done
    finally:
        stop_marked(folder)


def test_the_worst_day_ends_well(folder: Path) -> None:
    done = rehearse(folder, REHEARSAL, "--devices", "2", "--people", "2", "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert found["held"]
    assert (found["devices"], found["people"]) == (2, 2)
    parts = {part["name"]: part for part in found["parts"]}
    moments = ["suspended on chain", "thief out of every device", "retired for ever"]
    assert list(found["moments"]) == [*moments, "everybody back"]
    # Two members' alarm: opened, voted for twice, executed. Each decision: opened, voted for by
    # its proposer, executed with everybody else's signatures. One batch for all people.
    sent = {name: parts[name]["transactions"] for name in parts}
    assert (sent["suspended"], sent["retired"], sent["replaced"], sent["roles"]) == (4, 3, 3, 3)
    assert (sent["theft"], sent["reissued"], sent["refused"]) == (1, 1, 0)
    assert all(parts[name]["gas"] > 21_000 * sent[name] for name in parts if sent[name])
    assert "All held" in done.stderr


def test_what_does_not_hold_is_exit_status_1(folder: Path) -> None:
    done = rehearse(folder, "-c", BROKEN)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == {"held": False, "failure": "he is still in"}
    assert "It does not hold" in done.stderr
