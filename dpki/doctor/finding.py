"""What the doctor found: one part of the installation, looked at once."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError


class Level(enum.Enum):
    """How it stands; the value is what people and JSON read. Worst last but one (claim T11)."""

    OK = "ok"
    WARNING = "warning"
    COULD_NOT_CHECK = "could not check"
    PROBLEM = "problem"


_SEVERITY = list(Level)

AS_ROOT = "run it as root, or as the user that owns it: sudo dpki doctor"


@dataclass(frozen=True)
class Finding:
    """One part.

    Attributes:
        part: What was looked at.
        level: How it stands.
        said: What was found, one sentence.
        where: Where it was looked for; empty where there is no place.
        mend: The command, or the step, that mends it; empty where nothing is to be mended.
    """

    part: str
    level: Level
    said: str
    where: str = ""
    mend: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the finding as plain data."""
        return {
            "part": self.part,
            "level": self.level.value,
            "said": self.said,
            "where": self.where,
            "mend": self.mend,
        }

    def lines(self) -> list[str]:
        """Return the finding for people."""
        where = f"  [{self.where}]" if self.where else ""
        first = f"{self.level.value:15}  {self.part}: {self.said}{where}"
        return [first, *([f"{'':15}  mend: {self.mend}"] if self.mend else [])]


def worst(findings: Sequence[Finding]) -> Level:
    """Return how the whole stands."""
    return max((f.level for f in findings), key=_SEVERITY.index, default=Level.OK)


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 3 when a problem was found, 5 when something could not be checked, else 0."""
    statuses = {
        Level.PROBLEM: CheckedFalse.exit_status,
        Level.COULD_NOT_CHECK: CouldNotCheck.exit_status,
    }
    return statuses.get(worst(findings), 0)


def from_error(part: str, error: DpkiError, *, where: str = "", mend: str = "") -> Finding:
    """Return the finding for an error; what could not be checked stays that."""
    if isinstance(error.__cause__, PermissionError):
        return Finding(part, Level.COULD_NOT_CHECK, error.message, where, AS_ROOT)
    level = Level.COULD_NOT_CHECK if isinstance(error, CouldNotCheck) else Level.PROBLEM
    return Finding(part, level, error.message, where, mend or error.hint)


def attempt(part: str, look: Callable[[], str], *, where: str = "", mend: str = "") -> Finding:
    """Look at one part; the finding is what `look` says, or the error that it raises."""
    try:
        return Finding(part, Level.OK, look(), where)
    except DpkiError as error:
        return from_error(part, error, where=where, mend=mend)
