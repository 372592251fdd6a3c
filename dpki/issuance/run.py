"""One run of issuing, under the lock: it takes batches through their steps.

All steps can be done twice: whoever dies between doing and journaling does it again. What counts is
the chain: before a batch is anchored, and when that fails, the chain is asked whether it is there
already, or whether somebody else took the serials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from dpki.certificates.key_id import reason_of
from dpki.errors import CheckedFalse, DpkiError, NotAllowed, TransactionReverted, UsageError
from dpki.issuance.authority import make_pair, sign_batch
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate, NewCertificate
from dpki.issuance.bench import Bench
from dpki.issuance.grant import granted_extensions
from dpki.issuance.outcome import Outcome, Released
from dpki.issuance.place import Place, place_of
from dpki.issuance.placements import journaled
from dpki.issuance.plan import (
    BatchPlan,
    CertificateRequest,
    Recipient,
    find_recipient,
    find_ssh_authority,
    plan_batch,
)
from dpki.issuance.progress import Step
from dpki.issuance.release import release
from dpki.issuance.sealing import Signed, seal_batch
from dpki.model import Address
from dpki.signer.base import Signer

MAXIMUM_TAKEOVERS = 5
"""How often another writer may take the serials before we stop signing new certificates."""

UNEXPECTED_SERIAL = "CertificateRegistryUnexpectedSerial"
TAKEN = "another writer took the serials"
STRANDED = "earlier serials are no longer on the chain"
WITHDRAWN = "it was withdrawn before its operator anchored it"
LOST_KEY = "the process ended with the only copy of a private key"
REORGANISED = "the chain no longer holds it"


class Run:
    """One run of issuing, under the lock.

    Args:
        bench: What to work with.
        stack: Closes what is opened on the way.
    """

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        self._bench = bench
        self._chain = bench.chain
        self._journal = bench.journal
        self._progress = bench.progress
        self._ca = bench.ca
        self._stack = stack
        self._signer: Signer | None = None
        self._asked: set[int] = set()
        self._released: list[Released] = []
        self._void: list[JournaledBatch] = []
        self._dropped: list[str] = []

    def signer(self) -> Signer:
        """Return the CA's key, opened at the first call and closed at the end of the run."""
        if self._signer is None:
            self._signer = self._stack.enter_context(self._bench.open_signer())
        return self._signer

    def outcome(self) -> Outcome:
        """Return what was done so far."""
        issued = tuple(r for r in self._released if r.batch.number in self._asked)
        finished = tuple(r for r in self._released if r.batch.number not in self._asked)
        waiting = self._waiting()
        asked = tuple(batch for batch in waiting if batch.number in self._asked)
        return Outcome(issued, finished, tuple(self._void), tuple(self._dropped), waiting, asked)

    def withdraw(self, first_serial: int) -> None:
        """Give up the waiting batch that begins here; later ones will be signed anew.

        Raises:
            UsageError: None that waits begins here.
        """
        later = [batch for batch in self._waiting() if batch.first_serial >= first_serial]
        if not later or later[0].first_serial != first_serial:
            raise UsageError(
                f"no batch that waits for its operator begins at serial {first_serial}",
                hint="see what waits with: dpki ssh list",
            )
        self._journal.give_up(self._cancel(later[0], WITHDRAWN))
        for batch in later[1:]:
            self._cancel(batch, STRANDED)

    def plan(self, requests: Sequence[CertificateRequest]) -> BatchPlan:
        """Decide what a batch will be, on the newest state; raises as `plan_batch` says."""
        devices = [r.recipient.address for r in requests if r.recipient is not None]
        snapshot = self._chain.snapshot(devices=devices)
        return plan_batch(
            snapshot,
            self._ca,
            requests,
            operator=self._chain.account,
            now=self._bench.clock(),
            profile=self._bench.profile,
            first_serial=self._first_free(),
        )

    def _waiting(self) -> tuple[JournaledBatch, ...]:
        """Return the batches that only lack the operator, whose wallet is elsewhere."""
        if self._chain.account is not None:
            return ()
        return tuple(
            batch
            for batch in self._journal.load_unfinished(self._ca)
            if batch.state is BatchState.PUBLISHED
        )

    def _first_free(self) -> int | None:
        """Return the serial after everything that waits; None for the chain's next one."""
        waiting = self._waiting()
        return waiting[-1].last_serial + 1 if waiting else None

    def settle(self) -> None:
        """Bring everything in the journal to its end: anchored and released, or void."""
        self._reopen_reorganised()
        self._advance_unfinished()
        for _ in range(MAXIMUM_TAKEOVERS):
            for batch in self._journal.load_owed(self._ca):
                self._sign_again(batch)
        if self._journal.load_owed(self._ca):
            raise DpkiError(
                f"another writer took the serials {MAXIMUM_TAKEOVERS} times in a row",
                hint="find out who else issues with this CA; then: dpki ssh resume",
            )
        for batch in self._journal.load_unreleased(self._ca):
            self._release(batch)

    def _advance_unfinished(self) -> None:
        for batch in self._journal.load_unfinished(self._ca):
            self._advance(batch, {})

    def issue(self, plan: BatchPlan) -> None:
        """Sign a batch and carry it as far as it gets: anchored, or void."""
        batch, pairs = self._sign(plan, replaces=None)
        self._asked.add(batch.number)
        self._advance(batch, pairs)

    def _sign(
        self, plan: BatchPlan, replaces: JournaledBatch | None
    ) -> tuple[JournaledBatch, dict[int, bytes]]:
        """Sign and journal; return the private keys that were made, by serial."""
        total = len(plan.certificates)
        self._progress(Step.SIGN, 0, total)
        pairs: dict[int, bytes] = {}
        completed = []
        for planned in plan.certificates:
            request = planned.request
            if request.public_key is None:
                public, pairs[planned.serial] = make_pair()
                planned = replace(planned, request=replace(request, public_key=public))
            completed.append(planned)
        plan = replace(plan, certificates=tuple(completed))
        certificates = sign_batch(
            self.signer(), plan, lambda done: self._progress(Step.SIGN, done, total)
        )
        batch = self._journal.add(
            self._ca,
            [
                NewCertificate(
                    certificate=certificate,
                    subject=planned.request.subject,
                    device=_device_of(planned.request),
                    pair_made_here=planned.serial in pairs,
                    release=planned.request.release,
                    prekey=planned.request.prekey,
                )
                for planned, certificate in zip(plan.certificates, certificates, strict=True)
            ],
            replaces=replaces,
        )
        return batch, pairs

    def _advance(self, batch: JournaledBatch, pairs: Mapping[int, bytes]) -> None:
        """Take an unfinished batch through the steps that are left."""
        if batch.state is BatchState.ISSUED:
            if any(c.pair_made_here and c.serial not in pairs for c in batch.certificates):
                self._cancel(batch, LOST_KEY)
                return
            try:
                recipients = self._recipients(batch.certificates)
            except DpkiError as error:
                if not _is_refusal(error):
                    raise
                self._cancel(batch, error.message)
                return
            batch = self._seal(batch, recipients, pairs)
        if batch.state is BatchState.SEALED:
            batch = self._publish(batch)
        batch = self._anchor(batch)
        if batch.state is BatchState.ANCHORED:
            self._release(batch)

    def _seal(
        self,
        batch: JournaledBatch,
        recipients: Mapping[Address, Recipient],
        pairs: Mapping[int, bytes],
    ) -> JournaledBatch:
        signed = [
            Signed(c.certificate, recipients.get(c.device), pairs.get(c.serial), c.prekey)
            for c in batch.certificates
        ]
        self._progress(Step.SEAL, 0, batch.count)
        profile = self._bench.profile
        sealed = seal_batch(
            self._chain.domain,
            self._ca,
            self._bench.issuer_key,
            signed,
            lambda done: self._progress(Step.SEAL, done, batch.count),
            overlap=None if profile is None else profile.overlap,
        )
        return self._journal.mark_sealed(batch, sealed)

    def _publish(self, batch: JournaledBatch) -> JournaledBatch:
        bundles = {c.serial: c.bundle for c in batch.certificates if c.bundle is not None}
        self._progress(Step.PUBLISH, 0, len(bundles))
        with journaled(self._journal.placements, batch.number) as record:
            for done, (serial, bundle) in enumerate(bundles.items(), start=1):
                self._bench.publisher.publish(bundle, partial(record, serial))
                self._progress(Step.PUBLISH, done, len(bundles))
        return self._journal.mark_published(batch)

    def _anchor(self, batch: JournaledBatch) -> JournaledBatch:
        """Return the batch, anchored or void."""
        self._progress(Step.ANCHOR, 0, 1)
        place, anchoring = self._look_up(batch), None
        if place is Place.ABSENT and self._chain.account is not None:
            try:
                anchoring = self._chain.issue(self._ca, batch.first_serial, batch.entries)
            except TransactionReverted as error:
                # Somebody was quicker: another writer, or our own transaction of an earlier run.
                if error.name != UNEXPECTED_SERIAL:
                    raise
                place = self._look_up(batch)
                if place is Place.ABSENT:
                    raise
            else:
                place = self._look_up(batch)
        if self._chain.account is None and self._can_wait(batch, place):
            return batch
        if place in (Place.TAKEN, Place.STRANDED):
            return self._cancel(batch, TAKEN if place is Place.TAKEN else STRANDED)
        if place is Place.ABSENT:
            raise DpkiError(
                "the batch was anchored, and a reorganisation of the chain took it off again",
                hint="go on with: dpki ssh resume",
            )
        self._progress(Step.ANCHOR, 1, 1)
        if anchoring is None:
            return self._journal.mark_anchored(batch, None, None)
        return self._journal.mark_anchored(
            batch, anchoring.transaction_hash, anchoring.block.number
        )

    def _can_wait(self, batch: JournaledBatch, place: Place) -> bool:
        """Whether the operator can still anchor it, after what waits before it."""
        if place is Place.STRANDED:
            before = [b for b in self._waiting() if b.first_serial < batch.first_serial]
            return bool(before) and before[-1].last_serial + 1 == batch.first_serial
        return place is Place.ABSENT

    def _release(self, batch: JournaledBatch) -> None:
        self._progress(Step.RELEASE, 0, batch.count)
        for done, certificate in enumerate(batch.certificates, start=1):
            if not certificate.is_released:
                file = release(batch, self._chain.domain, certificate.serial)
                self._progress(Step.RELEASE, done, batch.count)
                self._journal.mark_released(batch, certificate.serial)
                self._released.append(Released(batch, certificate.serial, file))

    def _cancel(self, batch: JournaledBatch, reason: str) -> JournaledBatch:
        void = self._journal.mark_void(batch, reason)
        self._void.append(void)
        return void

    def _sign_again(self, void: JournaledBatch) -> None:
        """Sign what a void batch was to be, with the same ends of validity, and journal it."""
        now = self._bench.clock()
        living = [c for c in void.certificates if c.certificate.valid_before > now]
        for certificate in void.certificates:
            if certificate not in living:
                self._dropped.append(f"{certificate.subject}: it would have expired meanwhile")
        if not living:
            self._journal.give_up(void)
            return
        try:
            recipients = self._recipients(living)
            plan = self.plan(
                [
                    CertificateRequest(
                        subject=c.subject,
                        principals=c.certificate.principals,
                        until=c.certificate.valid_before,
                        public_key=None if c.pair_made_here else c.certificate.subject_key,
                        recipient=recipients.get(c.device),
                        reason=reason_of(c.certificate.key_id),
                        release=c.release,
                        prekey=c.prekey,
                        extensions=granted_extensions(c.certificate),
                    )
                    for c in living
                ]
            )
        except DpkiError as error:
            if not _is_refusal(error):
                raise
            # What can't be granted any more, such as a retired device's, must not block the rest.
            self._journal.give_up(void)
            self._dropped += [f"{c.subject}: {error.message}" for c in living]
            return
        batch, pairs = self._sign(plan, replaces=void)
        if void.number in self._asked:
            self._asked.add(batch.number)
        self._advance(batch, pairs)

    def _reopen_reorganised(self) -> None:
        """Find anchored batches that a reorganisation took off the chain; they are done again.

        A reorganisation replaces the end of a chain, so the first batch that is still there, from
        the newest backwards, ends the search.
        """
        for number in self._journal.load_anchored_latest_first(self._ca):
            batch = self._journal.load(number)
            if self._look_up(batch) is Place.OURS:
                return
            self._journal.mark_published(batch, REORGANISED)

    def _look_up(self, batch: JournaledBatch) -> Place:
        snapshot = self._chain.snapshot(batches=[(batch.authority, batch.first_serial)])
        find_ssh_authority(snapshot, batch.authority)
        return place_of(batch, snapshot)

    def _recipients(self, certificates: Sequence[JournaledCertificate]) -> dict[Address, Recipient]:
        """Return the sealing keys of the certificates' devices, checked against the chain."""
        devices = {c.device: c.subject for c in certificates if c.device != Address.zero()}
        if not devices:
            return {}
        snapshot = self._chain.snapshot(devices=devices)
        recipients = {}
        for address, name in devices.items():
            document = self._bench.find_document(address)
            if document is None:
                raise UsageError(
                    f"the key document of device {name} ({address}) is not known here",
                    hint="get a request from the device, then: dpki device update REQUEST",
                )
            recipients[address] = find_recipient(snapshot, address, document, name)
        return recipients


def _device_of(request: CertificateRequest) -> Address:
    return Address.zero() if request.recipient is None else request.recipient.address


def _is_refusal(error: DpkiError) -> bool:
    """Whether trying again would end the same, unlike with a chain or token that is away."""
    return isinstance(error, UsageError | CheckedFalse | NotAllowed)
