"""What a change of a CA's state does, in words and numbers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dpki.certificates.ssh import SshCertificate
from dpki.errors import CheckedFalse, UsageError
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate
from dpki.issuance.lifecycle import (
    Census,
    Change,
    count_below,
    describe_change,
    take_census,
    verify_can_close,
    verify_unsucceeded,
)
from dpki.model import AuthorityState
from tests.world import NOBODY, NOW, Ca, block, snapshot


def batch(ca: Ca, *certificates: SshCertificate, state: BatchState) -> JournaledBatch:
    journaled = tuple(
        JournaledCertificate(c.serial, "alice", NOBODY, c.blob, False, None, None, None, True)
        for c in certificates
    )
    first = certificates[0].serial
    return JournaledBatch(1, ca.id, first, state, "", None, None, None, journaled)


def anchored(ca: Ca, hours: int, state: BatchState = BatchState.ANCHORED) -> JournaledBatch:
    certificate, _ = ca.issue(valid_before=NOW + timedelta(hours=hours))
    return batch(ca, certificate, state=state)


class TestCensus:
    def test_what_lives_the_first_to_expire_first(self) -> None:
        ca = Ca.users()
        batches = [anchored(ca, 3), anchored(ca, 1), anchored(ca, 2)]
        census = take_census(ca.on_chain(), batches, NOW)
        assert [one.serial for one in census.live] == [2, 3, 1]
        assert (census.elsewhere, str(census)) == (0, "3 live certificates")

    def test_what_does_not(self) -> None:
        ca = Ca.users()
        revoked, below, expires = anchored(ca, 5), anchored(ca, 5), anchored(ca, 1)
        ca.revoked_below, ca.revoked = 2, {2}
        census = take_census(ca.on_chain(), [revoked, below, expires], NOW + timedelta(hours=1))
        assert census.live == ()

    @pytest.mark.parametrize("state", [s for s in BatchState if s is not BatchState.ANCHORED])
    def test_what_is_not_anchored_does_not_count(self, state: BatchState) -> None:
        ca = Ca.users()
        census = take_census(ca.on_chain(), [batch(ca, ca.sign(), state=state)], NOW)
        assert census == Census((), 0)

    def test_what_others_issued_is_said_not_guessed(self) -> None:
        ca = Ca.users()
        mine = anchored(ca, 1)
        ca.issue()
        ca.issue()
        census = take_census(ca.on_chain(), [mine], NOW)
        assert (len(census.live), census.elsewhere) == (1, 2)
        assert str(census).startswith("1 live certificate (and whatever lives of 2")


class TestEffects:
    def words(self, change: Change, ca: Ca, *others: Ca, batches: int = 2) -> str:
        made = [anchored(ca, hours + 1) for hours in range(batches)]
        authority = ca.on_chain()
        census = take_census(authority, made, NOW)
        return "; ".join(describe_change(change, snapshot(ca, *others), authority, census))

    def test_closing(self) -> None:
        words = self.words(Change.CLOSE, Ca.users())
        assert "issue no more, for ever" in words
        assert "2 live certificates keep counting, the last until 2026-11-20 14:00 UTC" in words
        assert "0 live certificates keep counting;" in self.words(
            Change.CLOSE, Ca.users(), batches=0
        )

    def test_suspending_and_retiring(self) -> None:
        assert "2 live certificates stop counting until" in self.words(Change.SUSPEND, Ca.users())
        assert "2 live certificates stop counting, for ever" in self.words(
            Change.RETIRE, Ca.users()
        )

    def test_lifting(self) -> None:
        ca = Ca.users()
        ca.state = AuthorityState.SUSPENDED
        assert "it can issue again" in self.words(Change.LIFT, ca)
        ca.state = AuthorityState.CLOSED_SUSPENDED
        assert "stays closed" in self.words(Change.LIFT, ca)

    @pytest.mark.parametrize("change", [Change.CLOSE, Change.SUSPEND, Change.RETIRE])
    def test_who_takes_over(self, change: Change) -> None:
        ca, heir = Ca.users(), Ca.users()
        heir.parent = ca.id
        assert f"succeeded by CA {heir.id}" in self.words(change, ca, heir)
        heir.state = AuthorityState.RETIRED
        assert "no active CA succeeds it" in self.words(change, ca, heir)

    def test_only_closing_and_retiring_are_for_ever(self) -> None:
        assert [change for change in Change if change.is_for_ever] == [Change.CLOSE, Change.RETIRE]


class TestClosing:
    def test_once_a_successor_is_final(self) -> None:
        ca, first, second = Ca.users(), Ca.users(), Ca.users()
        first.parent = second.parent = ca.id
        first.registered_at = second.registered_at = NOW
        seen, early = snapshot(ca, first, second), block(90, NOW - timedelta(seconds=1))
        with pytest.raises(CheckedFalse, match="not final"):
            verify_can_close(seen, ca.on_chain(), early)
        verify_can_close(seen, ca.on_chain(), block(91, NOW))

    def test_a_ca_that_nobody_succeeds_may_close(self) -> None:
        ca = Ca.users()
        verify_can_close(snapshot(ca), ca.on_chain(), block(1, NOW - timedelta(days=9)))

    def test_one_named_successor_at_a_time(self) -> None:
        ca = Ca.users()
        verify_unsucceeded(ca.on_chain(), [])
        with pytest.raises(UsageError, match="already: users-2"):
            verify_unsucceeded(ca.on_chain(), ["users-2"])


def test_a_watermark_counts_what_is_issued_and_not_revoked_yet() -> None:
    ca = Ca.users()
    for _ in range(5):
        ca.issue()
    ca.revoked = {2}
    assert [count_below(ca.on_chain(), below) for below in (1, 2, 3, 6, 2**32)] == [0, 1, 1, 4, 4]
