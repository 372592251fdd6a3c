"""KRLs against a model of sets, and against `ssh-keygen -Q`."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.certificates.keys import ssh_blob, ssh_fingerprint
from dpki.certificates.krl import Revocations, build_krl, parse_krl
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, ssh_line
from dpki.errors import MalformedInput
from tests.krl_shapes import SHAPES, Shape
from tests.openssh import keygen

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEYS = [Ed25519PrivateKey.generate() for _ in range(3)]
BLOBS = [ssh_blob(key.public_key()) for key in KEYS]
SUBJECT = Subject(ssh_blob(Ed25519PrivateKey.generate().public_key()), ("alice",), "alice")

# Around the sizes at which ssh-keygen changes its encodings, and at both ends.
LARGEST = 2**64 - 1
INTERESTING = [1, 2, 255, 256, 16_383, 16_384, 16_385, 2**32 - 1, 2**32, LARGEST - 1, LARGEST]
SERIALS = st.one_of(st.sampled_from(INTERESTING), st.integers(1, 300), st.integers(1, LARGEST))


@st.composite
def ranges(draw: st.DrawFn) -> range:
    first = draw(SERIALS)
    length = draw(st.one_of(st.integers(0, 5), st.integers(0, 200_000)))
    return range(first, min(first + length, LARGEST + 1))


REVOCATIONS = st.builds(
    Revocations,
    st.sampled_from(BLOBS),
    st.lists(st.one_of(SERIALS, ranges()), max_size=30).map(tuple),
    st.one_of(st.integers(0, 3), SERIALS),
)
LISTS = st.lists(REVOCATIONS, max_size=5)


def is_revoked(lists: list[Revocations], keys: set[bytes], blob: bytes, serial: int) -> bool:
    """Be the model: no merging, no encoding."""
    return blob in keys or any(
        serial < entry.below
        or any(
            serial in item if isinstance(item, range) else serial == item for item in entry.serials
        )
        for entry in lists
        if entry.authority_key == blob
    )


def edges(lists: list[Revocations]) -> set[int]:
    """Return the serials at and beside every boundary."""
    near = set(INTERESTING)
    for entry in lists:
        bounds = [entry.below]
        for item in entry.serials:
            bounds += [item.start, item.stop] if isinstance(item, range) else [item]
        near |= {bound + step for bound in bounds for step in (-1, 0, 1)}
    return {serial for serial in near if 1 <= serial <= LARGEST}


def build(lists: list[Revocations], keys: set[bytes] | frozenset[bytes] = frozenset()) -> bytes:
    return build_krl(lists, keys, version=7, generated=NOW, comment="test")


@given(LISTS, st.sets(st.sampled_from(BLOBS)))
def test_reads_back_as_what_was_revoked(lists: list[Revocations], keys: set[bytes]) -> None:
    data = build(lists, keys)
    assert data, "an empty KRL admits everyone"
    krl = parse_krl(data)
    for blob in BLOBS:
        for serial in edges(lists):
            assert krl.is_revoked(blob, serial) is is_revoked(lists, keys, blob, serial)


@given(LISTS)
def test_grows_only_with_what_is_revoked(lists: list[Revocations]) -> None:
    """Never larger than 8 bytes a serial, or 21 a range: no spelling explodes."""
    krl = parse_krl(build(lists))
    for blob, runs in krl.revoked:
        size = len(build([Revocations(blob, [range(first, last + 1) for first, last in runs])]))
        cost = sum(min(21, 8 * (last - first + 1)) for first, last in runs)
        assert size <= cost + len(blob) + 80


@given(LISTS, st.integers(0, 9_999), st.integers(1, 255))
def test_damage_never_gives_another_error(
    lists: list[Revocations], where: int, change: int
) -> None:
    krl = bytearray(build(lists, {BLOBS[0]}))
    krl[where * len(krl) // 10_000] ^= change
    with contextlib.suppress(MalformedInput):
        parse_krl(bytes(krl))


@given(LISTS, st.integers(0, 9_999))
def test_a_part_is_refused_or_seen_to_be_one(lists: list[Revocations], where: int) -> None:
    """The format says no total length: what ends after a whole section is a list, but another."""
    data = build(lists, {BLOBS[0]})
    part = data[: where * len(data) // 10_000]
    try:
        krl = parse_krl(part)
    except MalformedInput:
        return
    assert krl != parse_krl(data)
    assert len(part) >= 44, "shorter than the head"


@given(st.binary(max_size=200))
def test_bytes_from_nowhere_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_krl(data)


@settings(max_examples=30)
@given(LISTS, st.sets(st.sampled_from(BLOBS)))
def test_ssh_keygen_lists_the_same(lists: list[Revocations], keys: set[bytes]) -> None:
    data = build(lists, keys)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "krl")
        path.write_bytes(data)
        done = keygen("-Q", "-l", "-f", path)
    assert done.returncode == 0, done.stderr
    assert "# KRL version 7" in done.stdout
    listed: dict[str, list[tuple[int, int]]] = {}
    current: list[tuple[int, int]] = []
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"# CA key \S+ (SHA256:\S+)", line):
            current = listed.setdefault(match[1], [])
        elif match := re.fullmatch(r"serial: (\d+)(?:-(\d+))?", line):
            current.append((int(match[1]), int(match[2] or match[1])))
    krl = parse_krl(data)
    assert listed == {ssh_fingerprint(blob): list(runs) for blob, runs in krl.revoked}
    hashes = set(re.findall(r"^hash: (SHA256:\S+)", done.stdout, re.MULTILINE))
    assert hashes == {ssh_fingerprint(blob) for blob in krl.keys}


@settings(max_examples=15)
@given(
    st.lists(
        st.builds(
            Revocations,
            st.sampled_from(BLOBS[:2]),
            st.lists(
                st.one_of(
                    st.integers(1, 40), st.builds(range, st.integers(1, 40), st.integers(1, 20_000))
                ),
                max_size=8,
            ),
            st.integers(0, 10),
        ),
        max_size=3,
    ),
    st.sets(st.sampled_from(BLOBS[:2]), max_size=1),
    st.sets(st.integers(1, 45), min_size=3, max_size=4),
)
def test_ssh_keygen_revokes_the_same_certificates(
    lists: list[Revocations], keys: set[bytes], serials: set[int]
) -> None:
    wanted = {
        (number, serial): is_revoked(lists, keys, BLOBS[number], serial)
        for number in range(2)
        for serial in serials
    }
    assert ask_ssh_keygen(build(lists, keys), wanted) == wanted


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ssh_keygen_on_every_shape(shape: Shape) -> None:
    """The same shapes and probes go to sshd in tests/integration/test_krl_sshd.py."""
    krl = build([shape.revocations(BLOBS[0])], {BLOBS[0]} if shape.whole else set())
    wanted = {(0, serial): revoked for serial, revoked in shape.probes.items()}
    wanted |= {(1, serial): False for serial in shape.probes}
    assert ask_ssh_keygen(krl, wanted) == wanted


@settings(max_examples=8)
@given(
    st.integers(1, 50),
    st.sampled_from([1, 2, 3, 5, 61, 997]),
    st.integers(1, 20_000),
    st.integers(0, 200_000),
    st.integers(0, 60_000),
)
def test_ssh_keygen_on_large_ones(start: int, step: int, count: int, run: int, below: int) -> None:
    """Steady steps, long runs and a watermark: where bitmaps of ssh-keygen's own go wrong."""
    singles = range(start, start + step * count, step)
    middle = start + step * count // 2
    lists = [Revocations(BLOBS[0], (*singles, range(middle, middle + run)), below)]
    probes = {1, start, start + 1, singles[-1], middle, middle + run, below, below - 1, 16_384}
    wanted = {
        (0, serial): serial < below or serial in singles or serial in range(middle, middle + run)
        for serial in probes
        if serial >= 1
    }
    assert ask_ssh_keygen(build(lists), wanted) == wanted


def ask_ssh_keygen(krl: bytes, cases: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bool]:
    """Return whether `ssh-keygen -Q` calls certificates of these CAs and serials revoked."""
    with tempfile.TemporaryDirectory() as folder:
        list_file = Path(folder, "krl")
        list_file.write_bytes(krl)
        files = {
            Path(folder, f"{number}-{serial}-cert.pub"): (number, serial)
            for number, serial in cases
        }
        for path, (number, serial) in files.items():
            certificate = build_ssh_certificate(
                KEYS[number],
                Profile.user(timedelta(hours=1)),
                SUBJECT,
                serial=serial,
                key_id="x",
                valid_after=NOW,
                valid_before=NOW + timedelta(hours=1),
            )
            path.write_text(ssh_line(certificate) + "\n")
        done = keygen("-Q", "-f", list_file, *files)
    answers = dict(re.findall(r"^(\S+) \(.*\): (ok|REVOKED)$", done.stdout, re.MULTILINE))
    assert len(answers) == len(files), done.stdout + done.stderr
    return {files[Path(name)]: answer == "REVOKED" for name, answer in answers.items()}
