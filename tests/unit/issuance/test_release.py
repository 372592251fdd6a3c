from pathlib import Path

import pytest

from dpki.errors import DpkiError
from dpki.issuance.batch import BatchState
from dpki.issuance.release import release
from dpki.issuance.workflow import issue_batch
from dpki.verification.proof import proof_file
from tests.fakes.issuing import KillAt, Killed, Office
from tests.world import DOMAIN, Ca


@pytest.mark.parametrize(
    ("name", "proof"),
    [("a-cert.pub", "a-cert.proof"), ("a", "a.proof"), ("a.pub.pub", "a.pub.proof")],
)
def test_the_proof_lies_beside(name: str, proof: str) -> None:
    assert proof_file(Path("/x") / name) == Path("/x") / proof


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    office = Office.open(tmp_path, Ca.users())
    (issued,) = issue_batch(office.bench(), [office.for_key()]).issued
    assert issued.file is not None
    before = issued.file.read_bytes(), proof_file(issued.file).read_bytes()
    assert release(issued.batch, DOMAIN, 1) == issued.file
    assert (issued.file.read_bytes(), proof_file(issued.file).read_bytes()) == before


def test_nothing_goes_out_before_it_is_anchored(tmp_path: Path) -> None:
    office = Office.open(tmp_path, Ca.users())
    with pytest.raises(Killed):
        issue_batch(office.bench(KillAt(6)), [office.for_key()])
    (batch,) = office.journal.load_all()
    assert batch.state is BatchState.PUBLISHED
    with pytest.raises(DpkiError, match="only anchored ones go out"):
        release(batch, DOMAIN, 1)
    assert list(tmp_path.glob("*.pub")) == []


def test_no_file_wanted(tmp_path: Path) -> None:
    office = Office.open(tmp_path, Ca.users())
    (issued,) = issue_batch(office.bench(), [office.for_key(release=None)]).issued
    assert issued.file is None
    assert office.journal.load_unreleased(office.ca.id) == ()
