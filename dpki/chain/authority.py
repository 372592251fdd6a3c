"""One CA, as both registries know it: wholly, or as far as one of its certificates needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from dpki.chain import decode, layout
from dpki.chain.domain import Contracts
from dpki.chain.rpc import Reader
from dpki.chain.storage import Slot, contradiction
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, Hash32

MAXIMUM_REVOCATION_WORDS = 65_536
"""Revocation words of one CA that a reader is willing to fetch (16.7 million certificates)."""

HEAD_WORDS = 7
"""Words of a CA whose place follows from its id."""


@dataclass(frozen=True)
class AuthorityRecord(ABC):
    """A CA, but for which of its serials are revoked one by one.

    Attributes:
        id: SHA-256 of `public_key`; this was checked.
        kind: What it signs.
        public_key: Its SubjectPublicKeyInfo as registered; whether it is canonical is for its
            parser to say.
        issuer_key: The X25519 public key for locators.
        parent: The CA above it; None for a root.
        registered_at: When it was registered.
        operator: The account that anchors its certificates.
        next_serial: The serial that the next certificate gets.
        revoked_count: Serials with their revocation bit set.
        maximum_lifetime: The longest that a certificate may have left when it is anchored.
        state: Its state.
        revoked_below: Every serial below this is revoked.
        watch: From which serial on watchdogs have to confirm, and how many; None where nobody has.
    """

    id: AuthorityId
    kind: AuthorityKind
    public_key: bytes
    issuer_key: Hash32
    parent: AuthorityId | None
    registered_at: datetime
    operator: Address
    next_serial: int
    revoked_count: int
    maximum_lifetime: timedelta
    state: AuthorityState
    revoked_below: int
    watch: layout.Watch | None = field(default=None, kw_only=True)

    @abstractmethod
    def is_revoked(self, serial: int) -> bool:
        """Whether the serial is revoked, one by one or by the watermark."""

    def is_issued(self, serial: int) -> bool:
        """Whether a certificate of this serial was ever anchored."""
        return 1 <= serial < self.next_serial

    def awaits(self, first_serial: int) -> bool:
        """Whether a batch that begins there has to be confirmed by watchdogs."""
        return self.watch is not None and self.watch.covers(first_serial)

    def awaited(self, first_serial: int, progress: layout.Progress | None) -> str | None:
        """Return what a batch waits for before it counts, in words; None where for nothing.

        Args:
            progress: How far it is confirmed; not looked at where nobody has to.
        """
        if self.watch is None or not self.watch.covers(first_serial):
            return None
        assert progress is not None, "the batch was not asked for"
        return self.watch.missing(progress)


@dataclass(frozen=True)
class Authority(AuthorityRecord):
    """A CA with all of its revocations.

    Attributes:
        revoked: Serials with their revocation bit set; complete, by `revoked_count`.
    """

    revoked: frozenset[int]

    def is_revoked(self, serial: int) -> bool:
        """Whether the serial is revoked, one by one or by the watermark."""
        return serial < self.revoked_below or serial in self.revoked


@dataclass(frozen=True)
class AuthorityExcerpt(AuthorityRecord):
    """A CA with the revocations of a few serials in a row: enough for one certificate.

    It says nothing about any other serial, so no list of revocations can be made of it.

    Attributes:
        covered: The serials whose revocation bits were read.
        revoked_there: Those of them with their bit set.
    """

    covered: range
    revoked_there: frozenset[int]

    def is_revoked(self, serial: int) -> bool:
        """Whether the serial is revoked, one by one or by the watermark.

        Raises:
            CouldNotCheck: Its bit was not read.
        """
        if serial < self.revoked_below:
            return True
        if serial not in self.covered:
            raise CouldNotCheck(f"whether serial {serial} is revoked was not read")
        return serial in self.revoked_there


def head_slots(contracts: Contracts, ca: AuthorityId) -> list[Slot]:
    """Return the places of the words that `Head.decode` takes."""
    return [
        *((contracts.authorities, slot) for slot in layout.authority_slots(ca)),
        (contracts.certificates, layout.issuer_slot(ca)),
        (contracts.certificates, layout.revoked_below_slot(ca)),
        (contracts.watchdogs, layout.watch_slot(ca)),
    ]


def serial_slot(contracts: Contracts, ca: AuthorityId, serial: int) -> Slot:
    """Return the place of the revocation word that holds a serial."""
    return contracts.certificates, layout.revocation_slot(ca, serial >> 8)


@dataclass(frozen=True)
class Head:
    """What a CA's fixed words say, before its public key and revocation words are there."""

    ca: AuthorityId
    kind: AuthorityKind
    registered_at: datetime
    issuer_key: Hash32
    parent: AuthorityId
    key_head: bytes
    key_length: int
    issuer: layout.IssuerWord
    revoked_below: int
    watch: layout.Watch | None

    @classmethod
    def decode(cls, source: Reader, ca: AuthorityId, words: Sequence[bytes]) -> Head:
        """Decode the words of a registered CA.

        Raises:
            CouldNotCheck: The contracts can't have written them.
        """
        try:
            kind, registered_at = layout.decode_authority_head(words[0])
            head = cls(
                ca=ca,
                kind=kind,
                registered_at=decode.time(registered_at, source.name),
                issuer_key=Hash32(words[1]),
                parent=AuthorityId(words[2]),
                key_head=words[3],
                key_length=layout.decode_public_key_length(words[3]),
                issuer=layout.decode_issuer(words[4]),
                revoked_below=layout.decode_watermark(words[5]),
                watch=layout.decode_watch(words[6]),
            )
        except ValueError as error:
            raise contradiction(source, f"the record of authority {ca}") from error
        issuer = head.issuer
        if (
            issuer.state is AuthorityState.UNREGISTERED
            or issuer.next_serial < 1
            or issuer.revoked_count >= issuer.next_serial
            or head.revoked_below > issuer.next_serial
            or (head.watch is not None and head.watch.first_serial > issuer.next_serial)
        ):
            raise contradiction(source, f"the issuing state of authority {ca}")
        return head

    def rest_slots(self, contracts: Contracts) -> list[Slot]:
        """Return the places of the words that `complete` takes.

        Raises:
            CouldNotCheck: There are more of them than anybody follows.
        """
        next_serial = self.issuer.next_serial
        words = layout.revocation_words(next_serial)
        if words > MAXIMUM_REVOCATION_WORDS:
            raise CouldNotCheck(
                f"authority {self.ca} claims {next_serial - 1} certificates, more than a reader"
                " follows",
                hint="ask another RPC endpoint",
            )
        return [
            *(
                (contracts.authorities, slot)
                for slot in layout.public_key_slots(self.ca, self.key_length)
            ),
            *self._revocation_slots(contracts, range(words)),
        ]

    def complete(self, source: Reader, words: Iterable[bytes]) -> Authority:
        """Return the CA with all of its revocations.

        Args:
            words: Those of `rest_slots`, and perhaps others after them.

        Raises:
            CouldNotCheck: They don't add up.
        """
        stream = iter(words)
        public_key = self._public_key(source, stream)
        next_serial, count = self.issuer.next_serial, self.issuer.revoked_count
        revoked = self._revoked(stream, range(layout.revocation_words(next_serial)))
        if len(revoked) != count or any(not 1 <= s < next_serial for s in revoked):
            raise CouldNotCheck(
                f"{source.name} gives {len(revoked)} revocations of authority {self.ca}, and the"
                f" chain counts {count}",
                hint="ask another RPC endpoint; this one withholds or invents revocations",
            )
        return Authority(**self._fields(public_key), revoked=frozenset(revoked))

    def excerpt(
        self, source: Reader, public_key: bytes, serial: int, word: bytes
    ) -> AuthorityExcerpt:
        """Return the CA with the one revocation word that holds a serial, if it was issued.

        Args:
            public_key: Its key, which need not be read: the CA's id is its hash.
            word: From the place that `serial_slot` gives.

        Raises:
            CouldNotCheck: The words don't add up.
        """
        if len(public_key) != self.key_length:
            raise contradiction(source, f"the length of the public key of authority {self.ca}")
        next_serial, index = self.issuer.next_serial, serial >> 8
        indices = range(index, index + (1 <= serial < next_serial))
        revoked = self._revoked(iter([word]), indices)
        if len(revoked) > self.issuer.revoked_count or not all(
            1 <= s < next_serial for s in revoked
        ):
            raise contradiction(source, f"the number of revocations of authority {self.ca}")
        return AuthorityExcerpt(
            **self._fields(public_key),
            covered=range(256 * indices.start, 256 * indices.stop),
            revoked_there=frozenset(revoked),
        )

    def _revocation_slots(self, contracts: Contracts, indices: range) -> Iterator[Slot]:
        for index in indices:
            yield contracts.certificates, layout.revocation_slot(self.ca, index)

    def _revoked(self, stream: Iterator[bytes], indices: range) -> list[int]:
        return [s for index in indices for s in layout.decode_revocations(index, next(stream))]

    def _public_key(self, source: Reader, stream: Iterator[bytes]) -> bytes:
        rest = [next(stream) for _ in layout.public_key_slots(self.ca, self.key_length)]
        try:
            public_key = layout.decode_public_key(self.key_head, rest)
        except ValueError as error:
            raise contradiction(source, f"the public key of authority {self.ca}") from error
        if sha256(public_key).digest() != self.ca:
            raise contradiction(
                source, f"the public key of authority {self.ca}, which has another hash"
            )
        return public_key

    def _fields(self, public_key: bytes) -> dict[str, Any]:
        """Return the fields of an `AuthorityRecord`."""
        issuer = self.issuer
        return {
            "id": self.ca,
            "kind": self.kind,
            "public_key": public_key,
            "issuer_key": self.issuer_key,
            "parent": None if self.parent == AuthorityId.zero() else self.parent,
            "registered_at": self.registered_at,
            "operator": issuer.operator,
            "next_serial": issuer.next_serial,
            "revoked_count": issuer.revoked_count,
            "maximum_lifetime": issuer.maximum_lifetime,
            "state": issuer.state,
            "revoked_below": self.revoked_below,
            "watch": self.watch,
        }
