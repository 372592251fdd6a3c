"""What a run of issuing did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.issuance.batch import JournaledBatch


@dataclass(frozen=True)
class Released:
    """A certificate that may be used.

    Attributes:
        file: Where it was written; None where no file was wanted.
    """

    batch: JournaledBatch
    serial: int
    file: Path | None


@dataclass(frozen=True)
class Outcome:
    """What issuing or resuming did.

    Attributes:
        issued: Certificates that were asked for now, anchored and handed out.
        finished: The same, of what an earlier run had left.
        void: Batches that became void on the way; their certificates are worth nothing.
        dropped: What was not signed again, and why.
        waiting: Batches that are complete and wait for the operator, elsewhere, to anchor them; by
            their serials.
        asked: Those of them that were asked for now.
    """

    issued: tuple[Released, ...]
    finished: tuple[Released, ...]
    void: tuple[JournaledBatch, ...]
    dropped: tuple[str, ...]
    waiting: tuple[JournaledBatch, ...] = ()
    asked: tuple[JournaledBatch, ...] = ()
