"""Parcels: only the named can read them, only as what they were made for, only whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dpki.bundle.parcel import (
    MAXIMUM_PARCEL,
    encode_parcel,
    make_parcels,
    open_parcels,
    parcel_context,
    parse_parcel,
)
from dpki.bundle.seal import SealingSecrets
from dpki.errors import CheckedFalse, MalformedInput, NotForThisDevice, UsageError, WrongContext
from dpki.model import Address, AuthorityId, DomainId, Hash32
from dpki.store.base import BLOCK_LIMIT

DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
CA = AuthorityId(b"\3" * 32)
CONTEXT = parcel_context(DOMAIN, CA, 1, Hash32(b"\4" * 32))
READERS = [SealingSecrets(SealingSecrets.generate().x25519, None) for _ in range(3)]
KEYS = [reader.public.x25519 for reader in READERS]
BLOBS = tuple(b"certificate %d" % i for i in range(5))


def opened(data: bytes, reader: SealingSecrets = READERS[0]) -> tuple[bytes, ...]:
    return open_parcels([data], reader, CONTEXT)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_it(reader: SealingSecrets) -> None:
    (parcel,) = make_parcels(BLOBS, CONTEXT, KEYS)
    assert opened(parcel, reader) == BLOBS
    assert all(blob not in parcel for blob in BLOBS)


def test_nobody_else_reads_it() -> None:
    (parcel,) = make_parcels(BLOBS, CONTEXT, KEYS[:2])
    with pytest.raises(NotForThisDevice):
        opened(parcel, READERS[2])


@pytest.mark.parametrize(
    "other",
    [
        parcel_context(DomainId(1, DOMAIN.address, DOMAIN.block_hash), CA, 1, Hash32(b"\4" * 32)),
        parcel_context(DOMAIN, AuthorityId(b"\5" * 32), 1, Hash32(b"\4" * 32)),
        parcel_context(DOMAIN, CA, 2, Hash32(b"\4" * 32)),
        parcel_context(DOMAIN, CA, 1, Hash32(b"\5" * 32)),
    ],
    ids=["domain", "ca", "serial", "commitment"],
)
def test_of_another_batch(other: Hash32) -> None:
    (parcel,) = make_parcels(BLOBS, other, KEYS)
    with pytest.raises(NotForThisDevice):
        opened(parcel)
    with pytest.raises(WrongContext):
        parse_parcel(encode_parcel(other, 0, 1, BLOBS), CONTEXT)


def test_one_size_for_many_batches() -> None:
    sizes = {len(make_parcels(BLOBS[:n], CONTEXT, KEYS)[0]) for n in range(1, 6)}
    assert len(sizes) == 1


def test_large_batches_are_divided_and_stay_in_order() -> None:
    blobs = tuple(i.to_bytes(2) * 1_000 for i in range(1, 701))
    parcels = make_parcels(blobs, CONTEXT, KEYS)
    assert len(parcels) == 3
    assert all(len(parcel) <= MAXIMUM_PARCEL < BLOCK_LIMIT for parcel in parcels)
    assert open_parcels(parcels, READERS[1], CONTEXT) == blobs
    for wrong in (parcels[::-1], parcels[:2], (*parcels, parcels[2]), (parcels[0],) * 3):
        with pytest.raises(MalformedInput, match="this is part"):
            open_parcels(wrong, READERS[1], CONTEXT)


def test_more_than_watchdogs_take() -> None:
    with pytest.raises(UsageError, match="needs 17 parcels"):
        make_parcels([bytes([1]) * 400_000] * 17, CONTEXT, KEYS)


@pytest.mark.parametrize("count", [0, 33])
def test_how_many_readers(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 32 readers"):
        make_parcels(BLOBS, CONTEXT, [KEYS[0]] * count)


def test_a_reader_whose_key_is_none() -> None:
    with pytest.raises(MalformedInput, match="low order"):
        make_parcels(BLOBS, CONTEXT, [KEYS[0], bytes(32)])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[:-1],
        lambda d: d + b"\0",
        lambda d: b"",
        lambda d: d[:11],
        lambda d: b"x" + d[1:],
        lambda d: d[:10] + b"\2" + d[11:],
        lambda d: d[:11] + b"\0" + d[12:],
        lambda d: d[:11] + b"\x21" + d[12:],
        lambda d: d[:20] + bytes([d[20] ^ 1]) + d[21:],
        lambda d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:],
        # Another reader's wrap is not this one's to change either.
        lambda d: d[:-1000] + bytes([d[-1000] ^ 1]) + d[-999:],
    ],
)
def test_altered(change: Callable[[bytes], bytes]) -> None:
    (parcel,) = make_parcels(BLOBS, CONTEXT, KEYS)
    with pytest.raises(CheckedFalse):
        opened(change(parcel))


@pytest.mark.parametrize(
    "value",
    [
        (CONTEXT, 0, 1, []),
        (CONTEXT, 1, 1, BLOBS),
        (CONTEXT, 0, 17, BLOBS),
        (CONTEXT, 0, 1, [b""]),
        (CONTEXT, 0, 1, [b"x"] * 1001),
    ],
)
def test_what_no_parcel_holds(value: tuple[Hash32, int, int, list[bytes]]) -> None:
    with pytest.raises(MalformedInput):
        parse_parcel(encode_parcel(*value), CONTEXT)


def test_more_than_a_batch_in_several_parcels() -> None:
    blobs = [b"x" * 900] * 501
    parcels = [
        make_parcels(blobs, CONTEXT, KEYS),
        make_parcels([*blobs, b"y"], CONTEXT, KEYS),
    ]
    assert [len(one) for one in parcels] == [1, 1]
    many = make_parcels([b"x" * 900] * 1100, CONTEXT, KEYS)
    with pytest.raises(MalformedInput, match="hold 1100 certificates"):
        open_parcels(many, READERS[0], CONTEXT)
