"""Principals: the names that an SSH certificate speaks for (claim T9).

An empty list means "everybody" to OpenSSH, a comma splits one name into two in its option syntax,
and a wildcard matches more than was meant. None of them ever gets into a certificate, nor out of
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dpki.errors import InvalidPrincipal
from dpki.model import Address

MAXIMUM_PRINCIPALS = 64
"""Names in one certificate, at most (OpenSSH itself stops at 256)."""

_PRINCIPAL = re.compile(r"[A-Za-z0-9._\-:@/+]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9._\-:@/+*]{1,128}")
_ON_DEVICE = re.compile(r"[^@]+@device:0x[0-9a-f]{40}")
_HINT = "1 to 128 characters of A-Z a-z 0-9 . _ - : @ / +"


def verify_principals(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, in their order, when all of them are principals.

    Raises:
        InvalidPrincipal: There is none, there are more than 64, one occurs twice, or one is not 1
            to 128 characters of `A-Z a-z 0-9 . _ - : @ / +`.
    """
    if isinstance(names, str):
        # A string is an iterable of its letters: "root" would become r, o, o, t.
        raise InvalidPrincipal("principals must be a list of names, not one text", hint=_HINT)
    checked: list[str] = []
    for name in names:
        verify_name(name)
        if name in checked:
            raise InvalidPrincipal(
                f"principal {name!r} is given twice", hint="name each principal once"
            )
        checked.append(name)
        if len(checked) > MAXIMUM_PRINCIPALS:
            raise InvalidPrincipal(
                f"a certificate has at most {MAXIMUM_PRINCIPALS} principals",
                hint="use one principal for the role instead of one for each account",
            )
    if not checked:
        raise InvalidPrincipal(
            "a certificate without principals would be valid for every account",
            hint="name at least one principal",
        )
    return tuple(checked)


def verify_name(name: str) -> str:
    """Return the name when it is spelled like a principal.

    Raises:
        InvalidPrincipal: It is not 1 to 128 characters of `A-Z a-z 0-9 . _ - : @ / +`.
    """
    if _PRINCIPAL.fullmatch(name) is None:
        raise InvalidPrincipal(f"{name[:140]!r} is not a principal", hint=_HINT)
    return name


def verify_pattern(pattern: str) -> str:
    """Return the pattern: a principal in which `*` may stand for any characters, or none.

    Raises:
        InvalidPrincipal: It holds something else, or nothing.
    """
    if _PATTERN.fullmatch(pattern) is None:
        raise InvalidPrincipal(
            f"{pattern[:140]!r} is not a pattern of principals", hint=f"{_HINT}, and *"
        )
    return pattern


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches the whole name, in time linear in its length."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *middle, last = others
    if not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return position <= end


def device_principal(address: Address) -> str:
    """Return the principal that names one device: `device:0x` and 40 lower-case digits."""
    return f"device:0x{address.hex()}"


def account_principal(account: str, device: Address) -> str:
    """Return the principal that opens one account on one device: `ops@device:0x…`."""
    return f"{account}@{device_principal(device)}"


def is_account_principal(name: str) -> bool:
    """Return whether a principal opens one account on one device."""
    return _ON_DEVICE.fullmatch(name) is not None
