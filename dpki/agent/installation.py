"""One step of the agent: from what was seen of each domain to what is installed, and a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dpki.agent import disk
from dpki.agent.acknowledge import acknowledge
from dpki.agent.client import ClientInstaller, install_client
from dpki.agent.clock import judge_clock
from dpki.agent.decide import Plan, decide
from dpki.agent.follow import KEYS, Seen, folder_of
from dpki.agent.install import Installed, Installer
from dpki.agent.merge import merge
from dpki.agent.presenting import pair_name
from dpki.agent.record import Record, digest, load_record
from dpki.agent.report import AgentReport, DomainReport, LastReport, load_report, save_report
from dpki.agent.rotation import keys_to_erase
from dpki.agent.sshd import InstalledFiles, mode_of, parse_drop_in
from dpki.config.device import DeviceConfig
from dpki.config.sshd import Mode
from dpki.devices.acknowledgement import (
    MAXIMUM_CERTIFICATES,
    AcknowledgedCertificate,
    Stage,
    Statement,
    opening_of,
)
from dpki.devices.keys import (
    HOST_DIRECTORY,
    USER_DIRECTORY,
    DeviceKeys,
    erase_keys,
    load_device_keys,
)
from dpki.devices.prekeys import count_prekeys
from dpki.errors import DpkiError

KEEP_SECONDS = 60
"""How old the kept report may be while nothing new is to be said."""

NOT_INSTALLED = "not installed: "


class Installation:
    """What is installed on this device; one thread at a time.

    Args:
        directory: The agent's folder.
    """

    def __init__(self, directory: Path, config: DeviceConfig) -> None:
        self._directory = directory
        self._config = config
        self._installer = Installer(config)
        outbound = config.outbound
        self._client = None if outbound is None else ClientInstaller(outbound)
        self._told: object = None

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
        keys = load_device_keys(self._directory / KEYS)
        plans = {
            name: decide(each, keys.address, seen[name].observation, now)
            for name, each in self._config.each().items()
            if name in seen
        }
        merged = merge(plans)
        installed: Installed | DpkiError
        try:
            installed = self._installer.install(merged.plan)
        except DpkiError as error:
            installed = error
        finally:
            # Whatever failed at sshd: what is taken away must not count here either.
            client = install_client(self._client, merged.plan.outward, merged.plan.krl)
        if isinstance(installed, DpkiError):
            self._keep_failure(installed)
            # An admin sees that they arrived, and came no further.
            mode, names = self._told_before()
            presented = (p.certificate for p in merged.plan.hosts if pair_name(p) in names)
            used = {*(one.subject_key for one in presented), *client.keys}
            self._acknowledge(keys, seen, plans, mode, used, now)
            raise installed
        if installed.settled:
            old = keys_to_erase(keys.host_blobs, installed.host_keys)
            erase_keys(self._directory / KEYS, HOST_DIRECTORY, old)
        old = keys_to_erase(keys.user_blobs, client.keys)
        erase_keys(self._directory / KEYS, USER_DIRECTORY, old)
        used = {*installed.host_keys, *client.keys}
        unsaid = self._acknowledge(keys, seen, plans, installed.mode, used, now)
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
            mode=installed.mode,
            accounts=tuple(sorted(self._installer.enforcement.accounts)),
            problems=(
                *merged.conflicts,
                *client.problems,
                *self._unseen(seen, out_of_reach),
                *unsaid,
            ),
            changed=(*installed.changed, *(f"client {name}" for name in client.changed)),
            restored=installed.restored,
            drift=installed.drift,
            held=installed.held,
            reloaded=installed.reloaded,
            ended=installed.ended,
            prekeys=count_prekeys(self._directory / KEYS),
            clients=None if self._client is None else client.serials,
        )
        self._keep(report)
        return report

    def next_end(self, now: datetime) -> datetime | None:
        """Return when the next certificate's sessions are to be ended; None for never."""
        return self._installer.next_end(now)

    def end_sessions(self, now: datetime) -> tuple[str, ...]:
        """End the sessions of certificates whose time is over; return a sentence for each."""
        return self._installer.end_sessions(now)

    def _keep(self, report: AgentReport) -> None:
        """Keep a report that says something new: not one for each block, for the disk's sake."""
        told = (
            report.mode,
            report.all_problems,
            report.drift,
            report.held,
            report.prekeys,
            report.clients,
            [(d.waiting, d.clock, d.evidence, d.certificates) for d in report.domains],
            # A report is never older than this.
            [int(d.at.timestamp()) // KEEP_SECONDS for d in report.domains],
        )
        if told != self._told or report.changed or report.ended:
            save_report(self._directory, LastReport(report.to_json(), tuple(report.lines())))
            self._told = told

    def _acknowledge(
        self,
        keys: DeviceKeys,
        seen: Mapping[str, Seen],
        plans: Mapping[str, Plan],
        mode: Mode,
        used: Collection[bytes],
        now: datetime,
    ) -> list[str]:
        """Keep what is to be said to each domain; return why something could not be.

        Nothing else rests on it.

        Args:
            used: Public key blobs of what this device's SSH server and client use.
        """
        unsaid = []
        for name, plan in plans.items():
            statement = _statement(keys, seen[name], plan, mode, used)
            folder, config = folder_of(self._directory, name), self._config.each()[name]
            try:
                acknowledge(folder, config, keys, statement, now)
            except DpkiError as error:
                unsaid.append(f"not acknowledged to {name}: {error.message}")
        return unsaid

    def _told_before(self) -> tuple[Mode, list[str]]:
        """Return the mode and the names of the host pairs of which sshd was told last."""
        sshd, text, record = self._config.sshd, b"", Record()
        with suppress(DpkiError):
            text = disk.read(sshd.drop_in) or b""
            record = load_record(InstalledFiles(sshd.directory).record)
        settings, names = parse_drop_in(text)
        if record.told != digest(text).hex():
            # The drop-in is there, and sshd did not obey the reload.
            names = [pair.name for pair in record.pairs]
        return mode_of(settings) or sshd.mode, names

    def _keep_failure(self, error: DpkiError) -> None:
        """Have the kept report say that what it tells of is not what was decided last."""
        self._told = None
        # A disk that takes nothing does not take this either.
        with suppress(DpkiError):
            last = load_report(self._directory) or LastReport({}, ())
            said = tuple(line for line in last.said if not line.startswith(NOT_INSTALLED))
            report = {**last.report, "not_installed": error.message}
            line = f"{NOT_INSTALLED}{error.message}"
            save_report(self._directory, LastReport(report, (line, *said)))

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


def _statement(
    keys: DeviceKeys, seen: Seen, plan: Plan, mode: Mode, used: Collection[bytes]
) -> Statement:
    """Return what the device says of what it has of a domain.

    Args:
        used: Public key blobs of what its SSH server and client use.
    """
    block = seen.observation.snapshot.block
    clients = () if plan.outward is None else plan.outward.clients
    certificates = [pair.certificate for pair in (*plan.hosts, *clients)]
    return Statement(
        domain=seen.observation.snapshot.domain.id,
        device=keys.address,
        sequence=0,
        block=block.number,
        block_hash=block.hash,
        mode="strict" if mode is Mode.STRICT else "files",
        prekeys=len(keys.prekeys),
        certificates=tuple(
            AcknowledgedCertificate(
                one.authority_id,
                one.serial,
                opening_of(keys.address, one.blob),
                Stage.INSTALLED if one.subject_key in used else Stage.FETCHED,
            )
            for one in certificates[:MAXIMUM_CERTIFICATES]
        ),
    )
