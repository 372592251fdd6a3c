"""Who succeeds whom."""

from __future__ import annotations

from dpki.model import AuthorityId
from dpki.verification.succession import find_predecessors, find_successors
from tests.world import Ca, snapshot


def line(*cas: Ca) -> tuple[list[AuthorityId], list[AuthorityId]]:
    """Return the successors of the first and the predecessors of the last."""
    authorities = snapshot(*cas).authorities
    after = find_successors(authorities, cas[0].id)
    before = find_predecessors(authorities, cas[-1].id)
    return [a.id for a in after], [a.id for a in before]


def succeeding(ca: Ca) -> Ca:
    heir = Ca.users()
    heir.parent = ca.id
    return heir


def test_nobody_succeeds_a_ca_alone() -> None:
    assert line(Ca.users()) == ([], [])
    assert line(Ca.users(), Ca.users()) == ([], [])


def test_a_chain_of_successors() -> None:
    first = Ca.users()
    second = succeeding(first)
    third = succeeding(second)
    assert line(first, Ca.hosts(), second, third) == (
        [second.id, third.id],
        [second.id, first.id],
    )


def test_two_successors_of_one() -> None:
    first = Ca.users()
    left, right = succeeding(first), succeeding(first)
    assert line(first, left, right) == ([left.id, right.id], [first.id])


def test_nothing_is_inherited_backwards() -> None:
    first = Ca.users()
    second = succeeding(first)
    authorities = snapshot(first, second).authorities
    assert find_successors(authorities, second.id) == ()
    assert find_predecessors(authorities, first.id) == ()


def test_a_ca_of_another_kind_succeeds_nobody() -> None:
    users, hosts = Ca.users(), Ca.hosts()
    hosts.parent = users.id
    assert line(users, hosts) == ([], [])


def test_what_no_contract_writes_succeeds_nobody() -> None:
    """A parent that comes later, a cycle, a parent that there is not."""
    first, second, third = Ca.users(), Ca.users(), Ca.users()
    first.parent, second.parent, third.parent = second.id, first.id, AuthorityId(b"\x01" * 32)
    assert line(first, second, third) == ([second.id], [])
    authorities = snapshot(first, second, third).authorities
    assert find_successors(authorities, second.id) == ()
    assert find_successors(authorities, AuthorityId(b"\x02" * 32)) == ()
