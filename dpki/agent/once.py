"""`dpki agent once`: look, remember, decide, install, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dpki.agent import acknowledge, kept
from dpki.agent import report as reports
from dpki.agent.acknowledge import leave_each
from dpki.agent.follow import BUNDLES, Follower, Seen, folder_of
from dpki.agent.installation import Installation
from dpki.agent.report import AgentReport
from dpki.config.device import DeviceConfig, load_device_config
from dpki.errors import CouldNotCheck, DpkiError
from dpki.files import remove_leftovers
from dpki.locks import hold_alone

LOCK = "agent.lock"

_OWN = (acknowledge.FILE_NAME, kept.FILE_NAME, reports.FILE_NAME)


@contextmanager
def at_work(directory: Path, config: DeviceConfig, doing: str) -> Iterator[None]:
    """Be the one agent that works on this device, for the block; begin with what a killed one left.

    Raises:
        DpkiError: Another one is at work.
    """
    with hold_alone(directory / LOCK, doing):
        for folder in {directory, *(folder_of(directory, name) for name in config.each())}:
            remove_leftovers(folder / BUNDLES)
            # In the same folder others may be writing at this moment: a new request, say.
            for name in _OWN:
                remove_leftovers(folder, name)
        yield


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
    with at_work(directory, config, "dpki agent once"):
        for name, each in config.each().items():
            follower = Follower(name, each, directory)
            try:
                seen[name] = follower.look(moment)
            except CouldNotCheck as error:
                out_of_reach[name] = error
                # Where that can't be read either, nobody gets in by this domain.
                with suppress(DpkiError):
                    if (before := follower.recall()) is not None:
                        recalled[name] = before
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
