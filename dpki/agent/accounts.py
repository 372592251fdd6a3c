"""Files mode: who may use an account, as lines of `authorized_keys`. Pure.

Each line is a CA's key with the principals of its certificates that count there (sshd(8),
AUTHORIZED_KEYS FILE FORMAT: `cert-authority`, `principals`, `expiry-time`). `expiry-time` carries
the outage policy, by this machine's clock. Everything else that strict mode checks, nobody does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC

from dpki.agent.index import LoginIndex
from dpki.certificates.keys import public_key_line

_LINE = re.compile(r'cert-authority,principals="([^"]+)"(,[^ ]+) (\S+ \S+) \S+')


@dataclass(frozen=True)
class _Line:
    principals: tuple[str, ...]
    options: str
    key: str
    text: str


def account_files(index: LoginIndex) -> dict[str, bytes]:
    """Return each account's file by its name; an account without a file lets nobody in."""
    files: dict[str, bytes] = {}
    for account in sorted({access.account for access in index.access}):
        lines = []
        for authority in sorted(index.authorities, key=lambda a: a.id):
            principals = tuple(
                sorted(
                    access.principal
                    for access in index.access
                    if (access.account, access.authority) == (account, authority.id)
                )
            )
            # As in strict mode, a FIDO key's certificate says whether it wants a touch.
            options = ",no-touch-required"
            if authority.fresh_until is not None:
                until = authority.fresh_until.astimezone(UTC)
                options += f',expiry-time="{until:%Y%m%d%H%M%S}Z"'
            if principals:
                key = public_key_line(authority.key, f"dpki-{authority.id.hex()[:16]}")
                lines.append(_render(principals, options, key))
        if lines:
            files[account] = "".join(lines).encode()
    return files


def common_access(found: bytes, wanted: bytes) -> bytes:
    """Return what both files grant, as the wanted one spells it: nothing is added by it."""
    before = {line.key: set(line.principals) for line in _parse(found)}
    kept = []
    for line in _parse(wanted):
        principals = tuple(p for p in line.principals if p in before.get(line.key, ()))
        if principals:
            kept.append(_render(principals, line.options, line.text))
    return "".join(kept).encode()


def _render(principals: tuple[str, ...], options: str, key: str) -> str:
    return f'cert-authority,principals="{",".join(principals)}"{options} {key}\n'


def _parse(file: bytes) -> list[_Line]:
    lines = []
    for text in file.decode("utf-8", "replace").splitlines():
        if match := _LINE.fullmatch(text):
            key = text[match.start(3) :]
            lines.append(_Line(tuple(match[1].split(",")), match[2], match[3], key))
    return lines
