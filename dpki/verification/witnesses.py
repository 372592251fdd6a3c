"""What witnesses said, judged: who agrees, who misbehaved, which block enough of them signed.

Judgement only, no network and no clock (claim T4). A witness counts with what it signed itself, and
not at all once two of its checkpoints contradict each other.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from dpki.errors import WrongContext
from dpki.model import DomainId, Hash32
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint, verify_checkpoint


@dataclass(frozen=True)
class Statement:
    """A checkpoint that one witness signed.

    Attributes:
        note: The bytes that show it.
    """

    key: VerifierKey
    checkpoint: Checkpoint
    note: bytes

    @classmethod
    def parse(cls, note: bytes, key: VerifierKey, domain: DomainId) -> Statement:
        """Check a note that should be this witness's, of this domain.

        Raises:
            MalformedInput: It is no signed note, or no checkpoint.
            SignatureInvalid: The witness did not sign it.
            WrongContext: It is another domain's.
        """
        checkpoint = verify_checkpoint(note, [key])
        if checkpoint.domain != domain:
            raise WrongContext(
                f"the checkpoint of {key.name} is of another trust domain, {checkpoint.domain}"
            )
        return cls(key, checkpoint, note)

    @property
    def digest(self) -> Hash32:
        """Of what was said; not of who else signed it."""
        return Hash32(sha256(str(self.checkpoint).encode()).digest())


@dataclass(frozen=True)
class Equivocation:
    """Two statements of one witness that contradict each other: the proof that it misbehaved."""

    first: Statement
    second: Statement

    def __str__(self) -> str:
        """Return what happened, in a sentence."""
        return (
            f"witness {self.first.key.name} signed two different checkpoints for block"
            f" {self.first.checkpoint.number}"
        )


def find_equivocations(statements: Iterable[Statement]) -> tuple[Equivocation, ...]:
    """Return a proof for each witness and block that there is one for."""
    first: dict[tuple[VerifierKey, DomainId, int], Statement] = {}
    found: dict[tuple[VerifierKey, DomainId, int], Equivocation] = {}
    for statement in statements:
        checkpoint = statement.checkpoint
        place = (statement.key, checkpoint.domain, checkpoint.number)
        earlier = first.setdefault(place, statement)
        if earlier.checkpoint.contradicts(checkpoint):
            found.setdefault(place, Equivocation(earlier, statement))
    return tuple(found.values())


def newest_agreed(statements: Iterable[Statement], needed: int) -> Checkpoint | None:
    """Return the newest checkpoint that at least `needed` witnesses signed, to the letter."""
    signers: dict[Checkpoint, set[VerifierKey]] = {}
    for statement in statements:
        signers.setdefault(statement.checkpoint, set()).add(statement.key)
    agreed = [checkpoint for checkpoint, keys in signers.items() if len(keys) >= needed]
    numbers = [checkpoint.number for checkpoint in agreed]
    if not numbers:
        return None
    newest = [checkpoint for checkpoint in agreed if checkpoint.number == max(numbers)]
    # Enough on either side: then nobody is believed, of this block or of an earlier one.
    return newest[0] if len(newest) == 1 else None


class Answer(enum.Enum):
    """What came of asking one witness."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    MISBEHAVED = "misbehaved"
    STALE = "stale"
    SILENT = "silent"


class Outcome(enum.Enum):
    """What came of asking all of them."""

    ALL_AGREE = "all agree"
    ALL_DISAGREE = "all disagree"
    MIXED = "mixed"
    SILENT = "silent"


@dataclass(frozen=True)
class Opinion:
    """What one witness said, compared with what we saw.

    Attributes:
        reason: Why it is this answer, in words; empty where there is nothing to add.
        statement: What it said, where it said something.
    """

    key: VerifierKey
    answer: Answer
    reason: str = ""
    statement: Statement | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as plain data; the evidence is in it where the witness disagrees."""
        checkpoint = None if self.statement is None else self.statement.checkpoint
        return {
            "witness": self.key.name,
            "key": str(self.key),
            "answer": self.answer.value,
            "reason": self.reason or None,
            "block": None if checkpoint is None else checkpoint.number,
            "block_hash": None if checkpoint is None else str(checkpoint.block_hash),
            "state_digest": None if checkpoint is None else str(checkpoint.state_digest),
            "note": None if self.statement is None else self.statement.note.decode(),
        }


@dataclass(frozen=True)
class Seen:
    """What we saw ourselves, to compare with.

    Attributes:
        hashes: Block hashes, by number.
        states: State digests that we recomputed, by block number.
        oldest: The number of the oldest block that is not stale.
    """

    hashes: Mapping[int, Hash32]
    states: Mapping[int, Hash32]
    oldest: int


def form_opinion(
    key: VerifierKey,
    statements: Sequence[Statement],
    seen: Seen,
    *,
    misbehaved: bool,
    silence: str,
) -> Opinion:
    """Compare what one witness said with what we saw.

    Whatever contradicts us counts; otherwise the newest statement that can be compared does, and
    one whose state we recomputed before all.

    Args:
        statements: This witness's.
        misbehaved: Whether it ever contradicted itself.
        silence: Why there are no statements, in words.
    """
    latest = max(statements, key=lambda s: s.checkpoint.number, default=None)
    if misbehaved:
        return Opinion(key, Answer.MISBEHAVED, "it contradicted itself", latest)
    for statement in statements:
        why = _contradiction(statement.checkpoint, seen)
        if why:
            return Opinion(key, Answer.DISAGREES, why, statement)
    comparable = [s for s in statements if s.checkpoint.number in seen.hashes]
    if not comparable:
        return Opinion(
            key, Answer.SILENT, silence or "it says nothing about blocks that we see", latest
        )
    best = max(comparable, key=lambda s: (s.checkpoint.number in seen.states, s.checkpoint.number))
    number = best.checkpoint.number
    if number in seen.states:
        return Opinion(key, Answer.AGREES, "on block and state", best)
    if number < seen.oldest:
        return Opinion(key, Answer.STALE, f"its newest checkpoint is of block {number}", best)
    return Opinion(key, Answer.AGREES, "on the block; nobody here recomputed the state", best)


def compare_with_each_other(opinions: Sequence[Opinion]) -> tuple[Opinion, ...]:
    """Return the opinions, in which those that agree with us and not with each other disagree.

    They can: where we recomputed no state, two witnesses may sign one block and two states.
    """
    said: dict[int, dict[Hash32, VerifierKey]] = {}
    for opinion in opinions:
        if opinion.answer is Answer.AGREES and opinion.statement is not None:
            checkpoint = opinion.statement.checkpoint
            said.setdefault(checkpoint.number, {})[checkpoint.state_digest] = opinion.key
    return tuple(_against_others(opinion, said) for opinion in opinions)


def _against_others(opinion: Opinion, said: Mapping[int, Mapping[Hash32, VerifierKey]]) -> Opinion:
    if opinion.answer is not Answer.AGREES or opinion.statement is None:
        return opinion
    checkpoint = opinion.statement.checkpoint
    others = [
        key.name
        for digest, key in said[checkpoint.number].items()
        if digest != checkpoint.state_digest
    ]
    if not others:
        return opinion
    why = f"of block {checkpoint.number} it signed another state than {', '.join(others)}"
    return Opinion(opinion.key, Answer.DISAGREES, why, opinion.statement)


def _contradiction(checkpoint: Checkpoint, seen: Seen) -> str:
    ours = seen.hashes.get(checkpoint.number)
    if ours is not None and ours != checkpoint.block_hash:
        return f"block {checkpoint.number} is {checkpoint.block_hash} to it, and {ours} to us"
    state = seen.states.get(checkpoint.number)
    if state is not None and state != checkpoint.state_digest:
        return (
            f"the state at block {checkpoint.number} is {checkpoint.state_digest} to it, and"
            f" {state} to us"
        )
    return ""


@dataclass(frozen=True)
class Confirmation:
    """What all of the witnesses say.

    Attributes:
        needed: How many must agree.
    """

    opinions: tuple[Opinion, ...]
    needed: int
    equivocations: tuple[Equivocation, ...] = ()

    def count(self, *answers: Answer) -> int:
        """Return how many answered so."""
        return sum(opinion.answer in answers for opinion in self.opinions)

    @property
    def outcome(self) -> Outcome:
        """What it comes to, in two words."""
        agree = self.count(Answer.AGREES)
        against = self.count(Answer.DISAGREES, Answer.MISBEHAVED)
        if agree and against:
            return Outcome.MIXED
        if against:
            return Outcome.ALL_DISAGREE
        return Outcome.ALL_AGREE if agree else Outcome.SILENT

    @property
    def exit_status(self) -> int:
        """0 where enough agree and none disagrees, 3 where one does, 5 where too few answered."""
        if self.count(Answer.DISAGREES, Answer.MISBEHAVED):
            return 3
        return 0 if self.count(Answer.AGREES) >= self.needed else 5

    def to_json(self) -> dict[str, object]:
        """Return it as plain data, with numbers that a program can act on."""
        return {
            "outcome": self.outcome.value,
            "needed": self.needed,
            "asked": len(self.opinions),
            **{answer.value: self.count(answer) for answer in Answer},
            "witnesses": [opinion.to_json() for opinion in self.opinions],
            "equivocations": [
                {
                    "said": str(proof),
                    "notes": [s.note.decode() for s in (proof.first, proof.second)],
                }
                for proof in self.equivocations
            ],
        }


def trusted(
    statements: Iterable[Statement], misbehaved: Collection[VerifierKey]
) -> tuple[Statement, ...]:
    """Return what was said by witnesses that never contradicted themselves."""
    return tuple(statement for statement in statements if statement.key not in misbehaved)
