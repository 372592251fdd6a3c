"""The one-time tokens that a home gave, and what became of each.

What is kept of a token is what its messages are checked and made with: whoever reads the journal
can ask in the place of devices that have not asked yet, and can't make the token itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from dpki.config.values import verify_name
from dpki.devices.token import TokenKeys
from dpki.errors import UsageError
from dpki.issuance.database import Database, Row
from dpki.issuance.selection import verify_labels
from dpki.model import Address, Hash32, from_timestamp, to_timestamp

_COLUMNS = "id, request_key, answer_key, name, labels, expires, device, request, block"


@dataclass(frozen=True)
class GivenToken:
    """A token that this home gave.

    Attributes:
        name: What its device is to be called.
        labels: What is to be remembered of it.
        device: The device that it is for since that asked; None before.
        request: SHA-256 of that device's request.
        block: Where it was enrolled; 0 where that was done before; None as long as it is not.
    """

    keys: TokenKeys
    name: str
    labels: Mapping[str, str] = field(hash=False)
    expires: datetime
    device: Address | None = None
    request: Hash32 | None = None
    block: int | None = None

    def state(self, now: datetime) -> str:
        """Return it in a word: `open`, `expired`, `asked` or `used`."""
        if self.block is not None:
            return "used"
        if self.device is not None:
            return "asked"
        return "expired" if now >= self.expires else "open"


class Tokens:
    """The tokens in an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: GivenToken, now: datetime) -> None:
        """Record a new token.

        Raises:
            UsageError: Another that is still open is for the same name, or name or labels are none.
        """
        verify_labels(token.labels)
        verify_name(token.name)
        with self._database.transaction():
            for other in self.all():
                if other.name == token.name and other.state(now) in ("open", "asked"):
                    raise UsageError(
                        f"there is an open token for the name {token.name}",
                        hint="cancel it, or choose another name: dpki device tokens",
                    )
            self._database.change(
                f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                token.keys.id,
                token.keys.request,
                token.keys.answer,
                token.name,
                json.dumps(dict(token.labels), sort_keys=True),
                to_timestamp(token.expires),
            )

    def all(self) -> tuple[GivenToken, ...]:
        """Return every token, in the order in which they expire."""
        return self._find("ORDER BY expires, id")

    def find(self, id: bytes) -> GivenToken | None:
        """Return a token; None for one that this home did not give."""
        return next(iter(self._find("WHERE id = ?", id)), None)

    def claim(self, id: bytes, device: Address, request: Hash32) -> None:
        """Bind a token to the device that came with it; the same again changes nothing.

        Raises:
            DpkiError: It is another device's, or was used (a trigger refuses).
        """
        self._database.change(
            "UPDATE tokens SET device = ?, request = ? WHERE id = ?",
            bytes(device),
            bytes(request),
            id,
        )

    def finish(self, id: bytes, block: int) -> None:
        """Record that its device is enrolled."""
        self._database.change("UPDATE tokens SET block = ? WHERE id = ?", block, id)

    def cancel(self, id: bytes, now: datetime) -> GivenToken:
        """Let a token that no device came with expire.

        Raises:
            UsageError: There is none, or a device came with it.
        """
        with self._database.transaction():
            token = self.find(id)
            if token is None:
                raise UsageError(
                    f"there is no token {id.hex()}", hint="see them with: dpki device tokens"
                )
            if token.device is not None:
                raise UsageError(
                    f"device {token.device} came with token {id.hex()} already",
                    hint="retire what should not have been enrolled: dpki device retire",
                )
            expires = min(token.expires, now)
            self._database.change(
                "UPDATE tokens SET expires = ? WHERE id = ?", to_timestamp(expires), id
            )
        return token

    def _find(self, where: str, *values: bytes) -> tuple[GivenToken, ...]:
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM tokens {where}", *values)
        with self._database.decoded():
            return tuple(_token(row) for row in rows)


def _token(row: Row) -> GivenToken:
    id, request_key, answer_key, name, labels, expires, device, request, block = row
    return GivenToken(
        TokenKeys(cast(bytes, id), cast(bytes, request_key), cast(bytes, answer_key)),
        cast(str, name),
        dict(json.loads(cast(str, labels))),
        from_timestamp(cast(int, expires)),
        None if device is None else Address(cast(bytes, device)),
        None if request is None else Hash32(cast(bytes, request)),
        cast(int | None, block),
    )
