"""The login index: what the login command knows of the chain, in one file.

The whole file replaces the old one atomically, so the command needs no lock, no journal and no
right to write. Its form is shared with `dpki.agent.login` alone, which finds a certificate in it by
halving.

How new it is stands beside each CA, because each may have its own outage policy, and its own chain.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent import login
from dpki.agent.login import AUTHORITY, CERTIFICATE, END, HEAD, LENGTH
from dpki.errors import DpkiError
from dpki.model import AuthorityId, Hash32, from_timestamp, to_timestamp

_NEVER = 2**64 - 1


@dataclass(frozen=True, order=True)
class IndexedAuthority:
    """A CA whose users may log in.

    Attributes:
        key: Its SSH public key blob.
        chain_time: Time of the block that all this was decided from.
        fresh_until: After this nobody gets in with its certificates; None where the operator chose
            to stay open.
    """

    id: AuthorityId
    key: bytes
    maximum_lifetime: timedelta
    chain_time: datetime
    fresh_until: datetime | None


@dataclass(frozen=True, order=True)
class IndexedCertificate:
    """A certificate that counts: anchored, not revoked, of nobody's or an active device."""

    hash: Hash32
    authority: AuthorityId
    serial: int
    not_after: datetime


@dataclass(frozen=True, order=True)
class Access:
    """A local account that a principal of a CA may use."""

    account: str
    authority: AuthorityId
    principal: str


@dataclass(frozen=True)
class LoginIndex:
    """All that a login is decided from."""

    authorities: tuple[IndexedAuthority, ...]
    certificates: tuple[IndexedCertificate, ...]
    access: tuple[Access, ...]


def encode_index(index: LoginIndex) -> bytes:
    """Return the index as the bytes of a file; the same one, the same bytes."""
    authorities = sorted(index.authorities)
    places = {authority.id: place for place, authority in enumerate(authorities)}
    certificates = sorted(
        CERTIFICATE.pack(bytes(c.hash), c.serial, places[c.authority])
        + END.pack(to_timestamp(c.not_after))
        for c in index.certificates
    )
    access = sorted(index.access)
    return b"".join(
        (
            HEAD.pack(login.INDEX_NAME, login.INDEX_VERSION, len(certificates)),
            *certificates,
            *(
                _encode_authority(a, [x for x in access if x.authority == a.id])
                for a in authorities
            ),
        )
    )


def _encode_authority(authority: IndexedAuthority, access: list[Access]) -> bytes:
    until = authority.fresh_until
    numbers = AUTHORITY.pack(
        bytes(authority.id),
        int(authority.maximum_lifetime.total_seconds()),
        to_timestamp(authority.chain_time),
        _NEVER if until is None else to_timestamp(until),
        len(access),
    )
    words = (word for each in access for word in (each.account, each.principal))
    return numbers + b"".join(
        LENGTH.pack(len(string)) + string
        for string in (authority.key, *(word.encode() for word in words))
    )


def load_index(path: Path) -> LoginIndex | None:
    """Return the installed index; None where there is none of this version that can be read."""
    try:
        return _decode_index(path.read_bytes())
    # It is made anew then, whatever is wrong with it.
    except (OSError, struct.error, ValueError, IndexError, OverflowError, DpkiError):
        return None


def _decode_index(data: bytes) -> LoginIndex | None:
    reader = login.Reader(data)
    name, version, count = HEAD.unpack(reader.take(HEAD.size))
    if (name, version) != (login.INDEX_NAME, login.INDEX_VERSION):
        return None
    certificates = [
        (CERTIFICATE.unpack(reader.take(CERTIFICATE.size)), END.unpack(reader.take(END.size))[0])
        for _ in range(count)
    ]
    found = []
    while reader.position < len(data):
        found.append(login.Authority(reader))
    ids = [AuthorityId(each.id) for each in found]
    return LoginIndex(
        tuple(
            IndexedAuthority(
                id,
                each.key,
                timedelta(seconds=each.maximum_lifetime),
                from_timestamp(each.chain_time),
                None if each.fresh_until == _NEVER else from_timestamp(each.fresh_until),
            )
            for id, each in zip(ids, found, strict=True)
        ),
        tuple(
            IndexedCertificate(Hash32(hash), ids[place], serial, from_timestamp(end))
            for (hash, serial, place), end in certificates
        ),
        tuple(
            Access(account.decode(), id, principal.decode())
            for id, each in zip(ids, found, strict=True)
            for account, principal in each.access
        ),
    )
