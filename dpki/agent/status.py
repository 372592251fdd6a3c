"""`dpki agent status`: what the last run left, read without network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.agent.state import FILE_NAME, open_state
from dpki.chain.quorum import Evidence
from dpki.config.device import load_device_config
from dpki.config.sshd import Mode
from dpki.errors import DpkiError


@dataclass(frozen=True)
class AgentStatus:
    """The last run's report, and which mode sshd is in.

    Attributes:
        report: As `AgentReport.to_json` wrote it.
        is_installed: Whether a drop-in is in place.
    """

    report: dict[str, object]
    is_installed: bool

    @property
    def mode(self) -> str:
        """Who decides a login at sshd, in words: `reduced` where sshd alone does."""
        # A report of an earlier version has none: it knew only one.
        return (
            str(self.report.get("mode", Mode.STRICT.label))
            if self.is_installed
            else "not installed"
        )

    def to_json(self) -> dict[str, object]:
        """Return the status as plain data."""
        return {"mode": self.mode, "last_run": self.report}

    def lines(self) -> list[str]:
        """Return the status for people."""
        said = {**self.report, "evidence": self._evidence()}
        said.pop("mode", None)
        return [f"mode: {self.mode}", *(f"{key}: {value}" for key, value in said.items())]

    def _evidence(self) -> str:
        evidence = self.report.get("evidence")
        # A report of an earlier version has none: it trusted the first endpoint that answered.
        return str(evidence.get("said") if isinstance(evidence, dict) else Evidence(1, 1))


def load_status(directory: Path) -> AgentStatus:
    """Return the status of the device in this folder.

    Raises:
        DpkiError: The agent has not run yet.
    """
    config = load_device_config(directory)
    report = None
    if (directory / FILE_NAME).exists():
        with open_state(directory) as state:
            report = state.report()
    if report is None:
        raise DpkiError("the agent has not run yet", hint=f"dpki agent once --dir {directory}")
    return AgentStatus(report, config.sshd.drop_in.exists())
