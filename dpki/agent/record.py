"""What the agent remembers of its own files, and what somebody had brought back (docs/formats.md).

Both lie beside the files that they speak of, and are nothing that sshd reads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from dpki.agent.rotation import Pair
from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.errors import DpkiError, MalformedInput
from dpki.files import load_bounded
from dpki.model import from_timestamp, to_timestamp

_VERSION = 1
_LIMIT = 1 << 20
_ABSENT = b""
_NAME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Record:
    """What was done last.

    Attributes:
        told: Digest of the drop-in that sshd was last told to read; empty for none.
        pairs: The installed host pairs, the best first.
        files: Digests of what we wrote, by name: of a run that was broken off, old and new; an
            empty one for a file that was not there before.
    """

    told: str = ""
    pairs: tuple[Pair, ...] = ()
    files: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def expecting(self, written: Iterable[tuple[str, bytes]]) -> Record:
        """Return the record of a run that is about to write these contents, by name."""
        files = dict(self.files)
        for name, content in written:
            files[name] = files.get(name, frozenset([_ABSENT])) | {digest(content)}
        return replace(self, files=files)

    def is_ours(self, name: str, content: bytes | None) -> bool:
        """Whether nobody but us wrote, or removed, that file: as far as we remember."""
        known = self.files.get(name)
        return known is None or (_ABSENT if content is None else digest(content)) in known


@dataclass(frozen=True)
class Held:
    """Something earlier that stays until what it stands in for changes.

    Attributes:
        what: What was brought back.
        against: What would be in its place.
    """

    what: str
    against: tuple[str, ...]


@dataclass(frozen=True)
class Hold:
    """What somebody had brought back.

    Attributes:
        host: A host pair's name, against the names of those that would be used.
        settings: The digest of earlier settings, against that of those that would be written.
    """

    host: Held | None = None
    settings: Held | None = None


def digest(content: bytes) -> bytes:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).digest()


def encode_record(record: Record) -> bytes:
    """Return the record as it lies on the disk."""
    return dumps(
        {
            "v": _VERSION,
            "told": record.told,
            "pairs": [
                {"name": pair.name}
                if pair.superseded is None
                else {"name": pair.name, "superseded": to_timestamp(pair.superseded)}
                for pair in record.pairs
            ],
            "files": {name: sorted(digests) for name, digests in record.files.items()},
        }
    )


def parse_record(data: bytes) -> Record:
    """Parse a record.

    Raises:
        MalformedInput: It is none.
    """
    what = "record of installed files"
    value = loads_strict(data, _LIMIT)
    verify_version(value, what, _VERSION)
    fields = fields_of(
        value, what, required={"v": int, "told": str, "pairs": list, "files": dict}, optional={}
    )
    pairs = []
    for item in fields["pairs"]:
        pair = fields_of(item, what, required={"name": str}, optional={"superseded": int})
        pairs.append(Pair(_name(pair["name"]), _time(pair.get("superseded"))))
    files = {}
    for name, digests in fields["files"].items():
        if type(digests) is not list or not all(type(d) is bytes for d in digests):
            raise MalformedInput(f"the {what} holds no digests")
        files[name] = frozenset(digests)
    return Record(fields["told"], tuple(pairs), files)


def encode_hold(hold: Hold) -> bytes:
    """Return the hold as it lies on the disk."""
    value: dict[str, object] = {"v": _VERSION}
    for key, held in (("host", hold.host), ("settings", hold.settings)):
        if held is not None:
            value[key] = {"what": held.what, "against": list(held.against)}
    return dumps(value)


def parse_hold(data: bytes) -> Hold:
    """Parse a hold.

    Raises:
        MalformedInput: It is none.
    """
    what = "hold"
    value = loads_strict(data, _LIMIT)
    verify_version(value, what, _VERSION)
    fields = fields_of(value, what, required={"v": int}, optional={"host": dict, "settings": dict})
    host, settings = _held(fields.get("host")), _held(fields.get("settings"))
    if host is not None:
        _name(host.what)
    return Hold(host, settings)


def load_record(path: Path) -> Record:
    """Return what was recorded; nothing where there is none, or a damaged one.

    Without it sshd is told once more, and pairs that were replaced go at once.
    """
    try:
        return parse_record(load_bounded(path, limit=_LIMIT))
    except DpkiError:
        return Record()


def load_hold(path: Path) -> Hold:
    """Return what somebody had brought back; nothing where there is none, or a damaged one."""
    try:
        return parse_hold(load_bounded(path, limit=_LIMIT))
    except DpkiError:
        return Hold()


def _held(value: object) -> Held | None:
    if value is None:
        return None
    fields = fields_of(value, "hold", required={"what": str, "against": list}, optional={})
    if not all(type(name) is str for name in fields["against"]):
        raise MalformedInput("the hold's names are no texts")
    return Held(fields["what"], tuple(fields["against"]))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise MalformedInput(f"{text[:40]!r} is not the name of a host pair")
    return text


def _time(seconds: int | None) -> datetime | None:
    try:
        return None if seconds is None else from_timestamp(seconds)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedInput(f"{seconds} is no time") from error
