"""A snapshot's revocations as OpenSSH wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dpki.certificates.keys import parse_public_key, public_key_line, ssh_blob
from dpki.certificates.krl import Revocations, build_krl
from dpki.chain.snapshot import Authority, Snapshot
from dpki.errors import MalformedInput
from dpki.model import AuthorityId, AuthorityKind

_NONE: Mapping[AuthorityId, Sequence[range]] = MappingProxyType({})
SSH_KINDS = frozenset({AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST})


def authority_key(authority: Authority) -> bytes | None:
    """Return a CA's SSH public key blob; None where its key is no canonical one that we know.

    Whoever registered such a key gains nothing: neither sshd nor `judge` takes its certificates.
    """
    try:
        return ssh_blob(parse_public_key(authority.public_key))
    except MalformedInput:
        return None


def revocation_list(
    snapshot: Snapshot, unconfirmed: Mapping[AuthorityId, Sequence[range]] = _NONE
) -> bytes:
    """Return the KRL of every SSH CA of the domain.

    Single revocations and watermarks stand in it as serials, suspended and retired CAs as keys.
    The same snapshot always gives the same bytes, and never none: an empty file would admit all.

    Args:
        unconfirmed: Serials, by CA, that count only once watchdogs confirmed them; they stand in
            the list until then, and in no longer.
    """
    revocations: list[Revocations] = []
    keys: list[bytes] = []
    for authority in snapshot.authorities.values():
        key = authority_key(authority) if authority.kind in SSH_KINDS else None
        if key is None:
            continue
        if not authority.state.is_trusted:
            keys.append(key)
        revocations.append(
            Revocations(
                key,
                (*authority.revoked, *unconfirmed.get(authority.id, ())),
                authority.revoked_below,
            )
        )
    return build_krl(
        revocations,
        revoked_keys=keys,
        version=snapshot.block.number,
        generated=snapshot.block.time,
        comment=str(snapshot.domain.id),
    )


def authority_line(authority: Authority) -> str | None:
    """Return a CA's key as a line for sshd or known_hosts; None where there is no such key."""
    key = authority_key(authority)
    return None if key is None else public_key_line(key, f"dpki-{authority.id.hex()[:16]}")
