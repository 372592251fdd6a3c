"""systemd, behind the few verbs that are asked of it."""

from __future__ import annotations

from typing import Protocol

from dpki.agent.sshd import run_checked


class Systemd(Protocol):
    """What is asked of the system's manager."""

    def reload_units(self) -> None:
        """Have it read its unit files again."""

    def enable(self, unit: str) -> None:
        """Start the unit, now and at each boot; start it again if it runs."""

    def disable(self, unit: str) -> None:
        """Stop the unit, now and for good."""

    def reload(self, unit: str) -> None:
        """Have a running unit read its configuration again; one that does not run is left alone."""


class Systemctl:
    """The real one, through `systemctl`, whose refusals are `ServiceFailed`."""

    def reload_units(self) -> None:
        """Have it read its unit files again."""
        run_checked(["systemctl", "daemon-reload"], "systemd did not read its units again")

    def enable(self, unit: str) -> None:
        """Start the unit, now and at each boot; start it again if it runs."""
        run_checked(["systemctl", "enable", unit], f"systemd did not enable {unit}")
        run_checked(["systemctl", "restart", unit], f"{unit} did not start")

    def disable(self, unit: str) -> None:
        """Stop the unit, now and for good."""
        run_checked(["systemctl", "disable", "--now", unit], f"systemd did not disable {unit}")

    def reload(self, unit: str) -> None:
        """Have a running unit read its configuration again; one that does not run is left alone."""
        run_checked(["systemctl", "try-reload-or-restart", unit], f"systemd did not reload {unit}")
