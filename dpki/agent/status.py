"""`dpki agent status`: what the last run left, read without network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.agent.state import FILE_NAME, open_state
from dpki.chain.quorum import Evidence
from dpki.config.device import load_device_config
from dpki.errors import DpkiError


@dataclass(frozen=True)
class AgentStatus:
    """The last run's report, and which mode sshd is in.

    Attributes:
        report: As `AgentReport.to_json` wrote it.
        strict: Whether the strict-mode drop-in is in place.
    """

    report: dict[str, object]
    strict: bool

    def to_json(self) -> dict[str, object]:
        """Return the status as plain data."""
        return {"mode": "strict" if self.strict else "not installed", "last_run": self.report}

    def lines(self) -> list[str]:
        """Return the status for people."""
        mode = "strict" if self.strict else "not installed"
        said = {**self.report, "evidence": self._evidence()}
        return [f"mode: {mode}", *(f"{key}: {value}" for key, value in said.items())]

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
