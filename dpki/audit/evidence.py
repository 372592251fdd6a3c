"""What an audit finds: a contradiction, with all that somebody needs to look at it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from dpki.errors import CheckedFalse
from dpki.model import Hash32

HINT = (
    "ask other RPC endpoints, with --quorum: if the contradiction stays, it is the chain's, and"
    " this domain must not be trusted until it is explained"
)


@dataclass(frozen=True)
class Contradiction:
    """Something that can't be, if the contracts are what they should be and the endpoints honest.

    Attributes:
        what: The rule, in words.
        block: The number of the block that it shows in.
        transaction: The transaction, where it is one's.
        event: The event, or whatever else was looked at.
        expected: What should have been there.
        found: What was.
    """

    what: str
    block: int
    transaction: Hash32 | None
    event: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Return it in a sentence."""
        where = f"block {self.block}"
        if self.transaction is not None:
            where += f", transaction {self.transaction}"
        return f"{self.what} ({where}, {self.event}): expected {self.expected}, found {self.found}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "what": self.what,
            "block": self.block,
            "transaction": None if self.transaction is None else str(self.transaction),
            "event": self.event,
            "expected": self.expected,
            "found": self.found,
        }


class HistoryContradicted(CheckedFalse):
    """A domain's history can't have come about by the rules, or does not lead to its state.

    Attributes:
        evidence: What contradicts what.
    """

    def __init__(self, evidence: Contradiction, *, hint: str = HINT) -> None:
        super().__init__(str(evidence), hint=hint)
        self.evidence = evidence

    def details(self) -> Mapping[str, object]:
        """Return the evidence, as plain data."""
        return {"contradiction": self.evidence.to_json()}


class Broken(Exception):
    """A rule is broken; whoever knows the place makes it a `HistoryContradicted`."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(what)
        self.what, self.expected, self.found = what, str(expected), str(found)


def require(holds: bool, what: str, expected: object, found: object) -> None:
    """Raise `Broken` unless the rule holds."""
    if not holds:
        broken(what, expected, found)


def broken(what: str, expected: object, found: object) -> NoReturn:
    """Raise `Broken`."""
    raise Broken(what, expected, found)
