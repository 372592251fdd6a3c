"""`dpki agent once`: look, remember, decide, install, report."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dpki.agent.decide import Plan, decide
from dpki.agent.index import IndexedAuthority
from dpki.agent.install import Installed, install
from dpki.agent.observe import observe
from dpki.agent.rotation import keys_to_erase
from dpki.agent.state import open_state
from dpki.chain.connect import connect_agreed
from dpki.chain.quorum import Evidence
from dpki.config.device import DeviceConfig, load_device_config
from dpki.config.sshd import Mode
from dpki.devices.keys import erase_host_keys, load_device_keys
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError
from dpki.files import translated
from dpki.model import Block
from dpki.store.base import BlockSource
from dpki.store.directory import DirectoryStore
from dpki.store.gateway import Gateway

KEYS = "keys"


@dataclass(frozen=True)
class AgentReport:
    """What one run found and did.

    Attributes:
        block: The block that everything was decided from.
        evidence: What stands behind it and its state.
        user_authorities: Number of CAs whose users may log in.
        certificates: Number of user certificates that count here.
        host_serial: Serial of the presented host certificate; None where there is none.
        mode: Who decides a login at sshd.
        changed: Files that were replaced or removed.
        restored: Those among them that somebody else had changed, made or removed.
        drift: What sshd does not enforce because of somebody else's setting.
        held: What somebody had brought back, and still stands in for something.
        outages: For each user CA, what happens without the chain.
        problems: What is not as it should be.
        waiting: What counts only once watchdogs confirmed it.
    """

    block: Block
    evidence: Evidence
    user_authorities: int
    certificates: int
    host_serial: int | None
    mode: Mode
    changed: tuple[str, ...]
    restored: tuple[str, ...]
    drift: tuple[str, ...]
    held: tuple[str, ...]
    outages: tuple[str, ...]
    reloaded: bool
    problems: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """0 when all is well; 3 for drift; 5 when something could not be checked or had."""
        if self.drift:
            return CheckedFalse.exit_status
        return CouldNotCheck.exit_status if self.problems else 0

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "block": {
                "number": self.block.number,
                "hash": str(self.block.hash),
                "time": self.block.time.isoformat(),
            },
            "evidence": self.evidence.to_json(),
            "user_authorities": self.user_authorities,
            "certificates": self.certificates,
            "host_serial": self.host_serial,
            "mode": self.mode.label,
            "changed": list(self.changed),
            "restored": list(self.restored),
            "drift": list(self.drift),
            "held": list(self.held),
            "outages": list(self.outages),
            "reloaded": self.reloaded,
            "problems": list(self.problems),
            "waiting": list(self.waiting),
        }

    def lines(self) -> list[str]:
        """Return the report for people."""
        host = "none" if self.host_serial is None else f"serial {self.host_serial}"
        return [
            f"block {self.block.number} of {self.block.time:%Y-%m-%d %H:%M:%S} UTC",
            str(self.evidence),
            *(f"set aside: {endpoint}" for endpoint in self.evidence.aside),
            f"host certificate: {host}",
            f"user CAs: {self.user_authorities}; user certificates that count: {self.certificates}",
            f"mode: {self.mode.label}",
            *self.outages,
            f"changed: {', '.join(self.changed) or 'nothing'}",
            *(f"changed by somebody else, and restored: {name}" for name in self.restored),
            *(f"held: {held}" for held in self.held),
            *(f"not in force: {drift}" for drift in self.drift),
            *(f"waiting: {waiting}" for waiting in self.waiting),
            *(f"problem: {problem}" for problem in self.problems),
        ]


def run_once(directory: Path, *, now: datetime | None = None) -> AgentReport:
    """Bring the device up to date with the chain, once.

    Args:
        directory: The device's folder: device.toml, keys, the agent's database.
        now: The device's clock; the system's by default.

    Raises:
        CouldNotCheck: The chain could not be read; everything installed stays as it is.
        DpkiError: Something could not be installed; what was not replaced is as it was.
    """
    config = load_device_config(directory)
    keys = load_device_keys(directory / KEYS)
    moment = now if now is not None else datetime.now(UTC)
    with _only_one(directory), open_state(directory) as state:
        with connect_agreed(config.rpc, config.domain, config.quorum) as chain:
            observation = observe(
                chain.reader,
                chain.domain,
                config,
                keys,
                block_sources(config),
                state,
                directory,
                moment,
            )
            evidence = chain.evidence()
        plan = decide(config, keys.address, observation, moment)
        installed = install(plan, config)
        if installed.settled:
            erase_host_keys(directory / KEYS, keys_to_erase(keys.host_blobs, installed.host_keys))
        report = _report(plan, observation.snapshot.block, evidence, installed)
        state.save_report(report.to_json())
    return report


def block_sources(config: DeviceConfig) -> Sequence[BlockSource]:
    """Return where bundles come from, in order."""
    sources: list[BlockSource] = [DirectoryStore(path) for path in config.directories]
    sources += [Gateway(url) for url in config.gateways]
    return sources


def _report(plan: Plan, block: Block, evidence: Evidence, installed: Installed) -> AgentReport:
    return AgentReport(
        block=block,
        evidence=evidence,
        user_authorities=len(plan.index.authorities),
        certificates=len(plan.index.certificates),
        host_serial=None if plan.host is None else plan.host.certificate.serial,
        mode=installed.mode,
        changed=installed.changed,
        restored=installed.restored,
        drift=installed.drift,
        held=installed.held,
        outages=tuple(map(_outage, plan.index.authorities)),
        reloaded=installed.reloaded,
        problems=plan.problems,
        waiting=plan.waiting,
    )


def _outage(authority: IndexedAuthority) -> str:
    if authority.fresh_until is None:
        return f"without the chain: OPEN for CA {authority.id}, whatever was revoked meanwhile"
    until = f"{authority.fresh_until:%Y-%m-%d %H:%M:%S} UTC"
    return f"without the chain: CLOSED for CA {authority.id} from {until}"


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the device's lock; the kernel lets go of it however the process ends."""
    path = directory / "agent.lock"
    with translated(path, "nothing was changed"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DpkiError(
            "another agent is at work on this device", hint="wait until it is done"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
