"""Which CAs succeed which: planned rotation, as the chain tells it.

SSH certificates have no chains, so among SSH CAs the registry's `parent` is free to name the CA
that a new one succeeds. Only the governor registers, a parent never changes, and the contract
refuses one that is unknown or of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from dpki.chain.snapshot import Authority
from dpki.model import AuthorityId


def find_successors(
    authorities: Mapping[AuthorityId, Authority], ca: AuthorityId
) -> tuple[Authority, ...]:
    """Return every CA that was registered to succeed this one, or a successor of it.

    The state of the CAs in between does not matter: a succession is a fact of registration, and on
    the worst day it is a retired CA that must be succeeded. Whether a successor itself may be
    trusted is for the caller to judge.

    Args:
        authorities: All of the domain's CAs, in the order of registration, as a snapshot has them.
            One that names a parent of another kind, or one that comes later, succeeds nobody: the
            contract writes no such thing, but an endpoint may.
    """
    line: dict[AuthorityId, Authority] = {}
    for authority in authorities.values():
        predecessor = None if authority.parent is None else line.get(authority.parent)
        if authority.id == ca or (predecessor and predecessor.kind is authority.kind):
            line[authority.id] = authority
    return tuple(heir for heir in line.values() if heir.id != ca)


def find_predecessors(
    authorities: Mapping[AuthorityId, Authority], ca: AuthorityId
) -> tuple[Authority, ...]:
    """Return the CAs that this one succeeds, the latest first."""
    return tuple(
        other
        for other in reversed(tuple(authorities.values()))
        if any(heir.id == ca for heir in find_successors(authorities, other.id))
    )
