"""What a check can end in. "No" and "could not check" never look alike (claim T11)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dpki.chain.quorum import Evidence
from dpki.errors import CheckedFalse, CouldNotCheck
from dpki.model import AuthorityId, Block, Hash32


class Verdict(enum.Enum):
    """The outcome of checking one certificate at one block; the value is what people read."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    SUSPENDED = "suspended"
    NOT_ANCHORED = "not anchored"
    REFUSED = "refused"
    """A rule that every certificate must meet is broken: signature, kind, principals, validity."""
    UNKNOWN = "unknown"
    """Signed by a key that is no CA of this domain."""
    COULD_NOT_CHECK = "could not check"


@dataclass(frozen=True)
class CheckpointEvidence:
    """What stands behind a proof that was checked without a network.

    Attributes:
        block_hash: Of the block whose state was proven.
        witnesses: Who signed that this block is the chain's; empty where whoever checks says so.
        known: How many witnesses whoever checks knows.
    """

    block_hash: Hash32
    witnesses: tuple[str, ...] = ()
    known: int = 0

    level = "checkpoint"
    """As `Evidence.level`."""

    aside = ()
    """As `Evidence.aside`: no endpoint was asked."""

    def __str__(self) -> str:
        """Return it in words."""
        by = (
            f"{len(self.witnesses)} of {self.known} witnesses vouch ({', '.join(self.witnesses)})"
            if self.witnesses
            else "you vouch yourself"
        )
        return f"checkpoint: proven, without a network, for block {self.block_hash}, for which {by}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "level": self.level,
            "said": str(self),
            "block_hash": str(self.block_hash),
            "witnesses": list(self.witnesses),
            "witnesses_known": self.known,
        }


@dataclass(frozen=True)
class Finding:
    """A verdict, the one reason for it, and what it was found from.

    Attributes:
        reason: One sentence for people.
        authority: The CA, where the certificate names one of the domain.
        serial: The certificate's serial, where it could be parsed.
        block: The block whose state was judged; None where the chain could not be read.
        evidence: What stands behind that block and its state; None where nothing was read.
    """

    verdict: Verdict
    reason: str
    authority: AuthorityId | None = None
    serial: int | None = None
    block: Block | None = None
    evidence: Evidence | CheckpointEvidence | None = None

    @property
    def exit_status(self) -> int:
        """0 valid, 5 could not check, 3 everything else."""
        if self.verdict is Verdict.VALID:
            return 0
        if self.verdict is Verdict.COULD_NOT_CHECK:
            return CouldNotCheck.exit_status
        return CheckedFalse.exit_status

    def to_json(self) -> dict[str, object]:
        """Return the finding as plain data for `--json`."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "authority": None if self.authority is None else str(self.authority),
            "serial": self.serial,
            "block": None
            if self.block is None
            else {
                "number": self.block.number,
                "hash": str(self.block.hash),
                "time": self.block.time.isoformat(),
            },
            "evidence": None if self.evidence is None else self.evidence.to_json(),
        }
