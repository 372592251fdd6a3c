import pytest

from dpki.errors import UsageError
from dpki.issuance.revocation import MAXIMUM_SERIALS, RevocationPlan, plan_revocation, revoke
from tests.fakes.issuing import FakeDomain
from tests.world import Ca, snapshot


@pytest.fixture
def ca() -> Ca:
    ca = Ca.users()
    ca.next_serial = 1001
    ca.revoked = {5}
    ca.revoked_below = 3
    return ca


class TestPlan:
    def test_leaves_out_what_is_revoked(self, ca: Ca) -> None:
        found = plan_revocation(snapshot(ca), ca.id, [9, 5, 2, 9, 7])
        assert (found.serials, found.already) == ((7, 9), (2, 5))

    @pytest.mark.parametrize("serial", [0, 1001, 2**32])
    def test_refuses_what_was_never_issued(self, ca: Ca, serial: int) -> None:
        with pytest.raises(UsageError, match=f"serial {serial} was never issued"):
            plan_revocation(snapshot(ca), ca.id, [7, serial])

    def test_refuses_nothing(self, ca: Ca) -> None:
        with pytest.raises(UsageError, match="nothing to revoke"):
            plan_revocation(snapshot(ca), ca.id, [])


def test_many_go_in_several_transactions(ca: Ca) -> None:
    chain = FakeDomain.of(ca)
    serials = tuple(range(6, 1001))
    assert len(revoke(chain, RevocationPlan(ca.id, serials, ()))) == -(-995 // MAXIMUM_SERIALS)
    assert ca.revoked == {5, *serials}


def test_nothing_left_sends_nothing(ca: Ca) -> None:
    chain = FakeDomain.of(ca)
    assert revoke(chain, RevocationPlan(ca.id, (), (5,))) == ()
    assert chain.sent == 0
