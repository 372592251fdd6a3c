"""When an index that says nothing new is written all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from dpki.agent.freshness import REFRESH, refreshed, refreshed_hosts
from dpki.agent.host_index import HostAuthority, HostIndex
from dpki.agent.index import Access, IndexedAuthority, LoginIndex
from tests.world import NOW, Ca

USERS, OTHERS = Ca.users(), Ca.users()
DAY = timedelta(days=1)


def index(after: timedelta = timedelta(0), allowed: timedelta | None = DAY) -> LoginIndex:
    """Return what would be decided from a block so much later, open where None is allowed."""
    made = NOW + after
    until = None if allowed is None else made + allowed
    cas = [
        IndexedAuthority(ca.id, ca.blob, ca.maximum_lifetime, made, until) for ca in (USERS, OTHERS)
    ]
    grants = [Access(account, USERS.id, "ops") for account in ("ops", "root")]
    return LoginIndex(tuple(cas), (), tuple(grants))


def stays(new: LoginIndex) -> bool:
    """Whether the one of the first moment stays."""
    installed = index()
    return refreshed(new, installed) is installed


def test_a_little_later_the_installed_one_stays() -> None:
    assert stays(index(REFRESH - timedelta(seconds=1)))
    assert not stays(index(REFRESH))


def test_one_that_closes_soon_is_made_anew_sooner() -> None:
    soon = timedelta(hours=1)
    installed = index(allowed=soon)
    assert refreshed(index(soon / 24 - timedelta(seconds=1), soon), installed) is installed
    assert refreshed(index(soon / 24, soon), installed) is not installed


def test_one_that_stays_open_must_tell_the_time_too() -> None:
    """The login command judges an end by the later of clock and chain."""
    installed = index(allowed=None)
    assert refreshed(index(REFRESH / 2, None), installed) is installed
    assert refreshed(index(REFRESH, None), installed) is not installed


def test_another_policy_is_written_at_once() -> None:
    assert not stays(index(allowed=None))
    assert not stays(index(allowed=2 * DAY))
    assert not stays(index(allowed=DAY / 2))


def test_a_chain_that_went_back_is_written_at_once() -> None:
    assert not stays(index(-timedelta(seconds=1)))


def test_the_order_says_nothing() -> None:
    new = index()
    turned = LoginIndex(new.authorities[::-1], (), new.access[::-1])
    assert stays(turned)
    assert not stays(replace(new, access=new.access[:1]))
    assert not stays(replace(new, authorities=new.authorities[:1]))


def test_without_an_installed_one_the_new_one_is_written() -> None:
    new = index()
    assert refreshed(new, None) is new


class TestTheIndexOfHosts:
    """Likewise, what an SSH client holds hosts against."""

    def made(self, after: timedelta, allowed: timedelta = DAY, line: str = "line") -> HostIndex:
        cas = (HostAuthority(USERS.id, USERS.blob, line),)
        return HostIndex(cas, (), NOW + after, NOW + after + allowed)

    def test_it_stays_for_a_little_while(self) -> None:
        first = self.made(timedelta(0))
        assert refreshed_hosts(first, None) is first
        for after, stays in ((REFRESH - timedelta(seconds=1), True), (REFRESH, False)):
            assert (refreshed_hosts(self.made(after), first) is first) is stays
        assert refreshed_hosts(self.made(timedelta(seconds=-1)), first) is not first

    def test_not_where_it_says_something_new(self) -> None:
        first = self.made(timedelta(0))
        assert refreshed_hosts(self.made(timedelta(0), line="other"), first) is not first
        assert refreshed_hosts(self.made(timedelta(0), 2 * DAY), first) is not first

    def test_one_that_never_closes(self) -> None:
        first = self.made(timedelta(0))
        later = replace(self.made(timedelta(minutes=1)), fresh_until=first.fresh_until)
        assert refreshed_hosts(later, first) is first
