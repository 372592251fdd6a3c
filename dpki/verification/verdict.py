"""What a check can end in. "No" and "could not check" never look alike (claim T11)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dpki.chain.quorum import Evidence
from dpki.errors import CheckedFalse, CouldNotCheck
from dpki.model import AuthorityId, Block


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
    evidence: Evidence | None = None

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
