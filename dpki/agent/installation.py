"""One step of the agent: from what was seen of each domain to what is installed, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent.clock import judge_clock
from dpki.agent.decide import Plan, decide
from dpki.agent.follow import Seen
from dpki.agent.install import install
from dpki.agent.merge import merge
from dpki.agent.report import AgentReport, DomainReport, Record, load_record, save_record
from dpki.certificates.krl import parse_krl
from dpki.config.device import DeviceConfig
from dpki.errors import DpkiError
from dpki.model import Address

REFRESH = timedelta(minutes=5)
"""How long what is installed may stay unlooked at, and the time that it carries stand still."""


class Installation:
    """What is installed on this device; one thread at a time.

    What was decided before is not installed again at each block: the login index and the KRL would
    differ in nothing but the block that they were made from. From time to time it is all the same,
    for that, and because somebody may have changed files behind the agent's back.

    Args:
        directory: The agent's folder.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        directory: Path,
        device: Address,
        config: DeviceConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._device = device
        self._config = config
        self._clock = clock
        self._refresh = min(REFRESH, config.access.maximum_age / 10).total_seconds()
        self._installed: tuple[object, float] | None = None

    def update(
        self, seen: Mapping[str, Seen], out_of_reach: Mapping[str, DpkiError], now: datetime
    ) -> AgentReport:
        """Decide from all that was seen, and install what differs.

        Args:
            seen: What was last seen of each domain, by name.
            out_of_reach: Why the last look failed, where it did.
            now: The device's clock.

        Raises:
            DpkiError: Something could not be installed; what was not replaced is as it was.
        """
        plans = {
            name: decide(each, self._device, seen[name].observation, now)
            for name, each in self._config.each().items()
            if name in seen
        }
        merged = merge(plans)
        report = AgentReport(
            domains=tuple(
                DomainReport.of(
                    name,
                    seen[name],
                    plan,
                    clock=self._judge_clock(seen[name]),
                    out_of_reach=out_of_reach[name].message if name in out_of_reach else "",
                )
                for name, plan in plans.items()
            ),
            problems=(*merged.conflicts, *self._unseen(seen, out_of_reach)),
        )
        essence = (_essence(merged.plan), _said(report))
        if self._installed is not None:
            before, at = self._installed
            if before == essence and self._clock() < at + self._refresh:
                return report
        self._installed = None
        record = load_record(self._directory)
        installed = install(merged.plan, self._config, reloaded=record.reloaded)
        report = replace(report, changed=installed.changed, reloaded=installed.reloaded)
        said = tuple(report.lines())
        save_record(self._directory, Record(report.to_json(), said, installed.drop_in))
        self._installed = (essence, self._clock())
        return report

    def _unseen(
        self, seen: Mapping[str, Seen], out_of_reach: Mapping[str, DpkiError]
    ) -> Iterator[str]:
        """Yield what to say of domains of which nothing was ever seen: they let nobody in."""
        for name in self._config.each():
            if name in seen:
                continue
            why = f": {out_of_reach[name].message}" if name in out_of_reach else ""
            yield f"nothing was seen of {name} yet{why}"

    def _judge_clock(self, seen: Seen) -> str:
        chain = seen.observation.snapshot.block.time
        return judge_clock(seen.at, chain, self._config.following.clock_limit)


def _essence(plan: Plan) -> object:
    """Return what makes a difference to sshd and its login command: all but the block's time."""
    krl, index = parse_krl(plan.krl), plan.index
    return (
        krl.revoked,
        krl.keys,
        plan.user_authorities,
        [(a.id, a.key, a.maximum_lifetime) for a in index.authorities],
        index.certificates,
        index.access,
        None if plan.host is None else plan.host.certificate.hash,
    )


def _said(report: AgentReport) -> object:
    return (
        report.all_problems,
        [(d.waiting, d.clock, d.evidence, d.out_of_reach) for d in report.domains],
    )
