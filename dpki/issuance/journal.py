"""The journal: what was issued, and how far each batch got.

A batch is journaled as soon as it is signed, and holds the exact bytes to go on with after a crash:

    issued → sealed → published → anchored        and from each of the first three → void

`void` is for ever: another writer took the serials, or the only copy of a private key was lost
with the process. Its certificates are never released; it is owed a successor with the same wishes,
until there is one or it is given up. An anchored batch that a reorg took off the chain is published
again. What may not happen is forbidden by triggers in the database too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import cast

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.errors import DpkiError
from dpki.issuance.acknowledgements import Acknowledgements
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate, NewCertificate
from dpki.issuance.database import Database, Row
from dpki.issuance.placements import Placements
from dpki.issuance.prekeys import UsedPrekey, UsedPrekeys
from dpki.issuance.sealing import Sealed
from dpki.model import Address, AuthorityId, Entry, Hash32, from_timestamp, to_timestamp

_NEXT = {
    BatchState.ISSUED: (BatchState.SEALED, BatchState.VOID),
    BatchState.SEALED: (BatchState.PUBLISHED, BatchState.VOID),
    BatchState.PUBLISHED: (BatchState.ANCHORED, BatchState.VOID),
    BatchState.ANCHORED: (BatchState.PUBLISHED,),
    BatchState.VOID: (),
}


class Journal:
    """The journal in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._prekeys = UsedPrekeys(database)

    @property
    def placements(self) -> Placements:
        """Where the sealed bundles are."""
        return Placements(self._database)

    @property
    def acknowledgements(self) -> Acknowledgements:
        """What devices said that they have installed."""
        return Acknowledgements(self._database)

    def add(
        self,
        authority: AuthorityId,
        certificates: Sequence[NewCertificate],
        *,
        replaces: JournaledBatch | None = None,
    ) -> JournaledBatch:
        """Record a batch that was just signed.

        Args:
            replaces: The void batch that it is the successor of.

        Raises:
            DpkiError: One of its serials is in another batch that is not void, or one of the
                one-time keys is used already; nothing was recorded.
        """
        with self._database.transaction():
            number = self._database.change(
                "INSERT INTO batches (authority, first_serial, count, state) VALUES (?, ?, ?, ?)",
                bytes(authority),
                certificates[0].certificate.serial,
                len(certificates),
                BatchState.ISSUED.value,
            )
            for new in certificates:
                self._database.change(
                    "INSERT INTO certificates"
                    " (batch, serial, subject, device, certificate, pair_made_here, release)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    number,
                    new.certificate.serial,
                    new.subject,
                    bytes(new.device),
                    new.certificate.blob,
                    int(new.pair_made_here),
                    None if new.release is None else str(new.release),
                )
                if new.prekey is not None:
                    self._prekeys.record(number, new.certificate.serial, new.device, new.prekey)
            if replaces is not None:
                self._set_successor(replaces, number)
        return self.load(number)

    def give_up(self, batch: JournaledBatch) -> None:
        """Record that a void batch gets no successor."""
        with self._database.transaction():
            self._set_successor(batch, 0)

    def mark_sealed(self, batch: JournaledBatch, sealed: Sequence[Sealed]) -> JournaledBatch:
        """Record the entries and sealed bundles."""
        with self._database.transaction():
            for certificate, parts in zip(batch.certificates, sealed, strict=True):
                self._database.change(
                    "UPDATE certificates SET not_after = ?, locator = ?, bundle = ?"
                    " WHERE batch = ? AND serial = ?",
                    to_timestamp(parts.entry.not_after),
                    bytes(parts.entry.locator),
                    parts.bundle,
                    batch.number,
                    certificate.serial,
                )
            self._move(batch, BatchState.SEALED)
        return self.load(batch.number)

    def mark_published(self, batch: JournaledBatch, reason: str = "") -> JournaledBatch:
        """Record that every bundle is where devices find it, or that the anchor is gone again."""
        with self._database.transaction():
            self._move(batch, BatchState.PUBLISHED, reason)
        return self.load(batch.number)

    def mark_anchored(
        self, batch: JournaledBatch, transaction: Hash32 | None, block_number: int | None
    ) -> JournaledBatch:
        """Record that the batch is on chain.

        Args:
            transaction: None where it was found there after a crash.
        """
        with self._database.transaction():
            self._move(batch, BatchState.ANCHORED)
            self._database.change(
                "UPDATE batches SET transaction_hash = ?, block_number = ? WHERE number = ?",
                None if transaction is None else bytes(transaction),
                block_number,
                batch.number,
            )
        return self.load(batch.number)

    def mark_void(self, batch: JournaledBatch, reason: str) -> JournaledBatch:
        """Record that the batch will never be anchored; its certificates are never released."""
        with self._database.transaction():
            self._move(batch, BatchState.VOID, reason)
        return self.load(batch.number)

    def mark_released(self, batch: JournaledBatch, serial: int) -> None:
        """Record that the certificate was handed out.

        Raises:
            DpkiError: Its batch is not anchored.
        """
        self._database.change(
            "UPDATE certificates SET released = 1 WHERE batch = ? AND serial = ?",
            batch.number,
            serial,
        )

    def load(self, number: int) -> JournaledBatch:
        """Return one batch.

        Raises:
            DpkiError: There is none of this number.
        """
        for batch in self._load("WHERE number = ?", number):
            return batch
        raise DpkiError(f"the journal has no batch {number}")

    def load_all(self, authority: AuthorityId | None = None) -> tuple[JournaledBatch, ...]:
        """Return every batch, of one CA or of all, in the order of signing."""
        if authority is None:
            return self._load("ORDER BY number")
        return self._load("WHERE authority = ? ORDER BY number", bytes(authority))

    def load_unfinished(self, authority: AuthorityId) -> tuple[JournaledBatch, ...]:
        """Return the batches of a CA that are neither anchored nor void, by first serial."""
        states = "('issued', 'sealed', 'published')"
        return self._load(
            f"WHERE authority = ? AND state IN {states} ORDER BY first_serial", bytes(authority)
        )

    def load_unreleased(self, authority: AuthorityId) -> tuple[JournaledBatch, ...]:
        """Return the anchored batches of a CA with a certificate that was not handed out yet."""
        return self._load(
            "WHERE authority = ? AND state = 'anchored' AND number IN"
            " (SELECT batch FROM certificates WHERE released = 0) ORDER BY first_serial",
            bytes(authority),
        )

    def load_owed(self, authority: AuthorityId) -> tuple[JournaledBatch, ...]:
        """Return the void batches of a CA that still lack a successor, in the order of signing."""
        return self._load(
            "WHERE authority = ? AND state = 'void' AND successor IS NULL ORDER BY number",
            bytes(authority),
        )

    def load_anchored_latest_first(self, authority: AuthorityId) -> tuple[int, ...]:
        """Return the numbers of a CA's anchored batches, the highest serials first."""
        rows = self._database.rows(
            "SELECT number FROM batches WHERE authority = ? AND state = 'anchored'"
            " ORDER BY first_serial DESC",
            bytes(authority),
        )
        return tuple(cast(int, number) for (number,) in rows)

    def subject_keys(self, device: Address) -> frozenset[bytes]:
        """Return the SSH public key blobs that a certificate was ever signed for, void or not."""
        rows = self._database.rows(
            "SELECT certificate FROM certificates WHERE device = ?", bytes(device)
        )
        with self._database.decoded():
            return frozenset(parse_ssh_certificate(cast(bytes, b)).subject_key for (b,) in rows)

    def knows(self, authority: AuthorityId, serial: int, hash: Hash32) -> bool:
        """Whether this home signed that certificate under that serial."""
        rows = self._database.rows(
            "SELECT certificate FROM certificates JOIN batches ON number = batch"
            " WHERE authority = ? AND serial = ?",
            bytes(authority),
            serial,
        )
        with self._database.decoded():
            return any(sha256(cast(bytes, blob)).digest() == hash for (blob,) in rows)

    def authorities(self) -> tuple[AuthorityId, ...]:
        """Return the CAs that the journal has batches of."""
        rows = self._database.rows("SELECT DISTINCT authority FROM batches ORDER BY authority")
        with self._database.decoded():
            return tuple(AuthorityId(cast(bytes, identifier)) for (identifier,) in rows)

    def _set_successor(self, batch: JournaledBatch, number: int) -> None:
        changed = self._database.change(
            "UPDATE batches SET successor = ?"
            " WHERE number = ? AND state = 'void' AND successor IS NULL",
            number,
            batch.number,
        )
        if changed != 1:
            raise DpkiError(f"batch {batch.number} of the journal is owed no successor")

    def _move(self, batch: JournaledBatch, state: BatchState, reason: str = "") -> None:
        if state not in _NEXT[batch.state]:
            raise DpkiError(
                f"batch {batch.number} of the journal is {batch.state.value}"
                f" and can't become {state.value}"
            )
        moved = self._database.change(
            "UPDATE batches SET state = ?, reason = ? WHERE number = ? AND state = ?",
            state.value,
            reason,
            batch.number,
            batch.state.value,
        )
        if moved != 1:
            raise DpkiError(
                f"batch {batch.number} of the journal was changed by somebody else",
                hint="run the command again",
            )

    def _load(self, condition: str, *values: int | bytes) -> tuple[JournaledBatch, ...]:
        rows = self._database.rows(
            "SELECT number, authority, first_serial, state, reason, successor, transaction_hash,"
            " block_number"
            f" FROM batches {condition}",
            *values,
        )
        with self._database.decoded():
            return tuple(self._batch(row) for row in rows)

    def _batch(self, row: Row) -> JournaledBatch:
        number, authority, first, state, reason, successor, transaction, block_number = row
        certificates = self._database.rows(
            "SELECT serial, subject, device, certificate, pair_made_here, release, not_after,"
            " locator, bundle, released FROM certificates WHERE batch = ? ORDER BY serial",
            cast(int, number),
        )
        prekeys = self._prekeys.of_batch(cast(int, number))
        return JournaledBatch(
            number=cast(int, number),
            authority=AuthorityId(cast(bytes, authority)),
            first_serial=cast(int, first),
            state=BatchState(state),
            reason=cast(str, reason),
            successor=cast("int | None", successor),
            transaction=None if transaction is None else Hash32(cast(bytes, transaction)),
            block_number=cast("int | None", block_number),
            certificates=tuple(_certificate(row, prekeys) for row in certificates),
        )


def _certificate(row: Row, prekeys: Mapping[int, UsedPrekey]) -> JournaledCertificate:
    serial, subject, device, blob, made, release, not_after, locator, bundle, released = row
    address = Address(cast(bytes, device))
    entry = None
    if locator is not None:
        entry = Entry(
            parse_ssh_certificate(cast(bytes, blob)).hash,
            address,
            from_timestamp(cast(int, not_after)),
            Hash32(cast(bytes, locator)),
        )
    used = prekeys.get(cast(int, serial))
    return JournaledCertificate(
        serial=cast(int, serial),
        subject=cast(str, subject),
        device=address,
        blob=cast(bytes, blob),
        pair_made_here=bool(made),
        release=None if release is None else Path(cast(str, release)),
        entry=entry,
        bundle=cast("bytes | None", bundle),
        is_released=bool(released),
        prekey=used.for_certificate(cast(bytes, blob)) if used is not None else None,
    )
