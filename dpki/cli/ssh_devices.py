"""`dpki ssh issue` and `rotate` for several devices at once: by pattern, fleet or label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.issuing import (
    describe_plan,
    describe_released,
    device_snapshot,
    make_bench,
    never_issued,
    newest_of,
    rehearse_anchor,
    report,
    request_for_device,
)
from dpki.cli.output import Output, describe_rehearsal, format_cost
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.spending import turn
from dpki.cli.ssh_work import revoke_plans
from dpki.cli.wish import NAME, IssueWish, named_like, verify_wish, with_name
from dpki.errors import DpkiError, UsageError
from dpki.issuance.bench import Bench
from dpki.issuance.index import NamedDevice
from dpki.issuance.plan import CertificateRequest, find_ssh_authority, profile_of, verify_request
from dpki.issuance.revocation import find_serials_of_devices, plan_revocation
from dpki.issuance.selection import Selection
from dpki.issuance.workflow import issue_batch, rehearse_batch, resume
from dpki.locks import hold
from dpki.model import MAXIMUM_BATCH, AuthorityId
from dpki.verification.succession import find_predecessors

if TYPE_CHECKING:
    from dpki.transactions.writer import DomainWriter

Wisher = Callable[[NamedDevice], IssueWish]


def issue_devices(
    output: Output,
    home: Path | None,
    devices: Selection,
    wish: IssueWish,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Issue a certificate to each of the devices.

    Args:
        wish: For all of them; `{name}` in a host name is each one's own name.

    Raises:
        UsageError: Several devices would answer to one host name.
        DpkiError: Some could not be issued; all others were.
    """
    with open_desk(home) as desk:
        picked = devices.pick(desk.index.devices())
        fixed = [name for name in wish.hostnames if NAME not in name]
        if fixed and len(picked) > 1:
            raise UsageError(
                f"{len(picked)} devices can't all be {fixed[0]}",
                hint="write {name} for each one's own name: --hostname '{name}.example.org'",
            )
        job = _Job(output, desk, wish.ca, picked)
        job.run(lambda device: named_wish(wish, device), pin, passphrase, dry_run=dry_run)


def rotate_devices(
    output: Output,
    home: Path | None,
    devices: Selection,
    wish: IssueWish,
    *,
    revoke_old: bool,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Issue each device's next certificate; then revoke the earlier ones, if that is wanted.

    Args:
        wish: For all of them; the names are those of each one's last certificate.

    Raises:
        DpkiError: Some could not be issued; all others were.
    """
    with open_desk(home) as desk, hold(desk.home.work_lock, turn(output)):
        job = _Job(output, desk, wish.ca, devices.pick(desk.index.devices()))
        newest = newest_of(desk, job.line, job.devices)

        def next_one(device: NamedDevice) -> IssueWish:
            if device.address not in newest:
                raise never_issued(device)
            return named_like(replace(wish, device=device.name), newest[device.address])

        job.run(next_one, pin, passphrase, dry_run=dry_run, revoke_old=revoke_old)


def named_wish(wish: IssueWish, device: NamedDevice) -> IssueWish:
    """Return the wish for one device, with its name where `{name}` stands.

    Raises:
        UsageError, InvalidPrincipal: It makes no sense.
    """
    own = replace(with_name(wish, device.name), device=device.name)
    verify_wish(own)
    return own


class _Job:
    """One run, over devices that were picked."""

    def __init__(self, output: Output, desk: Desk, ca: str, devices: Sequence[NamedDevice]) -> None:
        self._output, self._desk, self._name = output, desk, ca
        self._ca = desk.index.find_authority(ca)
        self.devices = devices
        self._snapshot = device_snapshot(desk, devices)
        self._left_out: list[dict[str, object]] = []

    @property
    def line(self) -> list[AuthorityId]:
        """The CA, and those that it succeeds."""
        older = find_predecessors(self._snapshot.authorities, self._ca)
        return [self._ca, *(authority.id for authority in older)]

    def run(
        self,
        wish_of: Wisher,
        pin: str | None,
        passphrase: str | None,
        *,
        dry_run: bool,
        revoke_old: bool = False,
    ) -> None:
        """Issue what is wished for each device, up to 1,000 in a transaction."""
        desk, output = self._desk, self._output
        writer = open_writer(desk, passphrase, output)
        with output.steps() as progress:
            bench = make_bench(desk, writer, self._name, self._ca, pin, output, progress)
            pieces = list(_pieces(self._requests(wish_of, bench)))
            if dry_run:
                self._rehearse(bench, writer, pieces, self._old() if revoke_old else {})
                return
            report(output, resume(bench))
            # Before anything new: what another admin issues meanwhile is not revoked with it.
            old = self._old() if revoke_old else {}
            issued: list[dict[str, object]] = []
            for piece in pieces:
                outcome = issue_batch(bench, piece)
                report(output, outcome)
                issued += [describe_released(r) for r in outcome.issued]
                output.notice(f"{len(issued)} certificates are anchored")
        revoked = self._revoke(writer, issued, old) if revoke_old else []
        self._finish(issued, revoked)

    def _revoke(
        self,
        writer: DomainWriter,
        issued: Sequence[dict[str, object]],
        old: dict[AuthorityId, tuple[int, ...]],
    ) -> list[dict[str, object]]:
        """Revoke what devices held before; only whoever has a new one loses the old one."""
        served = {one["subject"] for one in issued}
        self.devices = [device for device in self.devices if device.name in served]
        snapshot = device_snapshot(self._desk, [])
        plans = [
            plan_revocation(snapshot, ca, [s for s in serials if s in old.get(ca, ())])
            for ca, serials in self._old().items()
        ]
        return revoke_plans(self._output, self._desk, writer, plans)

    def _old(self) -> dict[AuthorityId, tuple[int, ...]]:
        """Return what the devices hold of the line by now."""
        addresses = [device.address for device in self.devices]
        snapshot = device_snapshot(self._desk, [])
        found = find_serials_of_devices(self._desk.reader, snapshot, addresses, now())
        return {ca: found[ca] for ca in self.line if ca in found} if addresses else {}

    def _requests(self, wish_of: Wisher, bench: Bench) -> list[CertificateRequest]:
        """Return what can be asked for; what is refused for itself is left out, with the reason."""
        profile = profile_of(find_ssh_authority(self._snapshot, self._ca), bench.profile)
        requests: list[CertificateRequest] = []
        for device in self.devices:
            try:
                request = request_for_device(
                    self._desk, wish_of(device), self._ca, device, self._snapshot
                )
                verify_request(self._snapshot, profile, request)
            except DpkiError as error:
                self._left_out.append({"device": device.name, "why": error.message})
                self._output.notice(f"left out: {device.name}: {error.message}")
            else:
                requests.append(request)
        return requests

    def _rehearse(
        self,
        bench: Bench,
        writer: DomainWriter,
        pieces: Sequence[list[CertificateRequest]],
        old: dict[AuthorityId, tuple[int, ...]],
    ) -> None:
        count = sum(len(piece) for piece in pieces)
        would = f"issue {count} certificates of {self._name}"
        document: dict[str, object] = {"dry_run": True, "would": would, "gas": 0, "fee_wei": "0"}
        if pieces:
            # What follows can't be tried before the first is there.
            plan = rehearse_batch(bench, pieces[0])
            cost = rehearse_anchor(writer, plan)
            rest = f", and as much again for each of {len(pieces) - 1} more" if pieces[1:] else ""
            self._output.say(f"would {would}: {format_cost(cost)}{rest}; nothing was signed")
            document = describe_rehearsal(cost, would) | {"certificates": describe_plan(plan)}
        serials = [serial for found in old.values() for serial in found]
        if serials:
            self._output.say(f"and then revoke, for ever, {len(serials)} earlier ones")
        left_out = {"left_out": self._left_out, "would_revoke": serials}
        self._output.result(document | left_out, document["gas"])

    def _finish(
        self, issued: Sequence[dict[str, object]], revoked: Sequence[dict[str, object]]
    ) -> None:
        if self._left_out:
            raise DpkiError(
                f"{len(issued)} certificates were issued, and {len(self._left_out)} were not:"
                f" {self._left_out[0]['device']}: {self._left_out[0]['why']}",
                hint="mend that, then run it again for those devices alone",
            )
        self._output.say(f"{len(issued)} certificates of {self._name} are anchored")
        files = "\n".join(str(one["certificate"]) for one in issued)
        self._output.result({"issued": list(issued), "revoked": list(revoked)}, files or None)


def _pieces(requests: Sequence[CertificateRequest]) -> Iterator[list[CertificateRequest]]:
    for start in range(0, len(requests), MAXIMUM_BATCH):
        yield list(requests[start : start + MAXIMUM_BATCH])
