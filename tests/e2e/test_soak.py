"""Two minutes of scripts/soak, whose proper length is an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "scripts" / "soak.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_minutes_of_everything() -> None:
    done = subprocess.run(
        [sys.executable, SOAK, "--minutes", "2", "--seed", "20", "--idle", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name in ("events", "faults", "logins", "refusals"):
        assert said[name] > 0, said
    assert said["checkpoints"] >= 4
