"""T3 as a state machine: kills, other writers, reorganisations and failures, in any order.

Whatever happened, in whatever order, at the end everything that was wished for is anchored once,
the journal and the chain agree, and nothing that was handed out lacks its anchor.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dpki.bundle.content import bundle_context, open_bundle
from dpki.certificates.ssh import parse_ssh_certificate
from dpki.errors import TransactionFailed
from dpki.issuance.batch import BatchState, JournaledCertificate
from dpki.issuance.place import Place, place_of
from dpki.issuance.plan import CertificateRequest
from dpki.issuance.workflow import issue_batch, resume
from dpki.model import AuthorityId
from tests.fakes.issuing import KillAt, Killed, Office
from tests.world import DOMAIN, Ca


class Issuing(RuleBasedStateMachine):
    """An office to which everything happens."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="dpki-issuing-"))
        self.office = Office.open(self.directory, Ca.hosts())
        self.device = self.office.enroll()
        self.wished: list[CertificateRequest] = []
        self.before: dict[AuthorityId, Ca] | None = None
        self.names = 0

    def teardown(self) -> None:
        try:
            self.settle()
            self.verify_end()
        finally:
            shutil.rmtree(self.directory)

    def request(self, pair_here: bool, for_device: bool) -> CertificateRequest:
        self.names += 1
        if for_device:
            made = self.office.for_device(self.device, pair_here=pair_here)
        else:
            made = self.office.for_key()
        name = f"name-{self.names}"
        return CertificateRequest(
            name,
            (f"{name}.example",),
            made.until,
            made.public_key,
            made.recipient,
            self.directory / f"{name}-cert.pub",
        )

    @rule(
        count=st.integers(1, 3),
        kill=st.integers(1, 24),
        for_device=st.booleans(),
        pair_here=st.booleans(),
    )
    def issue(self, count: int, kill: int, for_device: bool, pair_here: bool) -> None:
        requests = [self.request(pair_here, for_device) for _ in range(count)]
        known = len(self.office.journal.load_all())
        with suppress(Killed):
            issue_batch(self.office.bench(KillAt(kill)), requests)
        batches = self.office.journal.load_all()[known:]
        subjects = {c.subject for batch in batches for c in batch.certificates}
        # What was not journaled never happened: nobody will come back to it.
        self.wished += [request for request in requests if request.subject in subjects]

    @rule(kill=st.integers(1, 24))
    def resume(self, kill: int) -> None:
        with suppress(Killed):
            resume(self.office.bench(KillAt(kill)))

    @rule(number=st.integers(1, 3))
    def another_writer(self, number: int) -> None:
        self.office.chain.put_by_another(self.office.ca.id, number)

    @rule(count=st.integers(1, 2))
    def the_chain_is_away(self, count: int) -> None:
        def fail() -> None:
            raise TransactionFailed("not mined in time")

        self.office.chain.before_issue = fail
        requests = [self.request(False, False) for _ in range(count)]
        known = len(self.office.journal.load_all())
        with suppress(TransactionFailed):
            issue_batch(self.office.bench(), requests)
        self.office.chain.before_issue = lambda: None
        batches = self.office.journal.load_all()[known:]
        subjects = {c.subject for batch in batches for c in batch.certificates}
        self.wished += [request for request in requests if request.subject in subjects]

    @rule()
    def remember(self) -> None:
        self.before = self.office.chain.remember()

    @precondition(lambda self: self.before is not None)
    @rule()
    def reorganise(self) -> None:
        assert self.before is not None
        self.office.chain.reorganise(self.before)

    @rule(minutes=st.integers(1, 5))
    def time_passes(self, minutes: int) -> None:
        self.office.now += timedelta(minutes=minutes)
        self.office.chain.now = self.office.now

    @invariant()
    def no_serial_is_in_two_living_batches(self) -> None:
        serials = [
            c.serial
            for batch in self.office.journal.load_all()
            if batch.state is not BatchState.VOID
            for c in batch.certificates
        ]
        assert len(set(serials)) == len(serials)

    @invariant()
    def what_is_void_is_not_released_after_it_became_void(self) -> None:
        for batch in self.office.journal.load_all():
            if batch.state is not BatchState.ANCHORED and not batch.reason:
                assert not any(c.is_released for c in batch.certificates)

    def settle(self) -> None:
        self.office.chain.before_issue = lambda: None
        resume(self.office.bench())

    def verify_end(self) -> None:
        batches = self.office.journal.load_all()
        living = [b for b in batches if b.state is BatchState.ANCHORED]
        assert all(b.state in (BatchState.ANCHORED, BatchState.VOID) for b in batches)
        subjects = [c.subject for b in living for c in b.certificates]
        assert sorted(subjects) == sorted(request.subject for request in self.wished)
        for batch in living:
            where = (batch.authority, batch.first_serial)
            snapshot = self.office.chain.snapshot(batches=[where])
            assert place_of(batch, snapshot) is Place.OURS
            for certificate in batch.certificates:
                assert certificate.is_released
                assert certificate.release is not None
                out = parse_ssh_certificate(certificate.release.read_bytes())
                assert out.hash == certificate.certificate.hash
                if certificate.bundle is not None:
                    self.verify_bundle(certificate, certificate.bundle)

    def verify_bundle(self, certificate: JournaledCertificate, sealed: bytes) -> None:
        """Assert that the device can use what it gets, its private key included."""
        context = bundle_context(
            DOMAIN.id, self.office.ca.id, certificate.serial, self.device.address
        )
        bundle = open_bundle(sealed, self.device.keys.sealing, context)
        assert bundle.certificate == certificate.blob
        assert (bundle.key is not None) == certificate.pair_made_here


TestIssuing = Issuing.TestCase
TestIssuing.settings = settings(
    max_examples=60,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
