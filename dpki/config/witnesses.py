"""Whose word on a block counts besides the endpoints': the table `[witnesses]` of device.toml."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dpki.config.toml import Table, Value
from dpki.config.urls import verify_url
from dpki.errors import UsageError
from dpki.note import VerifierKey, verify_distinct

_NAMED = re.compile(r"(.+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44})=(.+)")
MAXIMUM = 32
"""Witnesses that anybody asks at once; nobody waits for more."""


@dataclass(frozen=True)
class Witness:
    """A witness, and where its checkpoints are.

    Attributes:
        source: An http or https URL, or the absolute path of a folder.
    """

    key: VerifierKey
    source: str

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Parse `<public key>=<URL or folder>`.

        Raises:
            UsageError: It does not read so.
            MalformedInput: The key is mistyped.
        """
        match = _NAMED.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text[:200]!r} does not name a witness and where its checkpoints are",
                hint="write KEY=URL or KEY=/folder; `dpki audit key` prints the witness's KEY",
            )
        key, source = VerifierKey.parse(match[1]), match[2]
        if not source.startswith("/"):
            verify_url(source)
        elif not source.isprintable():
            raise UsageError(f"{source[:120]!r} is not the path of a folder")
        return cls(key, source)

    def __str__(self) -> str:
        """Return the written form."""
        return f"{self.key}={self.source}"


class Mode(enum.Enum):
    """What witnesses are to the endpoints."""

    BESIDE = "beside"
    INSTEAD = "instead"


@dataclass(frozen=True)
class Witnesses:
    """Whose word counts, and how.

    Attributes:
        named: Who they are.
        needed: How many must have signed the very same checkpoint.
        mode: Whether they are asked beside endpoints that must agree, or instead of that.
    """

    named: tuple[Witness, ...]
    needed: int
    mode: Mode = Mode.BESIDE

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.needed} of {len(self.named)} witnesses"

    def signed(self, number: int) -> str:
        """Return in words that they signed a block."""
        return f"{self} signed block {number}"


def parse_named(texts: Iterable[str]) -> tuple[Witness, ...]:
    """Parse witnesses, each a key of its own.

    Raises:
        UsageError: One does not read as it should, or there are two of one key, or too many.
        MalformedInput: A key is mistyped.
    """
    named = tuple(Witness.parse(text) for text in texts)
    verify_distinct(witness.key for witness in named)
    if len(named) > MAXIMUM:
        raise UsageError(f"{len(named)} witnesses are named, and at most {MAXIMUM} are asked")
    return named


def parse_witnesses(table: Table) -> Witnesses | None:
    """Take `named`, `needed` and `mode`, and nothing else; None where the table is empty."""
    if not table.names():
        return None
    texts = table.texts("named")
    with table.blame("named"):
        named = parse_named(texts)
    needed = table.integer("needed", minimum=1)
    mode = table.text("mode", Mode.BESIDE.value)
    table.close()
    if needed > len(named):
        raise table.error(
            "needed",
            f"is {needed}, and only {len(named)} witnesses are named",
            hint="name more, or ask for fewer to have signed",
        )
    if mode not in [member.value for member in Mode]:
        raise table.error("mode", "must be beside or instead")
    return Witnesses(named, needed, Mode(mode))


def dump_witnesses(witnesses: Witnesses) -> dict[str, Value]:
    """Return the keys that `parse_witnesses` reads."""
    return {
        "named": [str(witness) for witness in witnesses.named],
        "needed": witnesses.needed,
        "mode": witnesses.mode.value,
    }
