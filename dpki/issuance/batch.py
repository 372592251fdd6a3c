"""Batches and their certificates, as the journal knows them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.devices.document import Prekey
from dpki.errors import DpkiError
from dpki.model import Address, AuthorityId, Entry, Hash32


class BatchState(enum.Enum):
    """How far a batch got; the value is what the journal and people read."""

    ISSUED = "issued"
    SEALED = "sealed"
    PUBLISHED = "published"
    ANCHORED = "anchored"
    VOID = "void"


@dataclass(frozen=True)
class NewCertificate:
    """A certificate that was just signed.

    Attributes:
        certificate: The certificate.
        subject: How logs name the holder.
        device: The device that gets a bundle; zero for none.
        pair_made_here: Whether its private key is in this process only, until it is sealed.
        release: File that it is written to once it is anchored; None for none.
        prekey: The device's one-time key that it is for, and that opens its bundle; None for none.
    """

    certificate: SshCertificate
    subject: str
    device: Address
    pair_made_here: bool
    release: Path | None
    prekey: Prekey | None = None


@dataclass(frozen=True)
class JournaledCertificate:
    """A certificate as the journal knows it; `entry` and `bundle` are there once it is sealed."""

    serial: int
    subject: str
    device: Address
    blob: bytes = field(repr=False)
    pair_made_here: bool
    release: Path | None
    entry: Entry | None
    bundle: bytes | None = field(repr=False)
    is_released: bool
    prekey: Prekey | None = None

    @property
    def certificate(self) -> SshCertificate:
        """The certificate itself."""
        return parse_ssh_certificate(self.blob)


@dataclass(frozen=True)
class JournaledBatch:
    """A batch as the journal knows it.

    Attributes:
        number: The journal's own number, in the order of signing.
        reason: Why it is void or had to go back.
        successor: The batch that was signed in place of this void one; 0 where it was given up,
            None where one is still owed.
        transaction: The transaction that anchored it.
        block_number: The block of that transaction.
    """

    number: int
    authority: AuthorityId
    first_serial: int
    state: BatchState
    reason: str
    successor: int | None
    transaction: Hash32 | None
    block_number: int | None
    certificates: tuple[JournaledCertificate, ...]

    @property
    def count(self) -> int:
        """The number of certificates."""
        return len(self.certificates)

    @property
    def last_serial(self) -> int:
        """The serial of the last certificate."""
        return self.first_serial + self.count - 1

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What goes on chain.

        Raises:
            DpkiError: The batch is not sealed.
        """
        entries = tuple(c.entry for c in self.certificates if c.entry is not None)
        if len(entries) != self.count:
            raise DpkiError(f"batch {self.number} of the journal is not sealed yet")
        return entries
