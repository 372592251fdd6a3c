"""`dpki agent status`: what the last step left, read without network, whether or not one runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpki.agent.acknowledge import Kept, load_kept_acknowledgement
from dpki.agent.follow import folder_of
from dpki.agent.once import LOCK
from dpki.agent.report import LastReport, load_report
from dpki.config.device import FIRST, load_device_config
from dpki.errors import DpkiError
from dpki.locks import find_holder


@dataclass(frozen=True)
class AgentStatus:
    """The last step's report, and which mode sshd is in.

    Attributes:
        last: What the last step said.
        is_installed: Whether a drop-in is in place.
        running: Which process is at work on the device; None for none.
        acknowledgements: What the device said last of what it has installed, by the names of the
            trust domains that it said something to.
    """

    last: LastReport
    is_installed: bool
    running: str | None
    acknowledgements: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """Who decides a login at sshd, in words: `reduced` where sshd alone does."""
        return str(self.last.report.get("mode")) if self.is_installed else "not installed"

    def to_json(self) -> dict[str, object]:
        """Return the status as plain data."""
        return {
            "mode": self.mode,
            "running": self.running,
            "acknowledgement": _said(self.acknowledgements.get(FIRST)),
            "acknowledgements": {name: _said(kept) for name, kept in self.acknowledgements.items()},
            "last_run": dict(self.last.report),
        }

    def lines(self) -> list[str]:
        """Return the status for people."""
        return [
            f"running: {self.running or 'no'}",
            *([] if self.is_installed else ["mode: not installed"]),
            f"looked at: {self.last.report.get('at')}",
            *(
                f"acknowledgement{'' if name == FIRST else f' to {name}'}: {kept}"
                for name, kept in self.acknowledgements.items()
            ),
            *self.last.said,
        ]


def load_status(directory: Path) -> AgentStatus:
    """Return the status of the device in this folder.

    Raises:
        DpkiError: The agent has not run yet.
    """
    config = load_device_config(directory)
    last = load_report(directory)
    if last is None:
        raise DpkiError("the agent has not run yet", hint=f"dpki agent once --dir {directory}")
    return AgentStatus(
        last,
        config.sshd.drop_in.exists(),
        find_holder(directory / LOCK),
        {
            name: kept
            for name in config.each()
            if (kept := load_kept_acknowledgement(folder_of(directory, name))) is not None
        },
    )


def _said(kept: Kept | None) -> dict[str, object] | None:
    if kept is None:
        return None
    left = None if kept.left is None else kept.left.isoformat()
    return {"sequence": kept.sequence, "block": kept.block, "to": kept.place, "left": left}
