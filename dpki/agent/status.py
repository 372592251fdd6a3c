"""`dpki agent status`: what the last step left, read without network, whether or not one runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.agent.once import LOCK
from dpki.agent.report import Record, load_record
from dpki.config.device import load_device_config
from dpki.errors import DpkiError
from dpki.locks import find_holder


@dataclass(frozen=True)
class AgentStatus:
    """The last step's report, and which mode sshd is in.

    Attributes:
        record: What the last step left.
        strict: Whether the strict-mode drop-in is in place.
        running: Which process is at work on the device; None for none.
    """

    record: Record
    strict: bool
    running: str | None

    def to_json(self) -> dict[str, object]:
        """Return the status as plain data."""
        return {
            "mode": "strict" if self.strict else "not installed",
            "running": self.running,
            "last_run": dict(self.record.report or {}),
        }

    def lines(self) -> list[str]:
        """Return the status for people."""
        mode = "strict" if self.strict else "not installed"
        return [
            f"running: {self.running or 'no'}",
            f"mode: {mode}",
            f"looked at: {(self.record.report or {}).get('at')}",
            *self.record.said,
        ]


def load_status(directory: Path) -> AgentStatus:
    """Return the status of the device in this folder.

    Raises:
        DpkiError: The agent has not run yet.
    """
    config = load_device_config(directory)
    record = load_record(directory)
    if record.report is None:
        raise DpkiError("the agent has not run yet", hint=f"dpki agent once --dir {directory}")
    return AgentStatus(record, config.sshd.drop_in.exists(), find_holder(directory / LOCK))
