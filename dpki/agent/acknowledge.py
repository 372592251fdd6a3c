"""Saying what was installed: when there is something new, in one file, until it is left somewhere.

The file holds the message as it is sent, and is written before anything is sent: killed at any
instruction, the agent never says two things under one number. The numbers rise by the clock's
seconds, so that a device that lost this file is believed again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dpki.agent.follow import folder_of
from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.config.device import DeviceConfig
from dpki.devices.acknowledgement import SEALED_LIMIT, Statement, make_acknowledgement
from dpki.devices.keys import DeviceKeys
from dpki.errors import DpkiError, MalformedInput
from dpki.files import load_bounded, write_atomic
from dpki.model import Address, Hash32, from_timestamp, to_timestamp
from dpki.transport.base import Kind, Topic
from dpki.transport.connect import open_transport

FILE_NAME = "acknowledgement.cbor"

AGAIN = timedelta(days=1)
"""After which the last one is left once more: brokers forget, media are lost."""

_DEADLINE = timedelta(seconds=20)
_WHAT = "kept acknowledgement"
_FIELDS = {
    "v": int,
    "device": bytes,
    "sequence": int,
    "block": int,
    "facts": bytes,
    "place": str,
    "message": bytes,
    "left": int,
}


@dataclass(frozen=True)
class Kept:
    """The last acknowledgement.

    Attributes:
        facts: Digest of what it says, and to whom.
        place: Where it is to be left.
        message: Signed and sealed.
        left: When it was left there last; None before that.
    """

    device: Address
    sequence: int
    block: int
    facts: Hash32
    place: str
    message: bytes
    left: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be left, for the first time or again."""
        return self.left is None or not timedelta() <= now - self.left < AGAIN

    def __str__(self) -> str:
        """Return it in words."""
        left = "waits to be left"
        if self.left is not None:
            left = f"left on {self.left:%Y-%m-%d %H:%M} UTC"
        return f"number {self.sequence}, of block {self.block}, {left}"


def acknowledge(
    directory: Path, config: DeviceConfig, keys: DeviceKeys, statement: Statement, now: datetime
) -> None:
    """Keep an acknowledgement to be left, where it says something new.

    Args:
        directory: What the agent remembers of the trust domain lies there.
        config: As that domain sees it.
        statement: Its sequence is of no account.

    Raises:
        DpkiError: It could not be written.
    """
    told = config.news.acknowledge
    if told is None:
        return
    kept = load_kept_acknowledgement(directory)
    facts = _facts(statement, told.to, told.key)
    if kept is not None and kept.facts == facts:
        return
    sequence = max(to_timestamp(now), 0 if kept is None else kept.sequence + 1)
    message = make_acknowledgement(keys, replace(statement, sequence=sequence), told.key)
    save_kept(directory, Kept(keys.address, sequence, statement.block, facts, told.to, message))


def leave(directory: Path, config: DeviceConfig, now: datetime) -> bool:
    """Leave the acknowledgement where it belongs, if it is due; return whether it was.

    Raises:
        DpkiError: It could not be left, and stays due.
    """
    told, kept = config.news.acknowledge, load_kept_acknowledgement(directory)
    if told is None or kept is None or kept.place != told.to or not kept.is_due(now):
        return False
    transport = open_transport(told.to, config.broker)
    transport.send(Topic(Kind.ACKNOWLEDGEMENT, kept.device), kept.message, _DEADLINE)
    # Something newer may have come meanwhile, which is still to be left.
    if load_kept_acknowledgement(directory) == kept:
        save_kept(directory, replace(kept, left=now.astimezone(UTC)))
    return True


def leave_each(directory: Path, config: DeviceConfig, now: datetime) -> tuple[str, ...]:
    """Leave what is due for each trust domain; return for which there was something.

    Args:
        directory: The agent's folder.

    Raises:
        DpkiError: Something could not be left, and stays due; the others were.
    """
    left: list[str] = []
    failures: dict[str, DpkiError] = {}
    for name, each in config.each().items():
        try:
            if leave(folder_of(directory, name), each, now):
                left.append(name)
        except DpkiError as error:
            failures[name] = error
    if len(failures) > 1:
        said = "; ".join(f"{name}: {error.message}" for name, error in failures.items())
        raise DpkiError(said, hint="they stay due, and are tried again")
    for failure in failures.values():
        raise failure
    return tuple(left)


def load_kept_acknowledgement(directory: Path) -> Kept | None:
    """Return the last acknowledgement; None where there is none, or a damaged one: it is made anew.

    Raises:
        DpkiError: It can't be read.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        return parse_kept_acknowledgement(load_bounded(path, limit=2 * SEALED_LIMIT))
    except MalformedInput:
        return None


def save_kept(directory: Path, kept: Kept) -> None:
    """Replace the file.

    Raises:
        DpkiError: It could not be written.
    """
    write_atomic(directory / FILE_NAME, encode_kept_acknowledgement(kept))


def encode_kept_acknowledgement(kept: Kept) -> bytes:
    """Return the file's bytes."""
    return dumps(
        {
            "v": 1,
            "device": bytes(kept.device),
            "sequence": kept.sequence,
            "block": kept.block,
            "facts": bytes(kept.facts),
            "place": kept.place,
            "message": kept.message,
            "left": 0 if kept.left is None else to_timestamp(kept.left),
        }
    )


def parse_kept_acknowledgement(data: bytes) -> Kept:
    """Parse the file.

    Raises:
        MalformedInput: It is anything else than what `encode_kept_acknowledgement` writes.
    """
    value = loads_strict(data, 2 * SEALED_LIMIT)
    verify_version(value, _WHAT, 1)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    try:
        left = from_timestamp(fields["left"]) if fields["left"] else None
    except (OverflowError, ValueError, OSError) as error:
        raise MalformedInput("the kept acknowledgement's time is none") from error
    return Kept(
        device=Address(fields["device"]),
        sequence=fields["sequence"],
        block=fields["block"],
        facts=Hash32(fields["facts"]),
        place=fields["place"],
        message=fields["message"],
        left=left,
    )


def _facts(statement: Statement, place: str, key: bytes) -> Hash32:
    """Return what changes when there is something to say: not with each block."""
    still = replace(statement, sequence=1, block=0, block_hash=Hash32.zero())
    return Hash32(hashlib.sha256(still.digest + key + place.encode()).digest())
