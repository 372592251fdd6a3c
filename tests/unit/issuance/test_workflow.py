from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.cid import digest_of
from dpki.bundle.content import bundle_context, open_bundle
from dpki.bundle.locator import digest_from_locator
from dpki.certificates.keys import ssh_blob
from dpki.certificates.ssh import parse_ssh_certificate
from dpki.errors import (
    CheckedFalse,
    DpkiError,
    NotAllowed,
    NotForThisDevice,
    PinIncorrect,
    StoreFailed,
    TransactionFailed,
    TransactionReverted,
    UsageError,
)
from dpki.issuance.batch import BatchState
from dpki.issuance.publishing import Publisher
from dpki.issuance.run import LOST_KEY, REORGANISED, STRANDED, TAKEN
from dpki.issuance.workflow import issue_batch, rehearse_batch, resume
from dpki.model import Address, AuthorityState, DeviceState, Hash32
from dpki.verification.policies import Anchoring, judge
from dpki.verification.proof import parse_proof, proof_file
from dpki.verification.verdict import Verdict
from tests.fakes.issuing import FakeDevice, FakeDomain, KillAt, Killed, Office
from tests.world import DOMAIN, Ca


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office.open(tmp_path)


@pytest.fixture
def users(tmp_path: Path) -> Office:
    return Office.open(tmp_path, Ca.users())


def verdict_on(office: Office, file: Path) -> Verdict:
    certificate = parse_ssh_certificate(file.read_bytes())
    proof = parse_proof(proof_file(file).read_bytes())
    batch = (proof.authority, proof.path.first_serial)
    found = office.chain.snapshot(batches=[batch])
    return judge(certificate, Anchoring(Address.zero(), proof.path), found, office.now).verdict


class TestForAKey:
    def test_the_certificate_is_released_anchored_and_proven(self, users: Office) -> None:
        request = users.for_key()
        outcome = issue_batch(users.bench(), [request])
        (issued,) = outcome.issued
        assert issued.file == request.release
        assert issued.batch.state is BatchState.ANCHORED
        assert (outcome.finished, outcome.void, outcome.dropped) == ((), (), ())
        assert verdict_on(users, issued.file) is Verdict.VALID
        certificate = parse_ssh_certificate(issued.file.read_bytes())
        assert certificate.serial == 1
        assert certificate.principals == ("ops",)
        assert certificate.subject_key == request.public_key
        assert [name for name, _ in certificate.extensions] == ["permit-pty"]
        assert certificate.key_id.startswith(f"{DOMAIN.id.address}/{users.ca.id.hex()[:16]}/1/")

    def test_files_are_for_everybody_to_read(self, users: Office) -> None:
        file = issue_batch(users.bench(), [users.for_key()]).issued[0].file
        assert file is not None
        assert file.stat().st_mode & 0o777 == 0o644
        assert proof_file(file).stat().st_mode & 0o777 == 0o644

    def test_a_whole_batch_has_consecutive_serials_and_a_path_each(self, users: Office) -> None:
        requests = [users.for_key(f"user-{i}") for i in range(7)]
        outcome = issue_batch(users.bench(), requests)
        assert [r.serial for r in outcome.issued] == [1, 2, 3, 4, 5, 6, 7]
        assert users.chain.sent == 1
        for released in outcome.issued:
            assert released.file is not None
            assert verdict_on(users, released.file) is Verdict.VALID

    def test_serials_go_on(self, users: Office) -> None:
        for serial in (1, 2, 3):
            outcome = issue_batch(users.bench(), [users.for_key(f"user-{serial}")])
            assert outcome.issued[0].serial == serial


class TestForADevice:
    @pytest.mark.parametrize("pair_here", [False, True])
    def test_the_device_finds_and_opens_its_bundle(self, office: Office, pair_here: bool) -> None:
        device = office.enroll()
        outcome = issue_batch(office.bench(), [office.for_device(device, pair_here=pair_here)])
        batch = outcome.issued[0].batch
        (entry,) = batch.entries
        assert entry.device == device.address
        digest = digest_from_locator(
            device.keys.sealing,
            office.issuer_key.public,
            office.ca.id,
            device.address,
            entry.certificate_hash,
            entry.locator,
        )
        sealed = office.store.fetch(digest, timedelta(seconds=1))
        assert digest_of(sealed) == digest
        context = bundle_context(DOMAIN.id, office.ca.id, 1, device.address)
        bundle = open_bundle(sealed, device.keys.sealing, context)
        assert parse_ssh_certificate(bundle.certificate).hash == entry.certificate_hash
        assert (bundle.key is not None) == pair_here
        if not pair_here:
            blob = ssh_blob(device.keys.ssh_host[-1].public_key())
            assert parse_ssh_certificate(bundle.certificate).subject_key == blob

    def test_no_private_key_is_left_on_this_side(self, office: Office) -> None:
        device = office.enroll()
        issue_batch(office.bench(), [office.for_device(device, pair_here=True)])
        for path in office.directory.rglob("*"):
            if path.is_file():
                assert b"OPENSSH PRIVATE KEY" not in path.read_bytes()


class TestForAPrekey:
    def opened(self, office: Office, device: FakeDevice, serial: int, key: bytes | None) -> bytes:
        """Return the certificate in a bundle, opened with a one-time key or the lasting ones."""
        entry = next(
            c.entry
            for batch in office.journal.load_all()
            for c in batch.certificates
            if c.serial == serial and batch.state is BatchState.ANCHORED
        )
        assert entry is not None
        secrets = device.keys.sealing
        place = (office.issuer_key.public, office.ca.id, device.address)
        digest = digest_from_locator(secrets, *place, entry.certificate_hash, entry.locator)
        sealed = office.store.fetch(digest, timedelta(seconds=1))
        context = bundle_context(DOMAIN.id, office.ca.id, serial, device.address)
        return open_bundle(sealed, secrets, context, key).certificate

    def test_only_that_key_opens_the_bundle(self, office: Office) -> None:
        device = office.enroll(prekeys=2)
        issue_batch(office.bench(), [office.for_prekey(device)])
        first, second = device.keys.prekeys
        certificate = parse_ssh_certificate(self.opened(office, device, 1, first.x25519))
        assert certificate.subject_key == ssh_blob(first.ssh.public_key())
        for other in (None, second.x25519):
            with pytest.raises(NotForThisDevice):
                self.opened(office, device, 1, other)

    def test_nothing_is_signed_for_it_twice(self, office: Office) -> None:
        device = office.enroll(prekeys=2)
        issue_batch(office.bench(), [office.for_prekey(device)])
        before = office.journal.load_all()
        for requests in (
            [office.for_prekey(device)],
            [office.for_prekey(device, 1), office.for_prekey(device, 1)],
        ):
            with pytest.raises(DpkiError, match="one-time key is used already"):
                issue_batch(office.bench(), requests)
        assert office.journal.load_all() == before
        assert office.chain.sent == 1
        issue_batch(office.bench(), [office.for_prekey(device, 1)])

    @pytest.mark.parametrize("point", range(1, 11))
    def test_killed_and_resumed_it_is_the_same_key(self, office: Office, point: int) -> None:
        device = office.enroll(prekeys=2)
        with pytest.raises(Killed):
            issue_batch(office.bench(KillAt(point)), [office.for_prekey(device)])
        resume(office.bench())
        journaled = [c for batch in office.journal.load_all() for c in batch.certificates]
        if not journaled:
            # Nothing was signed yet.
            return
        assert {c.prekey for c in journaled} == {device.document.prekeys[0]}
        serial = journaled[-1].serial
        blob = self.opened(office, device, serial, device.keys.prekeys[0].x25519)
        assert blob == journaled[-1].blob

    def test_where_another_took_the_serial_the_successor_has_it(self, office: Office) -> None:
        device = office.enroll(prekeys=1)

        def overtake() -> None:
            office.chain.before_issue = lambda: None
            office.chain.put_by_another(office.ca.id)

        office.chain.before_issue = overtake
        outcome = issue_batch(office.bench(), [office.for_prekey(device)])
        assert [batch.first_serial for batch in outcome.void] == [1]
        assert outcome.issued[0].serial == 2
        assert self.opened(office, device, 2, device.keys.prekeys[0].x25519)


class TestRefusals:
    """Nothing is signed, journaled, published or sent when something can be refused before."""

    def untouched(self, office: Office) -> None:
        assert office.journal.load_all() == ()
        assert office.chain.sent == 0
        assert not (office.directory / "store").exists()
        assert list(office.directory.glob("*-cert.pub")) == []

    def test_no_request(self, users: Office) -> None:
        with pytest.raises(UsageError, match="1 to 1000"):
            issue_batch(users.bench(), [])
        self.untouched(users)

    def test_too_many(self, users: Office) -> None:
        request = users.for_key()
        with pytest.raises(UsageError, match="not 1001"):
            issue_batch(users.bench(), [request] * 1001)
        self.untouched(users)

    @pytest.mark.parametrize("principals", [(), ("",), ("a,b",), ("*",), ("a b",), ("a", "a")])
    def test_bad_principals(self, users: Office, principals: tuple[str, ...]) -> None:
        with pytest.raises(UsageError):
            issue_batch(users.bench(), [users.for_key(principals=principals)])
        self.untouched(users)

    @pytest.mark.parametrize(
        "state", [AuthorityState.CLOSED, AuthorityState.SUSPENDED, AuthorityState.RETIRED]
    )
    def test_a_ca_that_may_not_issue(self, users: Office, state: AuthorityState) -> None:
        users.ca.state = state
        with pytest.raises(UsageError, match="can't issue"):
            issue_batch(users.bench(), [users.for_key()])
        self.untouched(users)

    def test_another_account_than_the_operator(self, users: Office) -> None:
        users.chain.account = Address(b"\x66" * 20)
        with pytest.raises(NotAllowed, match="is not the CA's operator"):
            issue_batch(users.bench(), [users.for_key()])
        self.untouched(users)

    def test_a_validity_that_is_over(self, users: Office) -> None:
        with pytest.raises(UsageError, match="already have expired"):
            issue_batch(users.bench(), [users.for_key(until=users.now)])
        self.untouched(users)

    def test_an_unknown_and_a_retired_device(self, office: Office) -> None:
        device = office.enroll()
        request = office.for_device(device)
        for state, word in (
            (DeviceState.UNREGISTERED, "not enrolled"),
            (DeviceState.RETIRED, "retired"),
        ):
            office.chain.devices[device.address] = device.record(state)
            with pytest.raises(CheckedFalse, match=word):
                issue_batch(office.bench(), [request])
        self.untouched(office)

    def test_a_store_that_is_down(self, office: Office) -> None:
        class Down:
            name = "down"
            confirms_itself = True

            def has(self, digest: Hash32) -> bool:
                raise StoreFailed("nobody answers there")

        store = Down()
        publisher = Publisher([store], [store], 1)  # type: ignore[list-item]
        request = office.for_device(office.enroll())
        with pytest.raises(StoreFailed, match="nobody answers there"):
            issue_batch(office.bench(publisher=publisher), [request])
        self.untouched(office)

    def test_a_wrong_pin(self, users: Office) -> None:
        def refuse() -> None:
            raise PinIncorrect("the token refused the PIN")

        with pytest.raises(PinIncorrect):
            issue_batch(replace(users.bench(), open_signer=refuse), [users.for_key()])  # type: ignore[arg-type]
        self.untouched(users)

    def test_another_key_than_the_registered(self, users: Office) -> None:
        other = Office.open(users.directory / "other", Ca.users())
        with pytest.raises(UsageError, match="is not the one that is registered"):
            issue_batch(replace(users.bench(), open_signer=other.open_signer), [users.for_key()])
        self.untouched(users)

    def test_a_rehearsal_changes_nothing_and_tells_all(self, users: Office) -> None:
        plan = rehearse_batch(users.bench(), [users.for_key("a"), users.for_key("b")])
        assert [planned.serial for planned in plan.certificates] == [1, 2]
        self.untouched(users)


class TestTroubleOnTheWay:
    def test_a_transaction_that_fails_is_taken_up_again_as_it_was(self, users: Office) -> None:
        def fail() -> None:
            raise TransactionFailed("not mined in time")

        users.chain.before_issue = fail
        request = users.for_key()
        with pytest.raises(TransactionFailed):
            issue_batch(users.bench(), [request])
        assert request.release is not None
        assert not request.release.exists()
        (batch,) = users.journal.load_all()
        assert batch.state is BatchState.PUBLISHED
        users.chain.before_issue = lambda: None
        outcome = resume(users.bench())
        (finished,) = outcome.finished
        assert finished.batch.certificates[0].blob == batch.certificates[0].blob
        assert verdict_on(users, request.release) is Verdict.VALID

    def test_resuming_needs_no_token(self, users: Office) -> None:
        with pytest.raises(Killed):
            issue_batch(users.bench(KillAt(5)), [users.for_key()])
        before = users.openings
        assert len(resume(users.bench()).finished) == 1
        assert users.openings == before

    def test_another_refusal_of_the_contract_is_told_as_it_is(self, users: Office) -> None:
        def close() -> None:
            users.ca.state = AuthorityState.CLOSED

        users.chain.before_issue = close
        with pytest.raises(TransactionReverted) as caught:
            issue_batch(users.bench(), [users.for_key()])
        assert caught.value.name == "CertificateRegistryNotActive"

    def test_the_next_issue_finishes_what_was_left_first(self, users: Office) -> None:
        with pytest.raises(Killed):
            issue_batch(users.bench(KillAt(6)), [users.for_key("first")])
        outcome = issue_batch(users.bench(), [users.for_key("second")])
        assert [r.serial for r in outcome.finished] == [1]
        assert [r.serial for r in outcome.issued] == [2]

    def test_nothing_to_resume(self, users: Office) -> None:
        outcome = resume(users.bench())
        assert (outcome.issued, outcome.finished, outcome.void, outcome.dropped) == ((), (), (), ())


class TestAnotherWriter:
    def test_who_is_quicker_makes_our_batch_void_and_new_ones_are_signed(
        self, users: Office
    ) -> None:
        def interfere() -> None:
            users.chain.before_issue = lambda: None
            users.chain.put_by_another(users.ca.id, 2)

        users.chain.before_issue = interfere
        request = users.for_key()
        outcome = issue_batch(users.bench(), [request])
        (void,) = outcome.void
        assert (void.first_serial, void.state, void.reason) == (1, BatchState.VOID, TAKEN)
        (issued,) = outcome.issued
        assert issued.serial == 3
        assert users.journal.load(void.number).successor == issued.batch.number
        assert request.release is not None
        assert verdict_on(users, request.release) is Verdict.VALID

    def test_one_who_is_always_quicker_ends_it(self, users: Office) -> None:
        users.chain.before_issue = lambda: users.chain.put_by_another(users.ca.id)
        with pytest.raises(Exception, match="5 times in a row"):
            issue_batch(users.bench(), [users.for_key()])
        assert all(b.state is BatchState.VOID for b in users.journal.load_all())
        users.chain.before_issue = lambda: None
        assert len(resume(users.bench()).finished) == 1

    def test_what_has_expired_meanwhile_is_not_signed_again(self, users: Office) -> None:
        with pytest.raises(Killed):
            issue_batch(users.bench(KillAt(5)), [users.for_key()])
        users.chain.put_by_another(users.ca.id)
        users.now += timedelta(days=1)
        outcome = resume(users.bench())
        assert outcome.finished == ()
        assert "would have expired" in outcome.dropped[0]
        assert resume(users.bench()).dropped == ()

    def test_signing_again_does_not_extend_what_was_granted(self, users: Office) -> None:
        with pytest.raises(Killed):
            issue_batch(users.bench(KillAt(5)), [users.for_key()])
        granted = users.journal.load_all()[0].certificates[0].certificate.valid_before
        users.chain.put_by_another(users.ca.id)
        users.now += timedelta(hours=2)
        users.chain.now = users.now
        (finished,) = resume(users.bench()).finished
        assert finished.batch.certificates[0].certificate.valid_before == granted

    def test_a_device_that_was_retired_meanwhile_does_not_block_others(
        self, office: Office
    ) -> None:
        device = office.enroll()
        with pytest.raises(Killed):
            issue_batch(office.bench(KillAt(3)), [office.for_device(device)])
        office.chain.devices[device.address] = device.record(DeviceState.RETIRED)
        outcome = resume(office.bench())
        assert "retired" in outcome.dropped[0]
        other = office.enroll("gate-2")
        assert issue_batch(office.bench(), [office.for_device(other)]).issued[0].serial == 1


class TestLostKeys:
    def test_a_pair_that_only_the_dead_process_had_is_made_anew(self, office: Office) -> None:
        device = office.enroll()
        kill = KillAt(3)  # after signing, before sealing
        with pytest.raises(Killed):
            issue_batch(office.bench(kill), [office.for_device(device, pair_here=True)])
        assert kill.where == "sealing 0/1"
        lost = office.journal.load_all()[0].certificates[0].certificate
        outcome = resume(office.bench())
        assert [batch.reason for batch in outcome.void] == [LOST_KEY]
        (finished,) = outcome.finished
        new = finished.batch.certificates[0].certificate
        assert new.serial == lost.serial == 1
        assert new.subject_key != lost.subject_key


class TestReorganisation:
    def test_what_fell_off_the_chain_is_anchored_again_as_it_was(self, users: Office) -> None:
        issue_batch(users.bench(), [users.for_key("a")])
        state = users.chain.remember()
        issue_batch(users.bench(), [users.for_key("b")])
        issue_batch(users.bench(), [users.for_key("c")])
        users.chain.reorganise(state)
        assert users.chain.cas[users.ca.id].next_serial == 2
        outcome = resume(users.bench())
        assert (outcome.finished, outcome.void) == ((), ())
        batches = users.journal.load_all()
        assert [b.state for b in batches] == [BatchState.ANCHORED] * 3
        assert users.chain.cas[users.ca.id].next_serial == 4
        for name in "abc":
            assert verdict_on(users, users.directory / f"{name}-cert.pub") is Verdict.VALID

    def test_what_another_took_in_the_new_chain_becomes_void(self, users: Office) -> None:
        state = users.chain.remember()
        issue_batch(users.bench(), [users.for_key("a")])
        issue_batch(users.bench(), [users.for_key("b")])
        users.chain.reorganise(state)
        users.chain.put_by_another(users.ca.id)
        outcome = resume(users.bench())
        assert [(b.first_serial, b.reason) for b in outcome.void] == [(1, TAKEN)]
        for name in "ab":
            assert verdict_on(users, users.directory / f"{name}-cert.pub") is Verdict.VALID

    def test_what_can_not_follow_any_more_becomes_void(self, users: Office) -> None:
        state = users.chain.remember()
        issue_batch(users.bench(), [users.for_key("a"), users.for_key("a2")])
        issue_batch(users.bench(), [users.for_key("b")])
        users.chain.reorganise(state)
        users.chain.put_by_another(users.ca.id)
        outcome = resume(users.bench())
        assert [(b.first_serial, b.reason) for b in outcome.void] == [(1, TAKEN), (3, STRANDED)]
        for name in ("a", "a2", "b"):
            assert verdict_on(users, users.directory / f"{name}-cert.pub") is Verdict.VALID

    def test_the_journal_says_why(self, users: Office) -> None:
        state = users.chain.remember()
        issue_batch(users.bench(), [users.for_key("a")])
        users.chain.reorganise(state)

        def fail() -> None:
            raise TransactionFailed("no")

        users.chain.before_issue = fail
        with pytest.raises(TransactionFailed):
            resume(users.bench())
        (batch,) = users.journal.load_all()
        assert (batch.state, batch.reason) == (BatchState.PUBLISHED, REORGANISED)


def test_two_cas_in_one_journal_do_not_mix(tmp_path: Path) -> None:
    first, second = Office.open(tmp_path, Ca.users()), None
    chain = FakeDomain.of(first.ca, other := Ca.hosts())
    first.chain = chain
    second = Office(tmp_path, other, chain, first.database)
    assert issue_batch(first.bench(), [first.for_key("a")]).issued[0].serial == 1
    request = second.for_key("h", principals=("host.example",))
    assert issue_batch(second.bench(), [request]).issued[0].serial == 1
    assert len(first.journal.load_all(first.ca.id)) == 1
