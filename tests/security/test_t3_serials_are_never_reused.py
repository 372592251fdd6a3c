"""T3: a process that is killed anywhere, and another writer, never make a serial count twice.

Every point between two steps is tried, by an end that nothing can catch (`Killed`), and by SIGKILL
in a process of its own. What is asserted is what matters afterwards, whoever resumes:

- everything that was wished for is anchored and released, each once;
- a file that was handed out holds an anchored certificate, always;
- no certificate of a void batch was ever handed out;
- what is on chain is what the journal says, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.errors import DpkiError
from dpki.issuance.batch import BatchState, JournaledBatch, NewCertificate
from dpki.issuance.place import Place, place_of
from dpki.issuance.plan import CertificateRequest
from dpki.issuance.progress import Step
from dpki.issuance.run import LOST_KEY, TAKEN
from dpki.issuance.workflow import issue_batch, resume
from dpki.model import Address, Hash32
from dpki.verification.policies import Anchoring, judge
from dpki.verification.proof import parse_proof, proof_file
from dpki.verification.verdict import Verdict
from tests.fakes.issuing import KillAt, Killed, Office
from tests.world import Ca

Wishes = Callable[[Office], Sequence[CertificateRequest]]


def for_keys(office: Office) -> list[CertificateRequest]:
    return [office.for_key("alice"), office.for_key("bob")]


def for_device(office: Office) -> list[CertificateRequest]:
    return [office.for_device(office.enroll())]


def with_pair_made_here(office: Office) -> list[CertificateRequest]:
    return [office.for_device(office.enroll(), pair_here=True)]


WISHES: dict[str, Wishes] = {
    "keys": for_keys,
    "device": for_device,
    "pair-made-here": with_pair_made_here,
}


def open_office(directory: Path, wishes: str) -> Office:
    directory.mkdir(exist_ok=True)
    return Office.open(directory, Ca.users() if wishes == "keys" else Ca.hosts())


def points_of(directory: Path, wishes: str) -> int:
    """Return how many points there are between the steps, by running through all of them."""
    office = open_office(directory, wishes)
    count = KillAt(at=0)
    issue_batch(office.bench(count), WISHES[wishes](office))
    return count.calls


def place(office: Office, batch: JournaledBatch) -> Place:
    return place_of(batch, office.chain.snapshot(batches=[(batch.authority, batch.first_serial)]))


def verify_all(office: Office, requests: Sequence[CertificateRequest]) -> None:
    """Assert what must hold when everything has come to its end."""
    batches = office.journal.load_all()
    anchored = [b for b in batches if b.state is BatchState.ANCHORED]
    void = [b for b in batches if b.state is BatchState.VOID]
    assert len(anchored) + len(void) == len(batches)
    assert sum(b.count for b in anchored) == len(requests)
    serials = [c.serial for b in anchored for c in b.certificates]
    assert len(set(serials)) == len(serials)
    assert all(place(office, b) is Place.OURS for b in anchored)
    assert all(c.is_released for b in anchored for c in b.certificates)
    assert not any(c.is_released for b in void for c in b.certificates)
    for request in requests:
        verify_file(office, request)


def verify_file(office: Office, request: CertificateRequest) -> None:
    """Assert that a file, if it is there, holds an anchored certificate."""
    assert request.release is not None
    certificate = parse_ssh_certificate(request.release.read_bytes())
    proof = parse_proof(proof_file(request.release).read_bytes())
    batch = (proof.authority, proof.path.first_serial)
    devices = [] if request.recipient is None else [request.recipient.address]
    found = office.chain.snapshot(devices=devices, batches=[batch])
    device = Address.zero() if request.recipient is None else request.recipient.address
    finding = judge(certificate, Anchoring(device, proof.path), found, office.now)
    assert finding.verdict is Verdict.VALID


def nothing_unanchored_is_out(office: Office, requests: Sequence[CertificateRequest]) -> None:
    for request in requests:
        if request.release is not None and request.release.exists():
            verify_file(office, request)


@pytest.mark.parametrize("wishes", WISHES)
class TestKilledBetweenAllSteps:
    def test_resume_brings_the_very_same_to_its_end(self, tmp_path: Path, wishes: str) -> None:
        for at in range(1, points_of(tmp_path / "whole", wishes) + 1):
            office = open_office(tmp_path / str(at), wishes)
            requests = WISHES[wishes](office)
            kill = KillAt(at)
            with pytest.raises(Killed):
                issue_batch(office.bench(kill), requests)
            nothing_unanchored_is_out(office, requests)
            left = office.journal.load_all()
            resume(office.bench())
            if not left:  # killed before the signed batch was journaled: nothing ever happened
                assert kill.where.startswith(Step.SIGN.value)
                assert office.journal.load_all() == ()
                assert office.chain.cas[office.ca.id].next_serial == 1
                issue_batch(office.bench(), requests)
            elif not (wishes == "pair-made-here" and left[0].state is BatchState.ISSUED):
                (batch,) = office.journal.load_all()
                assert [c.blob for c in batch.certificates] == [
                    c.blob for c in left[0].certificates
                ]
                if left[0].state is not BatchState.ISSUED:
                    assert batch.entries == left[0].entries
            verify_all(office, requests)
            # And once more: there is nothing left, and nothing happens.
            sent = office.chain.sent
            resume(office.bench())
            assert office.chain.sent == sent

    def test_killed_again_at_every_step_of_resuming(self, tmp_path: Path, wishes: str) -> None:
        office = open_office(tmp_path / "office", wishes)
        requests = WISHES[wishes](office)
        with pytest.raises(Killed):
            issue_batch(office.bench(KillAt(4)), requests)
        for at in range(1, 20):
            try:
                resume(office.bench(KillAt(at)))
            except Killed:
                nothing_unanchored_is_out(office, requests)
            else:
                break
        verify_all(office, requests)

    def test_another_writer_took_the_serials_meanwhile(self, tmp_path: Path, wishes: str) -> None:
        for at in range(1, points_of(tmp_path / "whole", wishes) + 1):
            office = open_office(tmp_path / str(at), wishes)
            requests = WISHES[wishes](office)
            with pytest.raises(Killed):
                issue_batch(office.bench(KillAt(at)), requests)
            left = office.journal.load_all()
            was_on_chain = [b for b in left if b.state.value != "issued" and ours(office, b)]
            office.chain.put_by_another(office.ca.id, 3)
            resume(office.bench())
            if not left:
                issue_batch(office.bench(), requests)
            elif not was_on_chain:
                void = office.journal.load(left[0].number)
                assert void.state is BatchState.VOID
                assert void.reason in (TAKEN, LOST_KEY)
                hashes = {c.certificate.hash for c in void.certificates}
                for request in requests:
                    assert request.release is not None
                    out = parse_ssh_certificate(request.release.read_bytes())
                    assert out.hash not in hashes
                    assert out.serial > 3
            verify_all(office, requests)


def ours(office: Office, batch: JournaledBatch) -> bool:
    return place(office, batch) is Place.OURS


class TestTheTransactionWentThroughAndNobodyHeard:
    """Between the chain's doing and the writer's hearing: the worst moment of all."""

    def test_it_is_found_and_not_sent_twice(self, tmp_path: Path) -> None:
        office = open_office(tmp_path, "keys")
        requests = for_keys(office)

        def die() -> None:
            raise Killed

        office.chain.after_issue = die
        with pytest.raises(Killed):
            issue_batch(office.bench(), requests)
        assert office.chain.cas[office.ca.id].next_serial == 3
        office.chain.after_issue = lambda: None
        resume(office.bench())
        assert office.chain.cas[office.ca.id].next_serial == 3
        verify_all(office, requests)

    def test_it_comes_through_while_we_send_it_again(self, tmp_path: Path) -> None:
        office = open_office(tmp_path, "keys")
        requests = for_keys(office)
        with pytest.raises(Killed):
            issue_batch(office.bench(KillAt(9)), requests)
        (batch,) = office.journal.load_all()
        assert batch.state is BatchState.PUBLISHED

        def come_through() -> None:
            office.chain.before_issue = lambda: None
            office.chain.put(office.ca.id, batch.first_serial, batch.entries)

        office.chain.before_issue = come_through
        resume(office.bench())
        (after,) = office.journal.load_all()
        assert after.state is BatchState.ANCHORED
        verify_all(office, requests)


class TestSigkill:
    """The same with a process that really dies, and a journal that really is on disk."""

    @pytest.mark.parametrize("wishes", WISHES)
    def test_at_every_point(self, tmp_path: Path, wishes: str) -> None:
        for at in range(1, points_of(tmp_path / "whole", wishes) + 1):
            directory = tmp_path / str(at)
            office = open_office(directory, wishes)
            requests = WISHES[wishes](office)
            status = in_a_process_that_dies(office, requests, at)
            assert os.WIFSIGNALED(status)
            assert os.WTERMSIG(status) == signal.SIGKILL
            recall_chain(office)
            nothing_unanchored_is_out(office, requests)
            resume(office.bench())
            if not office.journal.load_all():
                issue_batch(office.bench(), requests)
            verify_all(office, requests)


def in_a_process_that_dies(office: Office, requests: Sequence[CertificateRequest], at: int) -> int:
    """Issue in a child that kills itself at the n-th point; return its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        # SQLite forbids carrying a connection over a fork: the child opens its own.
        mine = Office.open(office.directory, office.ca)
        mine.devices, mine.issuer_key = office.devices, office.issuer_key
        mine.chain.devices = office.chain.devices
        mine.chain.after_issue = lambda: keep_chain(mine)
        calls = 0

        def progress(step: Step, done: int, total: int) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)

        issue_batch(mine.bench(progress), requests)
    finally:
        os._exit(1)


def keep_chain(office: Office) -> None:
    """Write down what the chain knows: it does not die with the issuer."""
    ca = office.chain.cas[office.ca.id]
    state = {
        "next": ca.next_serial,
        "commitments": {str(first): str(found) for first, found in ca.commitments.items()},
    }
    (office.directory / "chain.json").write_text(json.dumps(state))


def recall_chain(office: Office) -> None:
    file = office.directory / "chain.json"
    if file.exists():
        state = json.loads(file.read_text())
        ca = office.chain.cas[office.ca.id]
        ca.next_serial = state["next"]
        ca.commitments = {
            int(first): Hash32.parse(found) for first, found in state["commitments"].items()
        }


class TestTheDatabaseItselfForbids:
    """Even a bug in the program can't do these: triggers stand in the way."""

    @pytest.fixture
    def office(self, tmp_path: Path) -> Office:
        return open_office(tmp_path, "keys")

    def add(self, office: Office, serial: int) -> JournaledBatch:
        certificate = office.ca.sign(serial)
        new = NewCertificate(certificate, "alice", Address.zero(), False, None)
        return office.journal.add(office.ca.id, [new])

    def test_a_serial_in_two_batches(self, office: Office) -> None:
        self.add(office, 1)
        with pytest.raises(DpkiError, match="is in another one"):
            self.add(office, 1)
        assert len(office.journal.load_all()) == 1

    def test_a_void_batch_that_comes_back(self, office: Office) -> None:
        batch = office.journal.mark_void(self.add(office, 1), TAKEN)
        for state in ("issued", "sealed", "published", "anchored"):
            with pytest.raises(DpkiError, match="stays void"):
                office.database.change(
                    "UPDATE batches SET state = ? WHERE number = ?", state, batch.number
                )
        with pytest.raises(DpkiError, match="can't become anchored"):
            office.journal.mark_anchored(batch, None, None)

    def test_releasing_what_is_not_anchored(self, office: Office) -> None:
        batch = self.add(office, 1)
        with pytest.raises(DpkiError, match="only anchored"):
            office.journal.mark_released(batch, 1)
        void = office.journal.mark_void(batch, TAKEN)
        with pytest.raises(DpkiError, match="only anchored"):
            office.journal.mark_released(void, 1)

    def test_forgetting(self, office: Office) -> None:
        self.add(office, 1)
        for table in ("certificates", "batches"):
            with pytest.raises(DpkiError, match="forgets nothing"):
                office.database.change(f"DELETE FROM {table}")
