from datetime import timedelta
from pathlib import Path

import pytest

from dpki.issuance.batch import NewCertificate
from dpki.issuance.run import LOST_KEY
from dpki.issuance.standing import Standing, awaited_by, foreign_serials, standings_of
from dpki.issuance.workflow import issue_batch
from dpki.model import Address
from tests.fakes.issuing import Office
from tests.world import NOW, snapshot


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office.open(tmp_path)
    issue_batch(office.bench(), [office.for_key("alice"), office.for_key("bob")])
    return office


def standings(
    office: Office, later: timedelta = timedelta(), *, watermark: bool = True
) -> list[Standing]:
    batches = office.journal.load_all()
    found = office.chain.snapshot(batches=[(b.authority, b.first_serial) for b in batches])
    return [s for b in batches for _, s in standings_of(b, found, NOW + later, watermark=watermark)]


def test_anchored(office: Office) -> None:
    assert standings(office) == [Standing.ANCHORED, Standing.ANCHORED]


def test_revoked_is_said_of_one_serial_and_outlasts_expiry(office: Office) -> None:
    office.ca.revoked = {2}
    assert standings(office) == [Standing.ANCHORED, Standing.REVOKED]
    assert standings(office, timedelta(hours=8)) == [Standing.EXPIRED, Standing.REVOKED]


def test_the_watermark_judges_the_ca_and_a_single_revocation_the_holder(office: Office) -> None:
    office.ca.revoked, office.ca.revoked_below = {1}, 3
    assert standings(office) == [Standing.REVOKED, Standing.REVOKED]
    assert standings(office, watermark=False) == [Standing.REVOKED, Standing.ANCHORED]


def test_expired_at_the_very_second(office: Office) -> None:
    almost = timedelta(hours=8) - timedelta(seconds=1)
    assert standings(office, almost) == [Standing.ANCHORED, Standing.ANCHORED]
    assert standings(office, timedelta(hours=8)) == [Standing.EXPIRED, Standing.EXPIRED]


def test_missing_on_chain_is_never_called_revoked(office: Office) -> None:
    """Another's certificate may have the serial by now, and be revoked."""
    office.ca.commitments.clear()
    office.ca.revoked = {1}
    assert standings(office) == [Standing.MISSING, Standing.MISSING]


def test_void_and_unfinished(office: Office) -> None:
    new = [NewCertificate(office.ca.sign(3), "carol", Address.zero(), False, None)]
    third = office.journal.add(office.ca.id, new)
    assert standings(office)[2:] == [Standing.UNFINISHED]
    office.journal.mark_void(third, LOST_KEY)
    assert standings(office)[2:] == [Standing.VOID]
    assert {s for s in Standing if s.is_live} == {
        Standing.UNFINISHED,
        Standing.ANCHORED,
        Standing.AWAITING,
        Standing.MISSING,
    }


def test_awaiting_watchdogs_until_enough_confirmed(office: Office) -> None:
    office.ca.watched()
    assert standings(office) == [Standing.ANCHORED, Standing.ANCHORED]  # from before
    issue_batch(office.bench(), [office.for_key("carol"), office.for_key("dave")])
    assert standings(office)[2:] == [Standing.AWAITING, Standing.AWAITING]
    office.ca.revoked = {3}
    assert standings(office)[2:] == [Standing.REVOKED, Standing.AWAITING]
    assert standings(office, timedelta(hours=8))[3:] == [Standing.EXPIRED]
    office.ca.confirm(3, 20)
    (_, waiting), found = office.journal.load_all(), office.chain.snapshot()
    assert awaited_by(waiting, found) == "awaiting watchdogs: 20 of 40"
    office.ca.confirm(3, 40)
    assert standings(office)[2:] == [Standing.REVOKED, Standing.ANCHORED]


class TestForeignSerials:
    def test_none(self, office: Office) -> None:
        assert self.found(office) == []

    def test_after_between_and_before(self, office: Office) -> None:
        office.chain.put_by_another(office.ca.id, 2)
        assert self.found(office) == [range(3, 5)]
        issue_batch(office.bench(), [office.for_key("dave")])
        office.chain.put_by_another(office.ca.id)
        assert self.found(office) == [range(3, 5), range(6, 7)]

    def test_all(self, tmp_path: Path) -> None:
        office = Office.open(tmp_path / "other")
        office.chain.put_by_another(office.ca.id, 7)
        assert self.found(office) == [range(1, 8)]

    def test_a_journal_ahead_of_the_chain(self, office: Office) -> None:
        office.ca.next_serial = 1
        assert self.found(office) == []

    def found(self, office: Office) -> list[range]:
        authority = snapshot(office.ca).authorities[office.ca.id]
        return foreign_serials(authority, office.journal.load_all(office.ca.id))
