"""What the agent knows when it decides: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dpki.certificates.ssh import SshCertificate
from dpki.chain.snapshot import Snapshot
from dpki.model import AuthorityId, Block, Entry
from dpki.verification.verdict import Finding


@dataclass(frozen=True)
class Known:
    """An anchored certificate.

    A user's was recomputed with its whole batch against the chain's commitment; a host's is a lead,
    which proves itself by the path in its bundle.

    Attributes:
        block: Number of the block that anchored it.
    """

    authority: AuthorityId
    serial: int
    entry: Entry
    block: int


@dataclass(frozen=True)
class WatchedBatch:
    """A batch that counts only once its CA's watchdogs confirmed it.

    Attributes:
        block: Number of the block that anchored it.
    """

    authority: AuthorityId
    first_serial: int
    count: int
    block: int

    @property
    def serials(self) -> range:
        """The serials in it."""
        return range(self.first_serial, self.first_serial + self.count)


@dataclass(frozen=True)
class Unconfirmed:
    """A watched batch that does not count yet.

    Attributes:
        reason: What it waits for, in words.
    """

    batch: WatchedBatch
    reason: str


@dataclass(frozen=True)
class OwnPair:
    """A certificate of this device that is good, and its private key.

    Attributes:
        key: OpenSSH private key file.
        finding: Why it is good.
        overlap: How long the pair before it stays beside it; None where its CA's profile does not
            say.
    """

    certificate: SshCertificate
    key: bytes = field(repr=False)
    finding: Finding
    overlap: timedelta | None = None


class HostPair(OwnPair):
    """The SSH server's."""


class ClientPair(OwnPair):
    """The SSH client's."""


@dataclass(frozen=True)
class Observation:
    """Everything that a decision is made from.

    Attributes:
        snapshot: The domain at the newest block, with all that was ever seen revoked.
        finalized: The newest block that CAs may have come into being in.
        known: Anchored certificates, this device's own among them.
        host: The best host certificate.
        problems: What could not be found out, a sentence each.
        unconfirmed: Batches of which everything is read that count only once watchdogs confirmed
            them: users', and hosts' where the device checks hosts.
        waiting: This device's own certificates likewise, a sentence each.
        pending: How many anchored certificates count only some blocks later.
        client: The best certificate for this device's SSH client, where it has a use for one.
        begins: When the first of its own certificates begins that are not valid yet; None for none.
        is_reused: Whether all but the blocks was found out by an earlier look, and still holds.
    """

    snapshot: Snapshot
    finalized: Block
    known: tuple[Known, ...]
    host: HostPair | None
    problems: tuple[str, ...]
    unconfirmed: tuple[Unconfirmed, ...] = ()
    waiting: tuple[str, ...] = ()
    pending: int = 0
    client: ClientPair | None = None
    begins: datetime | None = None
    is_reused: bool = False

    def holds_in(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether all of it holds at a later block too, where no certificate was anchored since.

        Not while anything waits or has run out: that is looked for each time. What is wrong stays
        wrong until somebody looks anew.
        """
        now = max(now, snapshot.block.time)
        own = [pair.certificate for pair in (self.host, self.client) if pair is not None]
        return (
            self.snapshot.authorities == snapshot.authorities
            and self.snapshot.devices == snapshot.devices
            and not (self.unconfirmed or self.waiting or self.pending)
            and all(now < certificate.valid_before for certificate in own)
            and (self.begins is None or now < self.begins)
        )
