"""`dpki ssh rotate --from OLD --ca NEW`: everything that lives of one CA, issued by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.certificates.key_id import reason_of, verify_reason
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.cli.issuing import (
    describe_released,
    journal_snapshot,
    make_bench,
    rehearse_anchor,
    report,
)
from dpki.cli.output import Output, describe_rehearsal, format_cost
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.spending import turn
from dpki.cli.ssh_work import plan_of, revoke_plans
from dpki.config.durations import parse_duration
from dpki.errors import DpkiError, UsageError
from dpki.files import make_private_directory
from dpki.issuance.batch import JournaledCertificate
from dpki.issuance.bench import Bench
from dpki.issuance.grant import granted_extensions
from dpki.issuance.next_key import lasting_keys
from dpki.issuance.plan import (
    CertificateRequest,
    find_recipient,
    find_ssh_authority,
    profile_of,
    verify_request,
)
from dpki.issuance.reissue import Renewals, holder_of, plan_renewals
from dpki.issuance.standing import Standing, standings_of
from dpki.issuance.workflow import issue_batch, rehearse_batch, resume
from dpki.locks import hold
from dpki.model import MAXIMUM_BATCH, Address, AuthorityId

if TYPE_CHECKING:
    from dpki.transactions.writer import DomainWriter


@dataclass(frozen=True)
class ReissueWish:
    """What was typed."""

    old: str
    new: str
    lifetime: str | None
    reason: str
    revoke_old: bool
    despite_watermark: bool = False

    def verify(self) -> None:
        """Refuse what makes no sense, before anything is opened.

        Raises:
            UsageError: It is one CA twice, or no time, or no reason.
        """
        if self.old == self.new:
            raise UsageError("--from and --ca name the same CA", hint="--ca is the new one")
        if self.revoke_old and self.despite_watermark:
            raise UsageError(
                "--revoke-old and --despite-watermark don't go together",
                hint="what is below the watermark is revoked already; leave --revoke-old out",
            )
        if self.lifetime is not None:
            parse_duration(self.lifetime)
        if self.reason:
            verify_reason(self.reason)


def reissue_all(
    output: Output,
    home: Path | None,
    wish: ReissueWish,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Issue again what lives, in batches; doing it again goes on with what is left.

    Raises:
        DpkiError: Some could not be issued; all others were.
    """
    wish.verify()
    with open_desk(home) as desk, hold(desk.home.work_lock, turn(output)):
        job = _Job(output, desk, wish)
        writer = open_writer(desk, passphrase, output)
        with output.steps() as progress:
            bench = make_bench(desk, writer, wish.new, job.new, pin, output, progress)
            if dry_run:
                job.rehearse(bench, writer)
                return
            report(output, resume(bench))
            issued = job.issue(bench)
        revoked = job.revoke(writer) if wish.revoke_old else []
        job.finish(issued, revoked)


class _Job:
    """One run of it."""

    def __init__(self, output: Output, desk: Desk, wish: ReissueWish) -> None:
        self._output, self._desk, self._wish = output, desk, wish
        self._old = desk.index.find_authority(wish.old)
        self.new = desk.index.find_authority(wish.new)
        self._left_out: list[dict[str, object]] = []
        self._tried: set[object] = set()
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        kinds = [find_ssh_authority(snapshot, ca).kind for ca in (self._old, self.new)]
        if kinds[0] is not kinds[1]:
            raise UsageError(
                f"{wish.old} signs {kinds[0].label} certificates, and {wish.new}"
                f" {kinds[1].label} ones",
                hint="name two CAs of the same kind",
            )

    def rehearse(self, bench: Bench, writer: DomainWriter) -> None:
        """Tell what would be issued; nothing is signed or sent."""
        renewals, pieces = self._renewals(), list[list[CertificateRequest]]()
        while piece := self._next(bench, renewals.due):
            pieces.append(piece)
        costs = [rehearse_anchor(writer, rehearse_batch(bench, p)) for p in pieces[:1]]
        rows = [_describe(c) for c in renewals.due]
        self._list(rows, renewals)
        count = sum(len(piece) for piece in pieces)
        would = f"issue {count} certificates of {self._wish.old} again by {self._wish.new}"
        if self._wish.revoke_old:
            would += ", and then revoke the old ones, for ever"
        document: dict[str, object] = {"dry_run": True, "would": would, "gas": 0, "fee_wei": "0"}
        if costs:
            # What follows can't be tried before the first is there.
            rest = f", and as much again for each of {len(pieces) - 1} more" if pieces[1:] else ""
            self._output.say(f"would {would}: {format_cost(costs[0])}{rest}; nothing was signed")
            document = describe_rehearsal(costs[0], would) | {"transactions": len(pieces)}
        else:
            self._output.say("nothing is left to be issued")
        done = {"certificates": rows, "already": len(renewals.done), "left_out": self._left_out}
        self._output.result(document | done)

    def issue(self, bench: Bench) -> list[dict[str, object]]:
        """Issue a batch at a time, each planned on what the journal says by then."""
        issued: list[dict[str, object]] = []
        while piece := self._next(bench, self._renewals().due):
            outcome = issue_batch(bench, piece)
            report(self._output, outcome)
            issued += [describe_released(r) for r in outcome.issued]
            self._output.notice(f"{len(issued)} certificates are anchored")
        return issued

    def revoke(self, writer: DomainWriter) -> list[dict[str, object]]:
        """Revoke the old certificates of all who have a new one."""
        serials = self._renewals().replaced
        plans = [plan_of(self._desk, self._old, serials)] if serials else []
        return revoke_plans(self._output, self._desk, writer, plans)

    def finish(self, issued: Sequence[dict[str, object]], revoked: object) -> None:
        """Tell what was done.

        Raises:
            DpkiError: Some could not be issued.
        """
        renewals = self._renewals()
        self._list([], renewals)
        if self._left_out:
            raise DpkiError(
                f"{len(issued)} certificates were issued, and {len(self._left_out)} were not:"
                f" {self._left_out[0]['subject']}: {self._left_out[0]['why']}",
                hint="run it again once that is mended: it goes on with what is left",
            )
        self._output.say(
            f"{len(issued)} certificates of {self._wish.old} were issued again by {self._wish.new}"
        )
        files = "\n".join(str(one["certificate"]) for one in issued)
        document = {"issued": list(issued), "already": len(renewals.done) - len(issued)}
        self._output.result(document | {"revoked": revoked}, files or None)

    def _renewals(self) -> Renewals:
        return self._plan(watermark=not self._wish.despite_watermark)

    def _plan(self, *, watermark: bool) -> Renewals:
        old = self._standings(self._old, watermark=watermark)
        return plan_renewals(old, self._standings(self.new))

    def _standings(
        self, ca: AuthorityId, *, watermark: bool = True
    ) -> list[tuple[JournaledCertificate, Standing]]:
        batches = self._desk.journal.load_all(ca)
        snapshot, moment = journal_snapshot(self._desk, batches), now()
        return [
            pair
            for batch in batches
            for pair in standings_of(batch, snapshot, moment, watermark=watermark)
        ]

    def _next(self, bench: Bench, due: Sequence[JournaledCertificate]) -> list[CertificateRequest]:
        """Return the next batch; what is refused for itself is left out, with the reason."""
        found = [c for c in due if holder_of(c) not in self._tried]
        requests: list[CertificateRequest] = []
        devices = {c.device for c in found if c.device != Address.zero()}
        snapshot = fetch_snapshot(self._desk.reader, self._desk.domain, devices=devices)
        profile = profile_of(find_ssh_authority(snapshot, self.new), bench.profile)
        for certificate in found:
            if len(requests) == MAXIMUM_BATCH:
                break
            self._tried.add(holder_of(certificate))
            try:
                request = self._request(certificate, snapshot)
                verify_request(snapshot, profile, request)
            except DpkiError as error:
                self._left_out.append(_describe(certificate) | {"why": error.message})
                self._output.notice(f"left out: {certificate.subject}: {error.message}")
            else:
                requests.append(request)
        return requests

    def _request(self, old: JournaledCertificate, snapshot: Snapshot) -> CertificateRequest:
        parsed = old.certificate
        until = parsed.valid_before
        if self._wish.lifetime is not None:
            length: timedelta = parse_duration(self._wish.lifetime)
            until = now() + length
        key: bytes | None = parsed.subject_key
        recipient = None
        if old.device != Address.zero():
            device = self._desk.index.device_at(old.device)
            if device is None:
                raise UsageError(f"the key document of device {old.subject} is not known here")
            recipient = find_recipient(snapshot, old.device, device.document, device.name)
            newest = lasting_keys(device.document, parsed.kind)[-1:]
            if old.pair_made_here:
                key = None
            elif newest and newest[0] not in self._desk.journal.subject_keys(old.device):
                (key,) = newest
        return CertificateRequest(
            subject=old.subject,
            principals=parsed.principals,
            until=until,
            public_key=key,
            recipient=recipient,
            reason=self._wish.reason or reason_of(parsed.key_id),
            release=self._file(old),
            extensions=granted_extensions(parsed),
        )

    def _file(self, old: JournaledCertificate) -> Path:
        """Return where the certificate goes: a person's to where the old one was handed out."""
        folder = self._desk.home.certificates
        if old.device != Address.zero():
            make_private_directory(folder)
            return folder / f"{old.subject}-{self._wish.new}-cert.pub"
        if old.release is not None and old.release.parent.is_dir():
            return old.release
        make_private_directory(folder)
        return folder / f"{old.subject}-{self._wish.new}-{old.serial}-cert.pub"

    def _list(self, rows: Sequence[dict[str, object]], renewals: Renewals) -> None:
        if rows:
            columns = ("serial", "subject", "principals", "valid_before")
            self._output.table(columns, [[row[column] for column in columns] for row in rows])
        for certificate in renewals.refused:
            self._output.say(
                f"not issued again: {certificate.subject}'s of {self._wish.new} was revoked"
            )
        drowned = len(self._plan(watermark=False).due) - len(renewals.due)
        if not self._wish.despite_watermark and drowned > 0:
            self._output.say(
                f"not issued again: {drowned} that the watermark of {self._wish.old} revoked, and"
                " nothing else; if that was for a stolen CA key: --despite-watermark"
            )


def _describe(old: JournaledCertificate) -> dict[str, object]:
    parsed = old.certificate
    return {
        "serial": old.serial,
        "subject": old.subject,
        "principals": ",".join(parsed.principals),
        "valid_before": parsed.valid_before.isoformat(),
    }
