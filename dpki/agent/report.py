"""What the agent found and did: for people, for `--json`, and kept for `dpki agent status`.

One file in the agent's folder, replaced whole, so that the status can be read while the agent is at
work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dpki.agent.decide import Plan
from dpki.agent.follow import Seen
from dpki.agent.index import IndexedAuthority
from dpki.agent.sources import Conduct
from dpki.chain.quorum import Evidence
from dpki.config.sshd import Mode
from dpki.devices.prekeys import FEW
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError
from dpki.files import load_bounded, write_atomic
from dpki.model import Block, DomainId

FILE_NAME = "report.json"
_LIMIT = 1 << 20


@dataclass(frozen=True)
class DomainReport:
    """What the agent knows of one trust domain.

    Attributes:
        name: What it is called on this device.
        block: The block that everything was decided from.
        at: When it was seen, by the device's clock.
        evidence: What stands behind it and its state.
        user_authorities: Number of CAs whose users may log in.
        certificates: Number of user certificates that count here.
        host_serial: Serial of its newest valid host certificate; None where there is none.
        problems: What is not as it should be.
        waiting: What counts only once watchdogs confirmed it.
        outages: For each user CA, what happens without the chain.
        clock: How far clock and chain lie apart, in words; nothing where that is in order.
        out_of_reach: Why the last look failed; nothing where it did not.
        sources: How the sources of bundles behaved, by name.
    """

    name: str
    domain: DomainId
    block: Block
    at: datetime
    evidence: Evidence
    user_authorities: int
    certificates: int
    host_serial: int | None
    problems: tuple[str, ...]
    waiting: tuple[str, ...]
    outages: tuple[str, ...] = ()
    clock: str = ""
    out_of_reach: str = ""
    sources: Mapping[str, Conduct] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, seen: Seen, plan: Plan, *, clock: str = "", out_of_reach: str = ""
    ) -> DomainReport:
        """Return the report on what was seen and decided."""
        snapshot = seen.observation.snapshot
        return cls(
            name=name,
            domain=snapshot.domain.id,
            block=snapshot.block,
            at=seen.at,
            evidence=seen.evidence,
            user_authorities=len(plan.index.authorities),
            certificates=len(plan.index.certificates),
            host_serial=None if plan.host is None else plan.host.certificate.serial,
            problems=plan.problems,
            waiting=plan.waiting,
            outages=tuple(map(_outage, plan.index.authorities)),
            clock=clock,
            out_of_reach=out_of_reach,
            sources=seen.sources,
        )

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "domain": str(self.domain),
            "block": {
                "number": self.block.number,
                "hash": str(self.block.hash),
                "time": self.block.time.isoformat(),
            },
            "at": self.at.isoformat(),
            "evidence": self.evidence.to_json(),
            "user_authorities": self.user_authorities,
            "certificates": self.certificates,
            "host_serial": self.host_serial,
            "problems": list(self.problems),
            "waiting": list(self.waiting),
            "outages": list(self.outages),
            "clock": self.clock or None,
            "out_of_reach": self.out_of_reach or None,
            "sources": {name: conduct.to_json() for name, conduct in self.sources.items()},
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        host = "none" if self.host_serial is None else f"serial {self.host_serial}"
        return [
            f"block {self.block.number} of {self.block.time:%Y-%m-%d %H:%M:%S} UTC",
            *([f"out of reach: {self.out_of_reach}"] if self.out_of_reach else []),
            *([f"clock: {self.clock}"] if self.clock else []),
            str(self.evidence),
            *(f"set aside: {endpoint}" for endpoint in self.evidence.aside),
            *(f"{name}: {conduct.last}" for name, conduct in self.sources.items() if conduct.last),
            f"host certificate: {host}",
            f"user CAs: {self.user_authorities}; user certificates that count: {self.certificates}",
            *self.outages,
            *(f"waiting: {waiting}" for waiting in self.waiting),
            *(f"problem: {problem}" for problem in self.problems),
        ]


@dataclass(frozen=True)
class AgentReport:
    """What one step found and did.

    Attributes:
        domains: What is known of each trust domain; the first is the device's first.
        mode: Who decides a login at sshd.
        accounts: Whose logins.
        problems: What is wrong beyond any one of them.
        changed: Files that were replaced or removed.
        restored: Those among them that somebody else had changed, made or removed.
        drift: What sshd does not enforce because of somebody else's setting.
        held: What somebody had brought back, and still stands in for something.
        reloaded: Whether sshd was told to read its configuration.
        ended: Sessions that were ended because their certificates were.
        prekeys: How many one-time keys are left; None for a device that never had any.
        clients: Serials of the certificates that its SSH client uses, the best first; None where
            nobody uses it.
    """

    domains: tuple[DomainReport, ...]
    mode: Mode
    accounts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    reloaded: bool = False
    ended: tuple[str, ...] = ()
    prekeys: int | None = None
    clients: tuple[int, ...] | None = None

    @property
    def block(self) -> Block:
        """The block that the first domain was decided from."""
        return self.domains[0].block

    @property
    def all_problems(self) -> tuple[str, ...]:
        """What is not as it should be, anywhere."""
        found = list(self.problems)
        for domain in self.domains:
            before = f"{domain.name}: " if len(self.domains) > 1 else ""
            unreached = (f"out of reach: {domain.out_of_reach}",) if domain.out_of_reach else ()
            found += [f"{before}{problem}" for problem in (*unreached, *domain.problems)]
        return tuple(found)

    @property
    def exit_status(self) -> int:
        """0 when all is well; 3 for drift; 5 when something could not be checked or had."""
        if self.drift:
            return CheckedFalse.exit_status
        return CouldNotCheck.exit_status if self.all_problems else 0

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data: the first domain's fields, and all domains' below."""
        return {
            **self.domains[0].to_json(),
            "mode": self.mode.label,
            "accounts": dict.fromkeys(self.accounts, self.mode.label),
            "problems": list(self.all_problems),
            "changed": list(self.changed),
            "restored": list(self.restored),
            "drift": list(self.drift),
            "held": list(self.held),
            "reloaded": self.reloaded,
            "ended": list(self.ended),
            "prekeys": self.prekeys,
            "clients": None if self.clients is None else list(self.clients),
            "domains": [domain.to_json() for domain in self.domains],
        }

    def lines(self) -> list[str]:
        """Return the report for people."""
        said = [f"mode: {self.mode.label}"]
        said += [f"account {account}: {self.mode.label}" for account in self.accounts]
        for domain in self.domains:
            if len(self.domains) > 1:
                said.append(f"trust domain {domain.name}: {domain.domain}")
            said += domain.lines()
        if self.clients is not None:
            serials = ", ".join(f"serial {serial}" for serial in self.clients)
            said.append(f"client certificates: {serials or 'none'}")
        return [
            *said,
            f"changed: {', '.join(self.changed) or 'nothing'}",
            *(f"changed by somebody else, and restored: {name}" for name in self.restored),
            *(f"held: {held}" for held in self.held),
            *(f"not in force: {drift}" for drift in self.drift),
            *(f"session ended: {ended}" for ended in self.ended),
            *([] if self.prekeys is None else [describe_supply(self.prekeys)]),
            *(f"problem: {problem}" for problem in self.problems),
        ]


def describe_supply(prekeys: int) -> str:
    """Return in words how many one-time keys are left, and what to do about few."""
    advice = "; make more: dpki device topup" if prekeys < FEW else ""
    return f"one-time keys left: {prekeys}{advice}"


def _outage(authority: IndexedAuthority) -> str:
    if authority.fresh_until is None:
        return f"without the chain: OPEN for CA {authority.id}, whatever was revoked meanwhile"
    until = f"{authority.fresh_until:%Y-%m-%d %H:%M:%S} UTC"
    return f"without the chain: CLOSED for CA {authority.id} from {until}"


@dataclass(frozen=True)
class LastReport:
    """What the last step said.

    Attributes:
        report: As `AgentReport.to_json` wrote it.
        said: The same for people.
    """

    report: Mapping[str, object]
    said: tuple[str, ...]


def load_report(directory: Path) -> LastReport | None:
    """Return what the last step said; None where there was none.

    Raises:
        DpkiError: The file can't be read, or is damaged.
    """
    path = directory / FILE_NAME
    return parse_report(load_bounded(path, limit=_LIMIT), path) if path.exists() else None


def parse_report(data: bytes, path: Path) -> LastReport:
    """Parse the file; `path` is for messages.

    Raises:
        DpkiError: It is damaged.
    """
    try:
        fields = json.loads(data)
        report, said = fields["report"], fields["said"]
        if not isinstance(report, dict) or not all(isinstance(line, str) for line in said):
            raise TypeError
    # RecursionError: brackets nested by the thousand.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DpkiError(
            f"{path} is damaged", hint="remove it: the agent's next run writes it anew"
        ) from error
    return LastReport(report, tuple(said))


def save_report(directory: Path, last: LastReport) -> None:
    """Replace what the last step said.

    Raises:
        DpkiError: It could not be written.
    """
    fields = {"report": last.report, "said": last.said}
    write_atomic(directory / FILE_NAME, json.dumps(fields).encode())
