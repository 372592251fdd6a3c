"""The story by hand, as README.md tells it: its commands, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.stage import MARK, free_port, stop_marked

REPOSITORY = Path(__file__).resolve().parents[2]
REFUSED = re.compile(r"# (Permission denied|(revoked|not approved), exit status 3)")


def commands() -> str:
    """Every shell block below "The same by hand", in order."""
    text = (REPOSITORY / "README.md").read_text()
    chapter = text[text.index("## The same by hand") : text.index("## Commands")]
    blocks = re.findall(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    script = "\n".join(blocks)
    # Installed is everything already, and 2222 may be somebody else's.
    script = script.replace("scripts/setup && ", "").replace("2222", str(free_port()))
    # What the text says is refused must be: a command that may not succeed.
    return "\n".join(
        f"if {line.split('#')[0].strip()}; then exit 99; fi" if REFUSED.search(line) else line
        for line in script.splitlines()
    )


@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_do_what_it_says(folder: Path) -> None:
    script = commands()
    assert len(re.findall("exit 99", script)) == 4
    mark = {MARK: str(folder), "TMPDIR": str(folder)}
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=REPOSITORY,
            env=os.environ | mark,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        words = done.stdout.splitlines()
        assert "hello" in words
        assert "hello again" in words
        assert "hello from eve" in words
        assert "valid" in words
        assert "revoked" in words
        assert "Permission denied" in done.stderr
        assert "second-ca" in done.stdout
        assert "is not approved: weight" in done.stderr
        assert "registers SSH user CA second-ca SHA256:" in done.stderr
    finally:
        stop_marked(folder)
