"""When what the chain says takes effect; the same settings for admin and device."""

from __future__ import annotations

from dataclasses import dataclass

from dpki.config.toml import Table, Value


@dataclass(frozen=True)
class Finality:
    """When what the chain says takes effect.

    Attributes:
        confirmations: Blocks that a certificate's anchor needs, its own included.
        authority_finality: Block tag that a new CA must have reached.
    """

    confirmations: int = 1
    authority_finality: str = "finalized"


def parse_finality(table: Table) -> Finality:
    """Take `confirmations` and `authority_finality`, and nothing else."""
    default = Finality()
    finality = Finality(
        confirmations=table.integer("confirmations", default.confirmations, minimum=1),
        authority_finality=table.text("authority_finality", default.authority_finality),
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
    }
