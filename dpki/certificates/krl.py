"""OpenSSH key revocation lists (PROTOCOL.krl, format 1), written and read without `ssh-keygen`.

`ssh-keygen -k` writes bitmaps over 16,384 serials that neither it nor sshd can read, and a KRL that
sshd can't read locks everybody out. So only lists and ranges are written, and nothing leaves here
that does not read back as what was asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from dpki.certificates.keys import parse_ssh_public_key, verify_printable
from dpki.certificates.wire import WireReader, string, uint32, uint64
from dpki.errors import DpkiError, MalformedInput, UsageError
from dpki.model import from_timestamp, to_timestamp

LARGEST_SERIAL = 2**64 - 1

_WHAT = "key revocation list"
_MAGIC = b"SSHKRL\n\0"
_FORMAT = 1
_VERSION_AT, _FLAGS_AT = 12, 28
_CERTIFICATES, _EXPLICIT_KEYS = 1, 2
_SERIAL_LIST, _SERIAL_RANGE = 0x20, 0x21
# A serial in a list takes 8 bytes, a range 21 whatever its length.
_SHORTEST_RANGE = 3

Runs = tuple[tuple[int, int], ...]
"""(first, last) serials, both included: ascending, apart from each other by at least one serial."""


@dataclass(frozen=True)
class Revocations:
    """What one CA has revoked.

    Attributes:
        authority_key: The CA's SSH public key blob.
        serials: Single serials and ranges of them (as Python means `range`: without its stop), in
            any order.
        below: The watermark: every serial below it is revoked too.
    """

    authority_key: bytes = field(repr=False)
    serials: Iterable[int | range] = ()
    below: int = 0


@dataclass(frozen=True)
class Krl:
    """The content of a key revocation list.

    Attributes:
        version: Its version number; the block that it was made from.
        generated: When it was made.
        comment: What it says of itself.
        revoked: CA's SSH public key blob and its revoked serials, by blob.
        keys: Blobs of keys that are revoked as a whole: themselves and, where they are CAs',
            everything that they signed.
    """

    version: int
    generated: datetime
    comment: str
    revoked: tuple[tuple[bytes, Runs], ...]
    keys: frozenset[bytes]

    def is_revoked(self, authority_key: bytes, serial: int, subject_key: bytes = b"") -> bool:
        """Return whether sshd would refuse the certificate for standing in this list."""
        if authority_key in self.keys or subject_key in self.keys:
            return True
        for blob, runs in self.revoked:
            if blob == authority_key:
                index = bisect_right(runs, serial, key=lambda run: run[0]) - 1
                return index >= 0 and serial <= runs[index][1]
        return False


def build_krl(
    revocations: Iterable[Revocations],
    revoked_keys: Iterable[bytes],
    *,
    version: int,
    generated: datetime,
    comment: str = "",
) -> bytes:
    """Return a KRL; never an empty one: an empty file, to sshd, revokes nothing.

    Args:
        revocations: By CA; several of one CA are joined.
        revoked_keys: SSH public key blobs that are revoked as a whole, CAs' or others.
        version: The number of the block that it is made from.
        generated: Aware time of making.
        comment: Printable.

    Raises:
        UsageError: A serial is not between 1 and 2^64 - 1, or another argument makes no sense.
        MalformedInput: A key is no SSH public key: sshd would refuse the list, and everyone.
    """
    merged: dict[bytes, list[tuple[int, int]]] = {}
    for revocation in revocations:
        key = parse_ssh_public_key(revocation.authority_key).blob
        merged.setdefault(key, []).extend(_spans(revocation))
    keys = frozenset(parse_ssh_public_key(blob).blob for blob in revoked_keys)
    if not 0 <= version <= LARGEST_SERIAL:
        raise UsageError(f"KRL version {version} is not a 64-bit number")
    if generated.tzinfo is None:
        raise UsageError("the time of a KRL must carry a time zone")
    wanted = Krl(
        version=version,
        generated=from_timestamp(to_timestamp(generated)),
        comment=verify_printable(comment, "comment of the KRL"),
        revoked=tuple((key, _join(spans)) for key, spans in sorted(merged.items()) if spans),
        keys=keys,
    )
    data = _encode(wanted)
    if parse_krl(data) != wanted:
        raise DpkiError(
            "the KRL does not read back as it was meant; it is not written",
            hint="this is a defect of dpki: please report it",
        )
    return data


def refuse_the_same(some: bytes, other: bytes) -> bool:
    """Whether two lists that `build_krl` made differ in version and time at most."""
    return some[:_VERSION_AT] == other[:_VERSION_AT] and some[_FLAGS_AT:] == other[_FLAGS_AT:]


def unite_krls(*krls: Krl) -> bytes:
    """Return a KRL that refuses whatever one of these does; its head is the last one's.

    Raises:
        UsageError: There is none.
    """
    if not krls:
        raise UsageError("no key revocation list was given")
    return build_krl(
        [
            Revocations(blob, [range(first, last + 1) for first, last in runs])
            for krl in krls
            for blob, runs in krl.revoked
        ],
        frozenset[bytes]().union(*(krl.keys for krl in krls)),
        version=krls[-1].version,
        generated=krls[-1].generated,
        comment=krls[-1].comment,
    )


def parse_krl(data: bytes) -> Krl:
    """Parse a KRL such as `build_krl` writes.

    Raises:
        MalformedInput: It is none, or holds what dpki never writes (bitmaps, key ids, signatures).
    """
    reader = WireReader(data, _WHAT)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise MalformedInput(f"this is not a {_WHAT}")
    if (number := reader.uint32()) != _FORMAT:
        raise MalformedInput(f"the {_WHAT} is of the unknown format {number}")
    version = reader.uint64()
    generated = reader.uint64()
    if reader.uint64() != 0 or reader.string():
        raise MalformedInput(f"the {_WHAT} has flags or a reserved field")
    comment = reader.string()
    revoked: list[tuple[bytes, Runs]] = []
    keys: frozenset[bytes] = frozenset()
    while not reader.is_at_end:
        kind = reader.byte()
        section = reader.string()
        if kind == _CERTIFICATES and not keys:
            revoked.append(_parse_certificates(section))
        elif kind == _EXPLICIT_KEYS and not keys:
            keys = _parse_keys(section)
        else:
            raise MalformedInput(f"the {_WHAT} has an unexpected section of type {kind}")
    blobs = [blob for blob, _ in revoked]
    if blobs != sorted(set(blobs)):
        raise MalformedInput(f"the CAs of the {_WHAT} are not in order, or given twice")
    try:
        text = verify_printable(comment.decode(), f"comment of the {_WHAT}")
        return Krl(version, from_timestamp(generated), text, tuple(revoked), keys)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedInput(f"the head of the {_WHAT} is damaged") from error


def _spans(revocation: Revocations) -> list[tuple[int, int]]:
    """Return everything that a CA has revoked as (first, last), in no order."""
    if not 0 <= revocation.below <= LARGEST_SERIAL:
        raise UsageError(f"watermark {revocation.below} is not a 64-bit number")
    spans = [(1, revocation.below - 1)] if revocation.below > 1 else []
    for item in revocation.serials:
        if isinstance(item, range):
            if item.step != 1:
                raise UsageError(f"{item} has gaps; give ranges with steps of 1")
            if not item:
                continue
            span = (item.start, item.stop - 1)
        else:
            span = (item, item)
        if not 1 <= span[0] <= span[1] <= LARGEST_SERIAL:
            # sshd can't revoke serial 0: a range that reaches down to it makes it refuse the list.
            raise UsageError(f"serial {span[0]} can't be revoked", hint="serials start at 1")
        spans.append(span)
    return spans


def _join(spans: list[tuple[int, int]]) -> Runs:
    """Sort, and join what overlaps or touches."""
    runs: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    return tuple(runs)


def _encode(krl: Krl) -> bytes:
    parts = [
        _MAGIC,
        uint32(_FORMAT),
        uint64(krl.version),
        uint64(to_timestamp(krl.generated)),
        uint64(0),
        string(b""),
        string(krl.comment.encode()),
    ]
    for blob, runs in krl.revoked:
        parts.append(_section(_CERTIFICATES, _encode_certificates(blob, runs)))
    if krl.keys:
        keys = b"".join(string(blob) for blob in sorted(krl.keys))
        parts.append(_section(_EXPLICIT_KEYS, keys))
    return b"".join(parts)


def _encode_certificates(blob: bytes, runs: Runs) -> bytes:
    singles: list[bytes] = []
    ranges: list[bytes] = []
    for first, last in runs:
        if last - first + 1 < _SHORTEST_RANGE:
            singles += (uint64(serial) for serial in range(first, last + 1))
        else:
            ranges.append(_section(_SERIAL_RANGE, uint64(first) + uint64(last)))
    listed = [_section(_SERIAL_LIST, b"".join(singles))] if singles else []
    return b"".join([string(blob), string(b""), *listed, *ranges])


def _section(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + string(data)


def _parse_certificates(section: bytes) -> tuple[bytes, Runs]:
    reader = WireReader(section, _WHAT)
    blob = parse_ssh_public_key(reader.string()).blob
    if reader.string():
        raise MalformedInput(f"the {_WHAT} has something in a reserved field")
    spans: list[tuple[int, int]] = []
    while not reader.is_at_end:
        kind = reader.byte()
        part = WireReader(reader.string(), _WHAT)
        found: list[tuple[int, int]] = []
        if kind == _SERIAL_LIST:
            while not part.is_at_end:
                serial = part.uint64()
                found.append((serial, serial))
        elif kind == _SERIAL_RANGE:
            found.append((part.uint64(), part.uint64()))
            part.end()
        else:
            raise MalformedInput(f"the {_WHAT} names certificates by the unexpected means {kind}")
        if not found or not all(1 <= first <= last for first, last in found):
            raise MalformedInput(f"the {_WHAT} has an empty or impossible range of serials")
        spans += found
    if not spans:
        raise MalformedInput(f"the {_WHAT} has an empty section")
    return blob, _join(spans)


def _parse_keys(section: bytes) -> frozenset[bytes]:
    reader = WireReader(section, _WHAT)
    keys = set()
    while not reader.is_at_end:
        keys.add(parse_ssh_public_key(reader.string()).blob)
    if not keys:
        raise MalformedInput(f"the {_WHAT} has an empty section")
    return frozenset(keys)
