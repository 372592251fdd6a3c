"""What a device tells and is told of beside the chain: `[acknowledge]` and `[doorbell]`.

Each of its trust domains has admins of its own, who are told apart; the doorbell is the device's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpki.bundle.seal import SealingKeys
from dpki.config.toml import Table, Value
from dpki.errors import MalformedInput, UsageError

BROKER = "broker"
"""Stands for the broker of the table `[broker]`."""


@dataclass(frozen=True)
class Acknowledge:
    """Where a device says what it has installed.

    Attributes:
        to: `broker`, or the absolute path of a folder: for a medium, or to be looked at over SSH.
        key: The X25519 public key of the home that collects it, 32 bytes.
    """

    to: str
    key: bytes


@dataclass(frozen=True)
class News:
    """Both tables.

    Attributes:
        acknowledge: None for a device that says nothing.
        doorbell: Whether the broker may hint that there is something to look at; the first
            domain's says it for all.
    """

    acknowledge: Acknowledge | None = None
    doorbell: bool = False


def parse_acknowledge(domain: Table, *, has_broker: bool) -> Acknowledge | None:
    """Take the table `acknowledge` from a trust domain's."""
    table = domain.table("acknowledge")
    if not table.names():
        return None
    said = Acknowledge(table.parsed("to", _parse_place), table.parsed("key", parse_reader))
    table.close()
    if said.to == BROKER and not has_broker:
        raise table.error("to", "is the broker, and the table [broker] is missing")
    return said


def parse_news(top: Table, *, has_broker: bool) -> News:
    """Take the tables `acknowledge` and `doorbell` from the whole file's."""
    said, doorbell = parse_acknowledge(top, has_broker=has_broker), top.table("doorbell")
    listens = doorbell.flag("listen", default=False)
    doorbell.close()
    if listens and not has_broker:
        raise doorbell.error("listen", "is true, and the table [broker] is missing")
    return News(said, listens)


def dump_news(news: News) -> dict[str, Value]:
    """Return the tables that `parse_news` reads."""
    tables: dict[str, Value] = {}
    if news.acknowledge is not None:
        tables["acknowledge"] = {
            "to": news.acknowledge.to,
            "key": f"0x{news.acknowledge.key.hex()}",
        }
    if news.doorbell:
        tables["doorbell"] = {"listen": True}
    return tables


def parse_reader(text: str) -> bytes:
    """Parse the public key of whoever collects acknowledgements: 0x and 64 hexadecimal digits.

    Raises:
        UsageError: It is no usable key.
    """
    if not re.fullmatch(r"0x[0-9a-f]{64}", text):
        raise UsageError(
            "this is no key to seal for", hint="it is printed by: dpki device collect-key"
        )
    try:
        return SealingKeys(bytes.fromhex(text[2:])).x25519
    except MalformedInput as error:
        raise UsageError(error.message) from error


def _parse_place(text: str) -> str:
    if text != BROKER and not (text.startswith("/") and text.isprintable()):
        raise UsageError(
            f"{text[:120]!r} is neither broker nor an absolute path",
            hint="for an admin who comes by SSH, name a folder and have it looked at there",
        )
    return text
