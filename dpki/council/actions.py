"""Actions as people type them, in the commands' own words: `ca close users`, and the like.

What a round may hold is the contract's business (`effectOf`); here are the words for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from dpki.config.durations import parse_duration
from dpki.council.parameters import Parameters, Role
from dpki.council.reading import COUNCIL, dump_parameters
from dpki.errors import MalformedInput, UsageError
from dpki.model import Address, AuthorityId
from dpki.transactions.actions import DomainCalls
from dpki.transactions.calls import encode_call
from dpki.transactions.governed import GovernanceCall

_REMOVE = "--remove"
_BELOW = "--below"
_NOBODY = "none"
_LONGEST = 16_384


@dataclass(frozen=True)
class Speaker:
    """Turns words into calls.

    Attributes:
        calls: The domain's actions.
        council: The council, for what it decides about itself.
        find_ca: Returns the CA of a name or id; raises UsageError.
        load_parameters: Returns a council's parameters from a file; raises UsageError.
    """

    calls: DomainCalls
    council: Address
    find_ca: Callable[[str], AuthorityId]
    load_parameters: Callable[[str], Parameters]

    def parse(self, text: str) -> GovernanceCall:
        """Return the call that an action means.

        Raises:
            UsageError: No action reads like this.
        """
        if len(text) > _LONGEST:
            raise UsageError(f"an action of {len(text)} characters is too long")
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{text[:80]!r} is not quoted well") from error
        said = _SAYINGS.get(tuple(words[:2]))
        if said is None:
            raise UsageError(f"no action reads {text[:80]!r}", hint=f"one of: {vocabulary()}")
        pattern, make = said
        try:
            return make(self, words[2:])
        except (IndexError, MalformedInput) as error:
            raise UsageError(
                f"{text[:80]!r} is incomplete or misspelled",
                hint=f"it reads: {' '.join(words[:2])} {pattern}",
            ) from error

    def own(self, function: str, *arguments: object) -> GovernanceCall:
        """Return a call of the council on itself."""
        return GovernanceCall(self.council, encode_call(COUNCIL, function, *arguments))


def vocabulary() -> str:
    """Return all actions, for a hint."""
    return "; ".join(f"{' '.join(words)} {pattern}" for words, (pattern, _) in _SAYINGS.items())


def parse_role(text: str) -> Role:
    """Return a role by its word.

    Raises:
        UsageError: There is no such role.
    """
    roles = {role.name.lower(): role for role in Role if role is not Role.NONE}
    if text not in roles:
        raise UsageError(f"{text[:40]!r} is no role", hint=f"one of: {', '.join(roles)}")
    return roles[text]


def _exactly(words: list[str], count: int, *, flag: str = "") -> bool:
    """Return whether the flag is among the words, which are as many as that besides."""
    has = bool(flag) and flag in words
    if len(words) - has != count:
        raise IndexError
    if has:
        words.remove(flag)
    return has


def _of_ca(name: str) -> Callable[[Speaker, list[str]], GovernanceCall]:
    def make(speaker: Speaker, words: list[str]) -> GovernanceCall:
        _exactly(words, 1)
        call: GovernanceCall = getattr(speaker.calls, name)(speaker.find_ca(words[0]))
        return call

    return make


def _operator(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 2)
    return speaker.calls.set_operator(speaker.find_ca(words[0]), Address.parse(words[1]))


def _revoker(speaker: Speaker, words: list[str]) -> GovernanceCall:
    remove = _exactly(words, 2, flag=_REMOVE)
    account = Address.parse(words[1])
    return speaker.calls.set_revoker(speaker.find_ca(words[0]), account, allowed=not remove)


def _lifetime(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 2)
    return speaker.calls.set_maximum_lifetime(speaker.find_ca(words[0]), parse_duration(words[1]))


def _revoke(speaker: Speaker, words: list[str]) -> GovernanceCall:
    ca, *rest = words
    if rest[0] == _BELOW:
        _exactly(rest, 2)
        return speaker.calls.revoke_below(speaker.find_ca(ca), _serial(rest[1]))
    return speaker.calls.revoke(speaker.find_ca(ca), [_serial(word) for word in rest])


def _serial(word: str) -> int:
    if not word.isdecimal() or len(word) > 10:
        raise UsageError(f"{word[:40]!r} is no serial", hint="serials are numbers from 1 on")
    return int(word)


def _governor(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 1)
    if words[0] == "--accept":
        return speaker.calls.accept_governor()
    withdraws = words[0] == "--withdraw"
    return speaker.calls.offer_governor(Address.zero() if withdraws else Address.parse(words[0]))


def _guardian(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 1)
    nobody = words[0] == _NOBODY
    return speaker.calls.set_guardian(Address.zero() if nobody else Address.parse(words[0]))


def _registrar(speaker: Speaker, words: list[str]) -> GovernanceCall:
    remove = _exactly(words, 1, flag=_REMOVE)
    return speaker.calls.set_registrar(Address.parse(words[0]), allowed=not remove)


def _add(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 2)
    return speaker.own("addMember", str(Address.parse(words[0])), int(parse_role(words[1])))


def _role(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 2)
    return speaker.own("setRole", str(Address.parse(words[0])), int(parse_role(words[1])))


def _remove(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 1)
    return speaker.own("removeMember", str(Address.parse(words[0])))


def _parameters(speaker: Speaker, words: list[str]) -> GovernanceCall:
    _exactly(words, 1)
    return speaker.own("setParameters", dump_parameters(speaker.load_parameters(words[0])))


_SAYINGS: dict[tuple[str, ...], tuple[str, Callable[[Speaker, list[str]], GovernanceCall]]] = {
    ("ca", "close"): ("CA", _of_ca("close")),
    ("ca", "suspend"): ("CA", _of_ca("suspend")),
    ("ca", "lift"): ("CA", _of_ca("lift")),
    ("ca", "retire"): ("CA", _of_ca("retire")),
    ("ca", "operator"): ("CA ADDRESS", _operator),
    ("ca", "revoker"): ("CA ADDRESS [--remove]", _revoker),
    ("ca", "lifetime"): ("CA TIME", _lifetime),
    ("ssh", "revoke"): ("CA SERIAL… | CA --below SERIAL", _revoke),
    ("domain", "governor"): ("ADDRESS | --withdraw | --accept", _governor),
    ("domain", "guardian"): ("ADDRESS | none", _guardian),
    ("domain", "registrar"): ("ADDRESS [--remove]", _registrar),
    ("council", "add"): ("ADDRESS ROLE", _add),
    ("council", "role"): ("ADDRESS ROLE", _role),
    ("council", "remove"): ("ADDRESS", _remove),
    ("council", "parameters"): ("FILE", _parameters),
}
