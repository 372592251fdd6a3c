"""What `dpki device replace` does, step by step: retire, rename, enrol, issue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.confirm import confirm, verify_can_ask
from dpki.cli.device_work import load_request
from dpki.cli.issuing import describe_released, journal_snapshot, make_bench, report
from dpki.cli.output import (
    Output,
    describe_receipt,
    describe_rehearsal,
    format_cost,
    say_receipt,
)
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.spending import turn
from dpki.cli.ssh_work import plan_of, revoke_plans
from dpki.errors import CheckedFalse, DpkiError, UsageError
from dpki.files import make_private_directory
from dpki.issuance.batch import JournaledCertificate
from dpki.issuance.enrolment import Enrolment, enroll_devices, rehearse_enrolments
from dpki.issuance.index import NamedDevice
from dpki.issuance.plan import CLOCK_SKEW, CertificateRequest, find_recipient, find_ssh_authority
from dpki.issuance.reissue import Renewals
from dpki.issuance.replacements import (
    Replacement,
    Replacements,
    batches_of,
    plan_replacement,
    retired_name,
)
from dpki.issuance.standing import Standing, standings_of
from dpki.issuance.workflow import issue_batch, resume
from dpki.locks import hold
from dpki.model import Address, AuthorityId, AuthorityState, DeviceState

if TYPE_CHECKING:
    from dpki.devices.enrollment import EnrollmentRequest
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.writer import DomainWriter

_ENDED = (AuthorityState.CLOSED, AuthorityState.RETIRED)
"""States in which a CA never issues again."""


def replace_device(
    output: Output,
    home: Path | None,
    name: str,
    file: Path,
    *,
    yes: bool,
    dry_run: bool,
    pin: str | None,
    passphrase: str | None,
) -> None:
    """Put a new device in the place of an old one; doing it again goes on with what is left.

    Raises:
        UsageError: There is no such device, it is not confirmed, or the new one has another place.
        CheckedFalse: The new device is enrolled otherwise, or retired.
        DpkiError: Some certificates could not be issued; everything else was done.
    """
    request = load_request(file)
    with open_desk(home) as desk, hold(desk.home.work_lock, turn(output)):
        job = _Job(output, desk, name, request)
        if job.is_done:
            output.say(f"{name} is replaced already")
            output.result(job.describe(None, []), request.device)
            return
        if not (dry_run or job.is_retired):
            verify_can_ask(name, "to retire", yes=yes)
        writer = open_writer(desk, passphrase, output)
        # Before what can't be undone: whether the rest of it can be done at all.
        rehearsal = job.rehearse(writer)
        if dry_run:
            job.tell(rehearsal)
            return
        if not job.is_retired:
            confirm(output, name, yes=yes)
        job.begin()
        receipt = job.retire(writer)
        job.enroll(writer)
        issued = job.issue(writer, pin)
        job.revoke(writer)
        job.finish(receipt, issued)


class _Job:
    """One run of it."""

    def __init__(self, output: Output, desk: Desk, name: str, request: EnrollmentRequest) -> None:
        self._output, self._desk, self._request = output, desk, request
        self._table = Replacements(desk.database)
        noted = self._table.of_new(request.device)
        if noted is not None:
            found = desk.index.device_at(noted.old)
            if found is None or name not in (found.name, noted.name):
                raise UsageError(
                    f"device {request.device} takes the place of {noted.name}, not of {name[:80]}"
                )
        else:
            found = desk.index.find_device(name)
            if found.address == request.device:
                raise UsageError(
                    f"the request is of {name} itself",
                    hint="give the request that the new device made; for newer keys of the same"
                    " device: dpki device update",
                )
            noted = Replacement(found.address, request.device, name, now())
        self._noted, self._old = noted, found
        both = [self._old.address, request.device]
        snapshot = fetch_snapshot(desk.reader, desk.domain, devices=both)
        self._authorities = snapshot.authorities
        self._states = {device: snapshot.devices[device].state for device in both}
        self._left_out: list[dict[str, object]] = []

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self._noted.is_done

    @property
    def is_retired(self) -> bool:
        """Whether what is for ever is done."""
        return self._states[self._old.address] is DeviceState.RETIRED

    @property
    def _wish(self) -> Enrolment:
        return Enrolment(self._request, self._noted.name, self._labels)

    @property
    def _labels(self) -> dict[str, str]:
        return dict(self._old.labels)

    def rehearse(self, writer: DomainWriter) -> list[Rehearsal]:
        """Return what retiring and enrolling would cost, and refuse what would be refused.

        Raises:
            As `enroll_devices`, and CheckedFalse where the old device was never enrolled.
        """
        if self._states[self._old.address] is DeviceState.UNREGISTERED:
            raise CheckedFalse(
                f"device {self._old.name} is not enrolled", hint="enrol the new one by itself"
            )
        is_named = self._desk.index.device_at(self._request.device) is not None
        # Its name is still the old one's; whether the rest is in order does not depend on it.
        wish = self._wish if is_named else Enrolment(self._request, self._retired_name())
        reader, index = self._desk.reader, self._desk.index
        _, enrolling = rehearse_enrolments(reader, writer, index, [wish], now())
        costs = [] if self.is_retired else [writer.rehearsal().retire_device(self._old.address)]
        return costs + ([] if enrolling is None else [enrolling])

    def tell(self, costs: Sequence[Rehearsal]) -> None:
        """Tell what would be done; nothing was sent."""
        due = {name: self._renewals(ca).due for name, ca in self._cas()}
        would = f"retire {self._old.name}, for ever, and enrol {self._request.device} in its place"
        document: dict[str, object] = {"dry_run": True, "would": would, "gas": 0, "fee_wei": "0"}
        if costs:
            cost = sum(costs[1:], costs[0])
            document = describe_rehearsal(cost, would)
            self._output.say(f"would {would}: {format_cost(cost)}; nothing was sent")
        rows = [
            {"ca": name, "serial": one.serial, "principals": list(one.certificate.principals)}
            for name, certificates in due.items()
            for one in certificates
        ]
        for row in rows:
            self._output.say(f"and then issue again: {row['principals']} of CA {row['ca']}")
        self._output.result(document | {"certificates": rows}, document["gas"])

    def begin(self) -> None:
        """Note what is about to be done."""
        self._noted = self._table.begin(self._noted)

    def retire(self, writer: DomainWriter) -> dict[str, object]:
        """Retire the old device, unless it is, and free its name."""
        receipt = None
        if not self.is_retired:
            with self._output.working(f"retiring {self._old.name}"):
                receipt = writer.retire_device(self._old.address)
            say_receipt(self._output, receipt)
            self._output.say(f"{self._old.name} is retired: nothing of it counts any more")
        if self._old.name == self._noted.name:
            name = self._retired_name()
            self._desk.index.rename_device(self._old.name, name)
            self._output.say(f"the old device is called {name} now")
        return describe_receipt(receipt)

    def enroll(self, writer: DomainWriter) -> None:
        """Enrol the new one under the old one's name and labels, which the old one loses.

        A retired device in a fleet would be left out, and said, whenever the fleet is meant.
        """
        desk = self._desk
        with self._output.working("enrolling"):
            (done,) = enroll_devices(desk.reader, writer, desk.index, [self._wish], now())
        say_receipt(self._output, done.receipt)
        old = desk.index.device_at(self._old.address)
        if old is not None and old.labels:
            desk.index.label_devices([old], {}, without=old.labels)
        self._output.say(f"{self._noted.name} is device {self._request.device} now")

    def issue(self, writer: DomainWriter, pin: str | None) -> list[dict[str, object]]:
        """Issue what the old one held, for the new one's keys: a transaction for each CA."""
        desk, issued = self._desk, list[dict[str, object]]()
        for name, ca in self._cas():
            try:
                with self._output.steps() as progress:
                    bench = make_bench(desk, writer, name, ca, pin, self._output, progress)
                    report(self._output, resume(bench))
                    # Read again: what an earlier run had signed is the new device's by now.
                    due = self._renewals(ca).due
                    if not due:
                        continue
                    if self._authorities[ca].state in _ENDED:
                        state = self._authorities[ca].state.label
                        self._output.say(f"not issued again: {name} is {state} for ever")
                        continue
                    outcome = issue_batch(bench, self._requests(name, ca, due))
            except DpkiError as error:
                # One CA that can't issue now does not hold up another.
                self._left_out.append({"ca": name, "why": error.message})
                self._output.notice(f"left out: {name}: {error.message}")
            else:
                report(self._output, outcome)
                issued += [describe_released(r) for r in outcome.issued]
        return issued

    def revoke(self, writer: DomainWriter) -> None:
        """Revoke the old one's serials too: ssh clients know those, and not retired devices.

        Last, and never of a CA that has yet to issue: what is revoked is not issued again.
        """
        failed = {one["ca"] for one in self._left_out}
        living = {
            ca: [
                c.serial
                for c, standing in self._standings(ca, self._old.address, now())
                if standing in (Standing.ANCHORED, Standing.AWAITING)
            ]
            for name, ca in self._cas()
            if name not in failed
        }
        plans = [plan_of(self._desk, ca, serials) for ca, serials in living.items() if serials]
        revoke_plans(self._output, self._desk, writer, plans)

    def finish(self, receipt: dict[str, object], issued: Sequence[dict[str, object]]) -> None:
        """Note that it is done, unless something is left.

        Raises:
            DpkiError: A CA could not issue.
        """
        if self._left_out:
            raise DpkiError(
                f"{self._noted.name} is replaced, but a certificate was not issued again by"
                f" {self._left_out[0]['ca']}: {self._left_out[0]['why']}",
                hint="mend that, then run the command again: it goes on with what is left",
            )
        self._table.finish(self._noted)
        self._output.say(f"{self._noted.name}: {len(issued)} certificates were issued again")
        self._output.result(self.describe(receipt, issued), self._request.device)

    def describe(
        self, receipt: dict[str, object] | None, issued: Sequence[dict[str, object]]
    ) -> dict[str, object]:
        """Return what was done, as plain data."""
        return {
            "name": self._noted.name,
            "device": str(self._request.device),
            "old": str(self._old.address),
            "retired": receipt,
            "issued": list(issued),
        }

    def _retired_name(self) -> str:
        return retired_name(self._noted.name, (d.name for d in self._desk.index.devices()))

    def _cas(self) -> list[tuple[str, AuthorityId]]:
        """Return the CAs of which the old device, or who owes it something, had certificates."""
        olds = [one.old for one in self._table.owing(self._noted)]
        return [
            (name, ca)
            for name, ca in self._desk.index.authorities().items()
            if any(batches_of(self._desk.journal.load_all(ca), old) for old in olds)
        ]

    def _renewals(self, ca: AuthorityId) -> Renewals:
        owing = self._table.owing(self._noted)
        old = [pair for one in owing for pair in self._standings(ca, one.old, one.begun)]
        return plan_replacement(old, self._standings(ca, self._noted.new, now()))

    def _standings(
        self, ca: AuthorityId, device: Address, at: datetime
    ) -> list[tuple[JournaledCertificate, Standing]]:
        batches = batches_of(self._desk.journal.load_all(ca), device)
        snapshot = journal_snapshot(self._desk, batches)
        return [
            (certificate, standing)
            for batch in batches
            for certificate, standing in standings_of(batch, snapshot, at)
            if certificate.device == device
        ]

    def _requests(
        self, name: str, ca: AuthorityId, due: Sequence[JournaledCertificate]
    ) -> list[CertificateRequest]:
        device = self._desk.index.find_device(self._noted.name)
        snapshot = fetch_snapshot(self._desk.reader, self._desk.domain, devices=[device.address])
        find_ssh_authority(snapshot, ca)
        recipient = find_recipient(snapshot, device.address, device.document, device.name)
        make_private_directory(self._desk.home.certificates)
        return [
            CertificateRequest(
                subject=device.name,
                principals=one.certificate.principals,
                until=now() + _length(one),
                public_key=device.document.ssh_host[-1],
                recipient=recipient,
                release=self._file(device, name, one, alone=len(due) == 1),
            )
            for one in due
        ]

    def _file(
        self, device: NamedDevice, ca: str, old: JournaledCertificate, *, alone: bool
    ) -> Path:
        middle = "" if alone else f"-{old.serial}"
        return self._desk.home.certificates / f"{device.name}-{ca}{middle}-cert.pub"


def _length(old: JournaledCertificate) -> timedelta:
    """Return for how long it was issued: its validity began earlier, for slow clocks."""
    return old.certificate.valid_before - old.certificate.valid_after - CLOCK_SKEW
