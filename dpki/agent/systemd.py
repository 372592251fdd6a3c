"""systemd, behind the few verbs that are asked of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from dpki.agent.sshd import run_checked
from dpki.errors import ServiceFailed


class Systemd(Protocol):
    """What is asked of the system's manager."""

    def reload_units(self) -> None:
        """Have it read its unit files again."""

    def is_in_service(self, unit: str) -> bool:
        """Whether the unit runs, and is started at each boot."""

    def enable(self, unit: str) -> None:
        """Start the unit, now and at each boot; start it again if it runs."""

    def disable(self, unit: str) -> None:
        """Stop the unit, now and for good."""

    def reload(self, unit: str) -> None:
        """Have a running unit read its configuration again; one that does not run is left alone."""


class Systemctl:
    """The real one, through `systemctl`, whose refusals are `ServiceFailed`.

    Args:
        root: The root folder of a host that does not run: then nothing is started or stopped.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._is_live = root == Path("/")
        self._command = ["systemctl"] if self._is_live else ["systemctl", f"--root={root}"]

    def reload_units(self) -> None:
        """Have it read its unit files again."""
        if self._is_live:
            self._run("daemon-reload", failure="systemd did not read its units again")

    def is_in_service(self, unit: str) -> bool:
        """Whether the unit runs, where anything does, and is started at each boot."""
        is_up = not self._is_live or self._says("is-active", unit)
        return is_up and self._says("is-enabled", unit)

    def enable(self, unit: str) -> None:
        """Start the unit, now and at each boot; start it again if it runs."""
        self._run("enable", unit, failure=f"systemd did not enable {unit}")
        if self._is_live:
            self._run("restart", unit, failure=f"{unit} did not start")

    def disable(self, unit: str) -> None:
        """Stop the unit, now and for good."""
        if self._is_live:
            self._run("stop", unit, failure=f"{unit} did not stop")
        self._run("disable", unit, failure=f"systemd did not disable {unit}")

    def reload(self, unit: str) -> None:
        """Have a running unit read its configuration again; one that does not run is left alone."""
        self._run("try-reload-or-restart", unit, failure=f"systemd did not reload {unit}")

    def _says(self, *words: str) -> bool:
        command = [*self._command, "--quiet", *words]
        try:
            return subprocess.run(command, check=False, capture_output=True).returncode == 0
        except OSError as error:
            raise ServiceFailed(f"systemd can't be asked: {command[0]} did not run") from error

    def _run(self, *words: str, failure: str) -> None:
        run_checked([*self._command, *words], failure)
