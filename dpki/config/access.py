"""The way in when certificates can't decide: the table `[access]` of device.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from dpki.config.durations import format_duration, parse_duration
from dpki.config.toml import Table, Value
from dpki.config.values import verify_break_glass
from dpki.model import AuthorityId


class Outage(enum.Enum):
    """What logging in does once the chain has been out of reach for longer than allowed."""

    CLOSED = "closed"
    OPEN = "open"


class Ending(enum.Enum):
    """Whose sessions end with the certificate that opened them."""

    GRANTED = "granted"
    """Those whose certificate says so, as `dpki ssh grant --end-sessions` makes it."""

    ALL = "all"


@dataclass(frozen=True)
class Access:
    """The way in when certificates can't decide.

    Attributes:
        break_glass: A public key line under no CA that may log in even then; None for none.
        console_access: The operator's word that the console can be reached instead.
        outage: What happens after `maximum_age` without the chain.
        maximum_age: How old the newest agreed block may get.
        authorities: What happens to users of single CAs instead.
        end_sessions: Whose sessions end with their certificate, revoked or expired.
    """

    break_glass: str | None = None
    console_access: bool = False
    outage: Outage = Outage.CLOSED
    maximum_age: timedelta = timedelta(hours=24)
    authorities: Mapping[AuthorityId, Outage] = field(default_factory=dict)
    end_sessions: Ending = Ending.GRANTED

    @property
    def can_close(self) -> bool:
        """Whether some CA's users, or all, are locked out by an outage."""
        return Outage.CLOSED in (self.outage, *self.authorities.values())


def parse_access(table: Table) -> Access:
    """Take the keys of the table, and nothing else."""
    default = Access()
    break_glass = (
        table.parsed("break_glass", verify_break_glass) if "break_glass" in table else None
    )
    outage = _outage(table, "outage", default.outage.value)
    ending = table.text("end_sessions", default.end_sessions.value)
    if ending not in [member.value for member in Ending]:
        raise table.error("end_sessions", "must be granted or all")
    access = Access(
        break_glass=break_glass,
        console_access=table.flag("console_access", default.console_access),
        outage=outage,
        maximum_age=table.parsed(
            "maximum_age", parse_duration, format_duration(default.maximum_age)
        ),
        authorities=_parse_outages(table.table("authorities")),
        end_sessions=Ending(ending),
    )
    table.close()
    if access.can_close and access.break_glass is None and not access.console_access:
        raise table.error(
            "outage",
            "is closed, and there would be no way in during an outage",
            hint="set access.break_glass to a public key, or access.console_access = true",
        )
    return access


def _parse_outages(table: Table) -> dict[AuthorityId, Outage]:
    outages = {}
    for text in table.names():
        with table.blame(text):
            authority = AuthorityId.parse(text)
        outages[authority] = _outage(table, text)
    return outages


def _outage(table: Table, key: str, default: str | None = None) -> Outage:
    text = table.text(key, default)
    if text not in [member.value for member in Outage]:
        raise table.error(key, "must be closed or open")
    return Outage(text)


def dump_access(access: Access) -> dict[str, Value]:
    """Return the keys that `parse_access` reads."""
    values: dict[str, Value] = {}
    if access.break_glass is not None:
        values["break_glass"] = access.break_glass
    values |= {
        "console_access": access.console_access,
        "outage": access.outage.value,
        "maximum_age": format_duration(access.maximum_age),
        "end_sessions": access.end_sessions.value,
        "authorities": {str(id): outage.value for id, outage in access.authorities.items()},
    }
    return values
