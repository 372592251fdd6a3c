"""What an event says that somebody did, and what the rules of several contracts share. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dpki.audit.evidence import broken
from dpki.audit.occurrence import Occurrence
from dpki.audit.state import Authority, State
from dpki.model import Address, AuthorityId

Word = TypeVar("Word", bound=enum.IntEnum)


@dataclass(frozen=True)
class Act:
    """What somebody has to have called for an event to come about.

    Attributes:
        caller: Who has to have made the call.
        functions: One of which functions of the event's contract.
        argument: What the call's first word has to be; None where it does not matter.
    """

    occurrence: Occurrence
    caller: Address
    functions: tuple[str, ...]
    argument: bytes | None = None


def find_authority(state: State, values: Mapping[str, Any]) -> Authority:
    """Return the CA that an event names.

    Raises:
        Broken: There is none.
    """
    ca = AuthorityId(values["ca"])
    found = state.authorities.get(ca)
    if found is None:
        broken("an event names a registered CA", "a registered CA", ca)
    return found


def read_word(kind: type[Word], number: int, what: str) -> Word:
    """Return the word that a number stands for.

    Raises:
        Broken: There is none.
    """
    try:
        return kind(number)
    except ValueError:
        broken(what, f"one of {', '.join(str(int(word)) for word in kind)}", number)
