"""When an index that says nothing new is written all the same. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from dpki.agent.host_index import HostIndex
from dpki.agent.index import LoginIndex

_T = TypeVar("_T")

REFRESH = timedelta(minutes=5)
"""How old what is installed may look at most while nothing but time has changed."""


def refreshed(index: LoginIndex, installed: LoginIndex | None) -> LoginIndex:
    """Return the installed index while nothing but time has changed, and little of that.

    Writing it anew for each block would wear a flash card out; it is at most as much older than it
    could be as a 24th of the time after which it closes, or `REFRESH`.
    """
    if installed is None or _differ(index, installed):
        return index
    for new, old in zip(
        sorted(index.authorities, key=lambda a: a.id),
        sorted(installed.authorities, key=lambda a: a.id),
        strict=True,
    ):
        patience = REFRESH
        if new.fresh_until is not None and old.fresh_until is not None:
            patience = min(patience, (new.fresh_until - new.chain_time) / 24)
            if old.fresh_until - old.chain_time != new.fresh_until - new.chain_time:
                return index
        # Also where the chain went back: a reorg, or a block from far in the future.
        if not timedelta(0) <= new.chain_time - old.chain_time < patience:
            return index
    return installed


def refreshed_hosts(index: HostIndex, installed: HostIndex | None) -> HostIndex:
    """Return the installed index of hosts likewise."""
    if installed is None:
        return index
    same = replace(installed, chain_time=index.chain_time, fresh_until=index.fresh_until)
    lasts = index.fresh_until - index.chain_time
    was = installed.fresh_until - installed.chain_time
    # One that never closes ends at a fixed time.
    keeps = lasts == was or index.fresh_until == installed.fresh_until
    passed = index.chain_time - installed.chain_time
    if same != index or not keeps or not timedelta(0) <= passed < min(REFRESH, lasts / 24):
        return index
    return installed


def _differ(index: LoginIndex, installed: LoginIndex) -> bool:
    return (
        _timeless(index) != _timeless(installed)
        or not _hold_the_same(index.certificates, installed.certificates)
        or not _hold_the_same(index.access, installed.access)
    )


def _hold_the_same(some: tuple[_T, ...], others: tuple[_T, ...]) -> bool:
    # As a rule they are in the same order, and there may be a hundred thousand.
    return some == others or (len(some) == len(others) and set(some) == set(others))


def _timeless(index: LoginIndex) -> list[tuple[object, ...]]:
    return sorted(
        (a.id, a.key, a.maximum_lifetime, a.fresh_until is None) for a in index.authorities
    )
