from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpki.bundle.seal import SealingKeys
from dpki.devices.document import (
    KeyDocument,
    encode_key_document,
    make_key_document,
    parse_key_document,
)
from dpki.devices.enrollment import (
    encode_request,
    make_enrollment_request,
    parse_request,
    verify_request,
)
from dpki.devices.keys import generate_device_keys
from dpki.devices.request_text import as_parts, from_text
from dpki.errors import CheckedFalse, MalformedInput
from dpki.model import Address, DomainId, Hash32

KEYS = generate_device_keys()
DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
REGISTRY = Address(b"\3" * 20)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = encode_request(
    make_enrollment_request(
        KEYS, DOMAIN, REGISTRY, make_key_document(KEYS), NOW + timedelta(hours=1)
    )
)
DOCUMENT = encode_key_document(make_key_document(KEYS))
documents = st.builds(
    KeyDocument,
    salt=st.binary(min_size=16, max_size=16),
    sequence=st.integers(0, 2**64 - 1),
    sealing=st.sampled_from([KEYS.sealing.public, SealingKeys(KEYS.sealing.public.x25519)]),
    ssh_host=st.just(KEYS.host_blobs),
    ssh_user=st.sampled_from([(), KEYS.user_blobs]),
)


@given(documents)
def test_document_round_trip(document: KeyDocument) -> None:
    encoded = encode_key_document(document)
    assert parse_key_document(encoded) == document


@given(st.integers(1, 2**32), st.integers(0, 253402300799))
def test_request_round_trip(nonce: int, deadline: int) -> None:
    document = dataclasses.replace(make_key_document(KEYS), sequence=nonce)
    request = make_enrollment_request(
        KEYS, DOMAIN, REGISTRY, document, datetime.fromtimestamp(deadline, UTC), nonce
    )
    assert parse_request(encode_request(request)) == request


@given(st.data(), st.binary(min_size=1, max_size=300), st.integers(1, 99))
def test_a_request_in_parts_is_whole_or_refused(
    drawn: st.DataObject, data: bytes, count: int
) -> None:
    """In any order, parts more than once; where one is missing, never something else."""
    parts = as_parts(data, count)
    scanned = drawn.draw(st.lists(st.sampled_from(parts), min_size=1))
    text = "\n".join(scanned).encode()
    if set(scanned) == set(parts):
        assert from_text(text) == data
    else:
        with pytest.raises(MalformedInput, match="parts; missing: "):
            from_text(text)
    assert from_text("\n".join(drawn.draw(st.permutations([*scanned, *parts]))).encode()) == data


@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_no_byte_of_a_request_can_be_altered(position: int, change: int) -> None:
    altered = bytearray(REQUEST)
    altered[position] ^= change
    with pytest.raises(CheckedFalse):
        verify_request(parse_request(bytes(altered)), DOMAIN, REGISTRY)


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(1, 255))
def test_an_altered_document_is_refused_or_of_another_digest(position: int, change: int) -> None:
    altered = bytearray(DOCUMENT)
    altered[position] ^= change
    with contextlib.suppress(MalformedInput):
        assert encode_key_document(parse_key_document(bytes(altered))) == altered


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_cleanly(data: bytes) -> None:
    for parse in (parse_request, parse_key_document):
        with pytest.raises(MalformedInput):
            parse(data)
