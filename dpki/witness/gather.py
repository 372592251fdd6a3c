"""Asking witnesses: side by side, with one deadline for all of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from dpki.config.witnesses import Witness, Witnesses
from dpki.errors import CouldNotCheck, DpkiError
from dpki.http import Deadline, HttpClient
from dpki.model import DomainId
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint
from dpki.verification.witnesses import Equivocation, Statement, newest_agreed, trusted
from dpki.witness.archive import Archive
from dpki.witness.source import LATEST, CheckpointSource, open_source

DEADLINE = timedelta(seconds=20)
"""For all witnesses together, however many files each is asked for."""


@dataclass(frozen=True)
class Said:
    """What came of asking.

    Attributes:
        statements: What was said, checked, by all that were asked.
        silences: Why there is nothing of a witness, or not all.
        equivocations: Proofs against witnesses, earlier ones included.
    """

    statements: tuple[Statement, ...]
    silences: Mapping[VerifierKey, str] = field(default_factory=dict)
    equivocations: tuple[Equivocation, ...] = ()

    @property
    def misbehaved(self) -> frozenset[VerifierKey]:
        """Who contradicted itself."""
        return frozenset(proof.first.key for proof in self.equivocations)

    def agreed(self, needed: int) -> Checkpoint | None:
        """Return the newest checkpoint that so many witnesses signed that can be trusted."""
        return newest_agreed(trusted(self.statements, self.misbehaved), needed)

    def required(self, witnesses: Witnesses) -> Checkpoint:
        """Return the newest checkpoint that enough of the witnesses signed.

        Raises:
            CouldNotCheck: There is none; the message says why of each.
        """
        agreed = self.agreed(witnesses.needed)
        if agreed is None:
            reasons = [f"{key.name}: {silence}" for key, silence in self.silences.items()]
            reasons += [str(proof) for proof in self.equivocations]
            raise CouldNotCheck(
                "; ".join([f"there is no block that {witnesses} signed", *reasons]),
                hint="wait for the witnesses, or name more of them",
            )
        return agreed


class Round:
    """One round of questions to some witnesses about one domain.

    Args:
        sources: Where each witness's checkpoints are.
        archive: Where what they say is kept, and what convicts them found again.
        needed: How many must have signed the same.
        patience: For how long others are waited for once so many have; None for the deadline.
    """

    def __init__(
        self,
        sources: Mapping[VerifierKey, CheckpointSource],
        domain: DomainId,
        archive: Archive,
        deadline: Deadline,
        needed: int,
        patience: timedelta | None,
    ) -> None:
        self._sources = sources
        self._domain = domain
        self._archive = archive
        self._deadline = deadline
        self._needed = needed
        self._patience = patience
        self._said: dict[tuple[VerifierKey, bytes], Statement] = {}
        self._silences: dict[VerifierKey, str] = {}

    def ask(self, questions: Iterable[tuple[VerifierKey, str]]) -> None:
        """Ask for files, side by side, until all have answered or the deadline is over."""
        inbox: queue.SimpleQueue[tuple[VerifierKey, Statement | None, str]] = queue.SimpleQueue()

        def work(key: VerifierKey, which: str) -> None:
            statement, silence = None, "the question was not put"
            try:
                statement, silence = self._fetch(key, which)
            except DpkiError as error:
                silence = error.message
            finally:
                inbox.put((key, statement, silence))

        pending: dict[VerifierKey, int] = {}
        for key, which in questions:
            # A daemon: a name server that stalls must not hold up the end of the program.
            threading.Thread(target=work, args=(key, which), daemon=True).start()
            pending[key] = pending.get(key, 0) + 1
        over: Deadline | None = None
        while any(pending.values()):
            if over is None and self._patience is not None and self.has_agreed():
                over = Deadline(self._patience)
            left = self._deadline.remaining() + 0.5 if over is None else over.remaining()
            try:
                key, statement, silence = inbox.get(timeout=left)
            except queue.Empty:
                break
            pending[key] -= 1
            if statement is None:
                self._silences.setdefault(key, silence)
            else:
                self._said[key, statement.note] = statement
        for key, count in pending.items():
            if count:
                self._silences[key] = f"{self._sources[key].name} did not answer in time"

    def latest(self) -> dict[VerifierKey, int]:
        """Return the number of the newest block that each witness told of."""
        numbers: dict[VerifierKey, int] = {}
        for statement in self._said.values():
            number = statement.checkpoint.number
            numbers[statement.key] = max(numbers.get(statement.key, number), number)
        return numbers

    def has_agreed(self) -> bool:
        """Whether enough witnesses signed one checkpoint."""
        return newest_agreed(self._said.values(), self._needed) is not None

    def close(self) -> Said:
        """Keep what was said, and return it with all that convicts one of the witnesses.

        Raises:
            DpkiError: The disk refused.
        """
        statements = tuple(self._said.values())
        self._archive.keep(statements)
        proofs = self._archive.equivocations(self._sources, self._domain)
        return Said(statements, dict(self._silences), tuple(proofs))

    def _fetch(self, key: VerifierKey, which: str) -> tuple[Statement | None, str]:
        source = self._sources[key]
        note = source.fetch(self._domain, which, self._deadline)
        if note is None:
            return None, f"{source.name} has no checkpoint of this domain, or not of this block"
        statement = Statement.parse(note, key, self._domain)
        if which not in (LATEST, str(statement.checkpoint.number)):
            # It says what it says, and answers another question.
            return None, f"{source.name} shows a checkpoint of another block than {which}"
        return statement, ""


def gather(
    witnesses: Sequence[Witness],
    domain: DomainId,
    archive: Archive,
    *,
    needed: int,
    blocks: Iterable[int] = (),
    deadline: timedelta = DEADLINE,
    patience: timedelta | None = None,
    client: Callable[[], HttpClient] = HttpClient,
) -> Said:
    """Ask each witness for its newest checkpoint, then for one that enough of them signed.

    Where they have signed different blocks last, those that are ahead are asked about the blocks of
    those that are behind.

    Args:
        needed: How many are enough.
        blocks: Numbers of blocks to ask all of them about in any case.
        deadline: For everything.
        patience: For how long the others are waited for once enough have signed the same; None for
            the deadline.

    Raises:
        DpkiError: The disk refused to keep what was said.
    """
    shared = client()
    try:
        sources = {witness.key: open_source(witness.source, shared) for witness in witnesses}
        asking = Round(sources, domain, archive, Deadline(deadline), needed, patience)
        asking.ask([(key, which) for key in sources for which in (LATEST, *map(str, blocks))])
        latest = asking.latest()
        for number in sorted(set(latest.values()), reverse=True):
            behind = [key for key, newest in latest.items() if newest > number]
            if len(behind) + sum(newest == number for newest in latest.values()) < needed:
                continue
            asking.ask([(key, str(number)) for key in behind])
            if asking.has_agreed():
                break
        return asking.close()
    finally:
        shared.close()
