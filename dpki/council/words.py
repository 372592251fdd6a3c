"""What a call would do, in plain words: what people read before they vote. Pure.

Only calls that are understood to the last byte get a sentence; all others are shown as what they
are, and can't be signed offline.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from hashlib import sha256
from typing import Any

from dpki.certificates.keys import parse_public_key, ssh_blob
from dpki.council.parameters import Parameters, Role
from dpki.council.reading import parse_parameters
from dpki.council.threshold import Rule
from dpki.errors import DpkiError
from dpki.model import Address, AuthorityId, AuthorityKind
from dpki.transactions.abi import decode_call
from dpki.transactions.governed import GovernanceCall

_SECONDS = ("senior_after", "epoch", "attendance", "delay", "cooling", "longest")


@dataclass(frozen=True)
class Names:
    """What ids and accounts are called where the words are read.

    Attributes:
        contracts: Which contract is where; empty where nobody knows.
        parameters: Those that stand, so that only what changes is told; None where nobody knows.
    """

    authorities: Mapping[AuthorityId, str] = field(default_factory=dict)
    accounts: Mapping[Address, str] = field(default_factory=dict)
    contracts: Mapping[Address, str] = field(default_factory=dict)
    parameters: Parameters | None = None

    def ca(self, identifier: bytes) -> str:
        """Return a CA's name, or its id."""
        known = AuthorityId(identifier)
        return f"CA {self.authorities.get(known, known)}"

    def account(self, text: str) -> str:
        """Return an account, with its name if it has one."""
        address = Address.parse(text)
        name = self.accounts.get(address)
        return f"{address} ({name})" if name else str(address)


NAMELESS = Names()


def describe_call(call: GovernanceCall, names: Names = NAMELESS) -> str | None:
    """Return what a call would do, as a sentence without its end; None for one not understood."""
    decoded = decode_call(call.data)
    if decoded is None:
        return None
    function = decoded.function
    say = _SENTENCES.get(f"{function.contract}.{function.name}")
    if names.contracts and names.contracts.get(call.target) != function.contract:
        return None
    try:
        return None if say is None else say(decoded.values, names)
    except (DpkiError, ValueError, OverflowError):
        return None


def describe_calls(calls: Sequence[GovernanceCall], names: Names = NAMELESS) -> tuple[str, ...]:
    """Return a sentence for each call; one that is not understood says so."""
    return tuple(describe_call(call, names) or _unknown(call) for call in calls)


def is_understood(calls: Sequence[GovernanceCall]) -> bool:
    """Return whether every call has a sentence."""
    return all(describe_call(call) is not None for call in calls)


def _unknown(call: GovernanceCall) -> str:
    return (
        f"calls {call.target} with 0x{call.data[:4].hex()} and {max(0, len(call.data) - 4)} more"
        " bytes, which this version of dpki does not understand"
    )


def _registers(values: Mapping[str, Any], names: Names) -> str:
    kind, key = AuthorityKind(values["kind"]), values["publicKey"]
    label = {
        AuthorityKind.SSH_USER: "SSH user CA",
        AuthorityKind.SSH_HOST: "SSH host CA",
        AuthorityKind.TLS: "TLS CA",
    }[kind]
    known = names.authorities.get(AuthorityId(sha256(key).digest()))
    named = f"{known} " if known else ""
    after = f", to succeed {names.ca(values['parent'])}" if any(values["parent"]) else ""
    lifetime = spell(timedelta(minutes=values["maximumLifetime"]))
    return (
        f"registers {label} {named}{fingerprint(key)} for operator"
        f" {names.account(values['operator'])}, at most {lifetime}{after}"
    )


def spell(duration: timedelta) -> str:
    """Return a duration in the largest unit that divides it: 30 days, 1 hour."""
    seconds = int(duration.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "no time"


def fingerprint(spki: bytes) -> str:
    """Return a public key's fingerprint as `ssh-keygen -l` shows it.

    Raises:
        MalformedInput: It is no key that dpki knows.
    """
    digest = sha256(ssh_blob(parse_public_key(spki))).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _parameters(values: Mapping[str, Any], names: Names) -> str:
    given, before = parse_parameters(values["parameters_"]), names.parameters
    told = []
    for one in fields(Parameters):
        new = getattr(given, one.name)
        if before is None or getattr(before, one.name) != new:
            was = "" if before is None else f" (now {_readable(one.name, before)})"
            told.append(f"{one.name} {_readable(one.name, given)}{was}")
    if not told:
        return "sets the council's parameters to what they are"
    return f"changes the council's parameters: {'; '.join(told)}"


def _readable(name: str, parameters: Parameters) -> str:
    value = getattr(parameters, name)
    if name in _SECONDS:
        return spell(timedelta(seconds=value))
    if name in ("ordinary", "intermediate", "root"):
        return f"{value.initial} ({value.minimum} to {value.maximum})"
    if isinstance(value, Rule):
        return value.name.lower().replace("_", "-")
    return str(value)


def _unless_zero(text: str, some: str, none: str, names: Names) -> str:
    return none if not any(Address.parse(text)) else f"{some} {names.account(text)}"


def _watches(values: Mapping[str, Any], names: Names) -> str:
    watchdogs = values["watchdogs_"]
    named = ", ".join(names.account(one["account"]) for one in watchdogs)
    return (
        f"has {_count(len(watchdogs), 'watchdog')} confirm the batches of {names.ca(values['ca'])}"
        f" from its next serial on, for ever: {values['threshold']} of weight"
        f" {sum(one['weight'] for one in watchdogs)} ({named})"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _role(number: int) -> str:
    return Role(number).name.lower()


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any], Names], str]] = {
    "AuthorityRegistry.register": _registers,
    "CertificateRegistry.close": lambda v, n: (
        f"closes {n.ca(v['ca'])}: it issues no more, for ever"
    ),
    "CertificateRegistry.suspend": lambda v, n: (
        f"suspends {n.ca(v['ca'])}: nothing of it counts until it is lifted"
    ),
    "CertificateRegistry.lift": lambda v, n: f"lifts the suspension of {n.ca(v['ca'])}",
    "CertificateRegistry.retire": lambda v, n: (
        f"retires {n.ca(v['ca'])} and all that it issued, for ever"
    ),
    "CertificateRegistry.setOperator": lambda v, n: (
        f"makes {n.account(v['operator'])} the operator of {n.ca(v['ca'])}"
    ),
    "CertificateRegistry.setRevoker": lambda v, n: (
        f"{'lets' if v['allowed'] else 'no longer lets'} {n.account(v['revoker'])} revoke"
        f" certificates of {n.ca(v['ca'])}"
    ),
    "CertificateRegistry.setMaximumLifetime": lambda v, n: (
        f"limits later certificates of {n.ca(v['ca'])} to"
        f" {spell(timedelta(minutes=v['maximumLifetime']))}"
    ),
    "CertificateRegistry.revoke": lambda v, n: (
        f"revokes serial{'s' if len(v['serials']) > 1 else ''}"
        f" {', '.join(map(str, v['serials']))} of {n.ca(v['ca'])}, for ever"
    ),
    "CertificateRegistry.revokeBelow": lambda v, n: (
        f"revokes every serial below {v['serial']} of {n.ca(v['ca'])}, for ever"
    ),
    "DeviceRegistry.setRegistrar": lambda v, n: (
        f"{'lets' if v['allowed'] else 'no longer lets'} {n.account(v['registrar'])} enrol and"
        " retire devices"
    ),
    "WatchdogRegistry.setWatch": _watches,
    "TrustDomain.setGuardian": lambda v, n: _unless_zero(
        v["guardian_"], "names the guardian:", "leaves the domain without a guardian", n
    ),
    "TrustDomain.offerGovernor": lambda v, n: _unless_zero(
        v["offered"],
        "offers the governor's role to",
        "withdraws the offer of the governor's role",
        n,
    ),
    "TrustDomain.acceptGovernor": lambda _, __: "takes the governor's role of the domain",
    "RootCouncil.addMember": lambda v, n: (
        f"adds {n.account(v['account'])} to the council, as {_role(v['role'])}"
    ),
    "RootCouncil.removeMember": lambda v, n: f"removes {n.account(v['account'])} from the council",
    "RootCouncil.setRole": lambda v, n: (
        f"makes {n.account(v['account'])} {_role(v['role'])} in the council"
    ),
    "RootCouncil.setParameters": _parameters,
}
