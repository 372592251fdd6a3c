"""`dpki agent once`: look, remember, decide, install, report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dpki.agent.acknowledge import leave_each
from dpki.agent.follow import Follower, Seen
from dpki.agent.installation import Installation
from dpki.agent.report import AgentReport
from dpki.config.device import load_device_config
from dpki.errors import CouldNotCheck, DpkiError
from dpki.locks import hold_alone

LOCK = "agent.lock"


def run_once(directory: Path, *, now: datetime | None = None) -> AgentReport:
    """Bring the device up to date with the chain, once.

    Args:
        directory: The device's folder: device.toml, keys, the agent's database.
        now: The device's clock; the system's by default.

    Raises:
        CouldNotCheck: No trust domain could be read; everything installed stays as it is.
        DpkiError: Something could not be installed; what was not replaced is as it was.
    """
    config = load_device_config(directory)
    moment = now if now is not None else datetime.now(UTC)
    seen: dict[str, Seen] = {}
    recalled: dict[str, Seen] = {}
    out_of_reach: dict[str, CouldNotCheck] = {}
    with hold_alone(directory / LOCK, "dpki agent once"):
        for name, each in config.each().items():
            follower = Follower(name, each, directory)
            try:
                seen[name] = follower.look(moment)
            except CouldNotCheck as error:
                out_of_reach[name] = error
                # Where that can't be read either, nobody gets in by this domain.
                with suppress(DpkiError):
                    kept = follower.recall()
                    if kept is not None:
                        recalled[name] = kept
            finally:
                follower.close()
        if not seen:
            raise next(iter(out_of_reach.values()))
        try:
            report = Installation(directory, config).update(
                {**recalled, **seen}, out_of_reach, moment
            )
        except DpkiError:
            # It also says what arrived and could not be installed.
            with suppress(DpkiError):
                leave_each(directory, config, moment)
            raise
        try:
            leave_each(directory, config, moment)
        except DpkiError as error:
            unsaid = f"an acknowledgement was not left: {error.message}"
            return replace(report, problems=(*report.problems, unsaid))
        return report
