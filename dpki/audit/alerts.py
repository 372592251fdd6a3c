"""What whoever watches a domain is told of, and in which words. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dpki.audit.occurrence import COUNCIL, Occurrence
from dpki.council.parameters import Role
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, Hash32

Expected = Callable[[AuthorityId, int, Hash32], bool]
"""Whether an issue was to be expected: by CA, serial and certificate hash."""


def anything(ca: AuthorityId, serial: int, hash: Hash32) -> bool:
    """Expect every issue."""
    return True


@dataclass(frozen=True)
class Alert:
    """Something that somebody should know.

    Attributes:
        id: The same for the same event, also after a reorganisation put it into another block.
        kind: In one word, for programs.
        text: For people.
        values: The event's, as plain data.
    """

    id: Hash32
    kind: str
    text: str
    block: int
    transaction: Hash32
    event: str
    values: Mapping[str, object]

    def to_json(self, domain: str) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "id": str(self.id),
            "domain": domain,
            "kind": self.kind,
            "text": self.text,
            "block": self.block,
            "transaction": str(self.transaction),
            "event": self.event,
            "values": dict(self.values),
        }


def alert_of(event: Occurrence, ordinal: int, expected: Expected = anything) -> Alert | None:
    """Return what an event is to be told as; None where it is nothing to tell.

    Args:
        ordinal: Which of its contract's events in the transaction it is.
        expected: Which issues nobody needs to be told of.
    """
    if event.certificate is not None:
        issued = event.certificate
        if expected(issued.ca, issued.serial, issued.entry.certificate_hash):
            return None
        text = (
            f"CA {issued.ca} issued serial {issued.serial}, which nobody here expected"
            f" (certificate {issued.entry.certificate_hash})"
        )
        values: dict[str, object] = {
            "ca": str(issued.ca),
            "serial": issued.serial,
            "certificateHash": str(issued.entry.certificate_hash),
            "device": str(issued.entry.device),
        }
        return _alert(event, ordinal, "unexpected-issue", text, values)
    told = _TOLD.get((event.contract, event.name))
    if told is None:
        return None
    kind, words = told
    text = words({name: _plain(value) for name, value in event.values.items()})
    return _alert(event, ordinal, kind, text, _json(event.values))


def _alert(
    event: Occurrence, ordinal: int, kind: str, text: str, values: Mapping[str, object]
) -> Alert:
    place, name = event.place, f"{event.contract}.{event.name}"
    made_of = place.transaction + event.address + ordinal.to_bytes(4)
    id = Hash32(hashlib.sha256(b"dpki alert v1" + made_of).digest())
    return Alert(id, kind, text, place.block, place.transaction, name, values)


def _json(values: Mapping[str, Any]) -> dict[str, object]:
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> object:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, dict):
        return _json(value)
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    return value


def _plain(value: Any) -> Any:
    """Return a value as it stands in a sentence: an address with its checksum, bytes in digits."""
    if isinstance(value, str) and len(value) == 42 and value.startswith("0x"):
        return Address.parse(value)
    return f"0x{value.hex()}" if isinstance(value, bytes) else value


def _registered(v: Mapping[str, Any]) -> str:
    kinds = {int(kind): kind.label for kind in AuthorityKind}
    return f"a new CA was registered: {v['ca']} ({kinds.get(v['kind'], v['kind'])})"


def _state(v: Mapping[str, Any]) -> str:
    labels = {int(state): state.label for state in AuthorityState}
    return f"CA {v['ca']} is {labels.get(v['to'], v['to'])} now, by {v['by']}"


def _revoker(v: Mapping[str, Any]) -> str:
    may = "may now revoke" if v["allowed"] else "may no longer revoke"
    return f"{v['revoker']} {may} certificates of CA {v['ca']}"


def _registrar(v: Mapping[str, Any]) -> str:
    may = "may now enrol" if v["allowed"] else "may no longer enrol"
    return f"{v['registrar']} {may} devices"


def _role(number: int) -> str:
    return next((role.name.lower() for role in Role if role == number), str(number))


_TOLD: Mapping[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    ("TrustDomain", "GovernorOffered"): (
        "governor-offered",
        lambda v: f"the governor offered its role to {v['offered']}",
    ),
    ("TrustDomain", "GovernorChanged"): (
        "governor",
        lambda v: f"{v['current']} governs now, {v['previous']} no longer does",
    ),
    ("TrustDomain", "GuardianChanged"): (
        "guardian",
        lambda v: f"the guardian is {v['current']} now, it was {v['previous']}",
    ),
    ("AuthorityRegistry", "AuthorityRegistered"): ("ca", _registered),
    ("CertificateRegistry", "OperatorChanged"): (
        "operator",
        lambda v: f"{v['current']} is the operator of CA {v['ca']} now, it was {v['previous']}",
    ),
    ("CertificateRegistry", "RevokerChanged"): ("revoker", _revoker),
    ("CertificateRegistry", "StateChanged"): ("state", _state),
    ("CertificateRegistry", "RevokedBelow"): (
        "watermark",
        lambda v: f"every serial of CA {v['ca']} below {v['serial']} was revoked, by {v['by']}",
    ),
    ("CertificateRegistry", "MaximumLifetimeChanged"): (
        "lifetime",
        lambda v: f"CA {v['ca']} may issue for {v['minutes_']} minutes now",
    ),
    ("DeviceRegistry", "RegistrarChanged"): ("registrar", _registrar),
    ("WatchdogRegistry", "WatchChanged"): (
        "watchdogs",
        lambda v: f"CA {v['ca']} has other watchdogs: {len(v['watchdogs'])} of them",
    ),
    ("WatchdogRegistry", "BatchObjected"): (
        "objection",
        lambda v: (
            f"watchdog {v['watchdog']} objects to the batch from {v['firstSerial']} of CA {v['ca']}"
        ),
    ),
    (COUNCIL, "MemberAdded"): (
        "member",
        lambda v: f"{v['account']} is a member of the council now ({_role(v['role'])})",
    ),
    (COUNCIL, "MemberRemoved"): (
        "member",
        lambda v: f"{v['account']} is no member of the council any more",
    ),
    (COUNCIL, "RoleChanged"): (
        "member",
        lambda v: (
            f"{v['account']} is {_role(v['current'])} in the council now, it was"
            f" {_role(v['previous'])}"
        ),
    ),
    (COUNCIL, "ParametersChanged"): ("parameters", lambda v: "the council's parameters changed"),
    (COUNCIL, "RoundOpened"): (
        "round",
        lambda v: f"{v['proposer']} opened round {v['round']} in the council",
    ),
}
