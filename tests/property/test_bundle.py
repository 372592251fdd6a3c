from __future__ import annotations

import contextlib
from typing import Any

import cbor2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpki.bundle.cid import cid_of, digest_of_cid
from dpki.bundle.codec import dumps, loads_strict
from dpki.bundle.content import Bundle, encode_bundle, open_bundle, parse_bundle, seal_bundle
from dpki.bundle.locator import IssuerKey, digest_from_locator, locator_for
from dpki.bundle.seal import SealingSecrets, open_sealed, seal
from dpki.errors import DpkiError, MalformedInput
from dpki.model import Address, AuthorityId, Hash32, Path

SECRETS = SealingSecrets.generate()
ISSUER = IssuerKey.generate()
hashes = st.binary(min_size=32, max_size=32).map(Hash32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=40), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=12,
).filter(lambda value: _depth(value) <= 8)
bundles = st.builds(
    Bundle,
    certificate=st.binary(min_size=1, max_size=3000),
    key=st.none() | st.binary(min_size=1, max_size=500),
    path=st.builds(
        Path,
        first_serial=st.integers(1, 2**31),
        count=st.integers(1, 1000),
        siblings=st.lists(hashes, max_size=10).map(tuple),
    ),
    context=hashes,
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(values)
def test_codec_round_trip(value: object) -> None:
    assert loads_strict(dumps(value), 1 << 20) == value


@given(values)
def test_a_second_encoder_agrees(value: object) -> None:
    # RFC 8949 section 4.2.1 by hand: shortest heads, keys sorted bytewise by their encodings.
    def head(major: int, number: int) -> bytes:
        for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if number < 24:
                return bytes([major << 5 | number])
            if number < 1 << 8 * size:
                return bytes([major << 5 | code]) + number.to_bytes(size, "big")
        raise AssertionError

    def encode(item: object) -> bytes:
        match item:
            case int():
                return head(0, item)
            case bytes():
                return head(2, len(item)) + item
            case str():
                return head(3, len(item.encode())) + item.encode()
            case list():
                return head(4, len(item)) + b"".join(map(encode, item))
            case dict():
                pairs = sorted((encode(key), encode(inner)) for key, inner in item.items())
                return head(5, len(item)) + b"".join(key + inner for key, inner in pairs)
        raise AssertionError

    assert dumps(value) == encode(value)


@settings(max_examples=500)
@given(st.binary(max_size=60))
@example(bytes.fromhex("d81c81d81d00"))
@example(bytes.fromhex("c4821b7fffffffffffffff01"))
@example(bytes.fromhex("c5821b7fffffffffffffff01"))
def test_arbitrary_bytes_are_canonical_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedInput):
        assert dumps(loads_strict(data, 100)) == data


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-(2**70), 2**70), texts),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.one_of(texts, st.integers()), inner, max_size=3)
        ),
        max_leaves=5,
    )
)
def test_other_cbor_is_refused_cleanly(value: object) -> None:
    data = cbor2.dumps(value)
    with contextlib.suppress(MalformedInput):
        assert dumps(loads_strict(data, 1 << 20)) == data


@given(bundles)
def test_bundle_round_trip(bundle: Bundle) -> None:
    assert parse_bundle(encode_bundle(bundle)) == bundle


@settings(max_examples=30)
@given(bundles)
def test_sealing_round_trip(bundle: Bundle) -> None:
    sealed = seal_bundle(bundle, SECRETS.public)
    assert open_bundle(sealed, SECRETS, bundle.context) == bundle


@given(st.binary(max_size=200), hashes)
def test_arbitrary_bytes_never_open(data: bytes, context: Hash32) -> None:
    for candidate in (data, b"dpki\1\2" + data, b"dpki\1\2" + data.ljust(1024 + 1136, b"\0")):
        try:
            open_sealed(candidate, SECRETS, context)
        except DpkiError:
            continue
        raise AssertionError("it opened")


@settings(max_examples=50)
@given(st.integers(0, 5000))
def test_sizes_fall_into_classes(length: int) -> None:
    overhead = 6 + 1136
    size = len(seal(bytes(length), SECRETS.public, Hash32.zero())) - overhead
    assert size in (1024, 2048, 4096, 8192)
    assert size == 1024 or size < 2 * (length + 4)


@given(hashes, hashes, hashes)
def test_locator_round_trip(ca: Hash32, certificate: Hash32, digest: Hash32) -> None:
    place = (AuthorityId(ca), Address(ca[:20]), certificate)
    locator = locator_for(ISSUER, SECRETS.public.x25519, *place, digest)
    assert digest_from_locator(SECRETS, ISSUER.public, *place, locator) == digest


@given(hashes)
def test_cid_round_trip(digest: Hash32) -> None:
    cid = cid_of(digest)
    assert len(cid) == 59
    assert cid.startswith("bafkrei")
    assert digest_of_cid(cid) == digest
