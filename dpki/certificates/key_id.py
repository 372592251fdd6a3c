"""Key ids: what sshd writes into its log at each login, so that it says who, by whom and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dpki.certificates.principals import verify_name
from dpki.errors import UsageError
from dpki.model import AuthorityId, DomainId

KEY_ID_PARTS = ("domain", "ca", "serial", "person", "reason")
"""Everything that a key id can say, in the order that is the default."""

_NECESSARY = ("serial", "person")
_REASON = re.compile(r"[A-Za-z0-9._\-:@+]{1,64}")


def key_id(
    domain: DomainId,
    ca: AuthorityId,
    serial: int,
    subject: str,
    reason: str = "",
    parts: Sequence[str] = KEY_ID_PARTS,
) -> str:
    """Return the key id: `<domain address>/<CA id, first 16 digits>/<serial>/<subject>#<reason>`.

    A principal may hold a slash but no `#`, so where the reason begins is never in doubt.

    Args:
        reason: Empty for none.
        parts: Which parts, in which order.

    Raises:
        InvalidPrincipal: The subject is not spelled like a principal.
        UsageError: The reason is misspelled.
    """
    values = {
        "domain": str(domain.address),
        "ca": ca.hex()[:16],
        "serial": str(serial),
        "person": verify_name(subject),
    }
    text = "/".join(values[part] for part in parts if part != "reason")
    return f"{text}#{verify_reason(reason)}" if reason and "reason" in parts else text


def reason_of(key_id: str) -> str:
    """Return the reason that a key id gives; empty for none."""
    return key_id.rpartition("#")[2] if "#" in key_id else ""


def verify_reason(reason: str) -> str:
    """Return the reason: 1 to 64 characters of `A-Z a-z 0-9 . _ - : @ +`, as in TICKET-17.

    Raises:
        UsageError: It is spelled otherwise. It gets into sshd's log, where a space or a line's end
            could look like something that sshd says.
    """
    if _REASON.fullmatch(reason) is None:
        raise UsageError(
            f"{reason[:80]!r} can't be a reason",
            hint="1 to 64 letters, digits, . _ - : @ and +, such as TICKET-17",
        )
    return reason


def verify_key_id_parts(parts: Sequence[str]) -> None:
    """Refuse a scheme by which a login could not be traced to one certificate and one person.

    Raises:
        UsageError: A part is unknown, given twice or missing, or the reason is not the last.
    """
    for part in parts:
        if part not in KEY_ID_PARTS or parts.count(part) > 1:
            raise UsageError(
                f"{part[:40]!r} is no part of a key id, or is given twice",
                hint="the parts are " + ", ".join(KEY_ID_PARTS),
            )
    for part in _NECESSARY:
        if part not in parts:
            raise UsageError(
                f"a key id without the {part} can't tell who logged in", hint=f"add {part}"
            )
    if "reason" in parts[:-1]:
        raise UsageError("the reason is the last part of a key id", hint="put reason at the end")
