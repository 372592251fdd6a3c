"""When what the chain says takes effect; the same three settings for admin and device."""

from __future__ import annotations

from dataclasses import dataclass

from dpki.config.toml import Table, Value


@dataclass(frozen=True)
class Finality:
    """When what the chain says takes effect.

    Attributes:
        confirmations: Blocks that a certificate's anchor needs, its own included.
        authority_finality: Block tag that a new CA must have reached.
        log_range: Most blocks that one search for events may span.
    """

    confirmations: int = 1
    authority_finality: str = "finalized"
    log_range: int = 10_000


def parse_finality(table: Table) -> Finality:
    """Take `confirmations`, `authority_finality` and `log_range`, and nothing else."""
    default = Finality()
    finality = Finality(
        confirmations=table.integer("confirmations", default.confirmations, minimum=1),
        authority_finality=table.text("authority_finality", default.authority_finality),
        log_range=table.integer("log_range", default.log_range, minimum=1),
    )
    table.close()
    if finality.authority_finality not in ("finalized", "safe", "latest"):
        raise table.error("authority_finality", "must be finalized, safe or latest")
    return finality


def dump_finality(finality: Finality) -> dict[str, Value]:
    """Return the keys that `parse_finality` reads."""
    return {
        "confirmations": finality.confirmations,
        "authority_finality": finality.authority_finality,
        "log_range": finality.log_range,
    }
