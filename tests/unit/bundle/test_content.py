from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from dpki.bundle.codec import dumps, loads_strict
from dpki.bundle.content import (
    Bundle,
    bundle_context,
    encode_bundle,
    open_bundle,
    parse_bundle,
    seal_bundle,
)
from dpki.bundle.seal import SealingKeys, SealingSecrets
from dpki.errors import MalformedInput, WrongContext
from dpki.model import Address, AuthorityId, DomainId, Hash32, Path
from tests.vectors_of import load_vectors

VECTORS = load_vectors("bundle")
SECRETS = SealingSecrets(VECTORS["x25519_private"], VECTORS["hybrid_seed"])
CONTEXT = Hash32(VECTORS["context"])

cases = pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])


def bundle_of(case: dict[str, Any]) -> Bundle:
    siblings = tuple(Hash32(sibling) for sibling in case["path"])
    path = Path(case["first"], case["count"], siblings)
    return Bundle(case["certificate"], case["key"], path, CONTEXT)


def test_context_vector() -> None:
    context = bundle_context(
        DomainId.parse(VECTORS["domain"]),
        AuthorityId(VECTORS["ca"]),
        VECTORS["serial"],
        Address(VECTORS["device"]),
    )
    assert context == CONTEXT


def test_public_key_vector() -> None:
    assert SECRETS.public == SealingKeys(VECTORS["x25519_public"], VECTORS["hybrid_public"])


@cases
def test_plaintext_vector(case: dict[str, Any]) -> None:
    assert encode_bundle(bundle_of(case)) == case["plaintext"]
    assert parse_bundle(case["plaintext"]) == bundle_of(case)


@cases
def test_opening_vectors_of_both_suites(case: dict[str, Any]) -> None:
    classic = dataclasses.replace(SECRETS, hybrid=None)
    assert open_bundle(case["sealed"]["x25519"], classic, CONTEXT) == bundle_of(case)
    assert open_bundle(case["sealed"]["mlkem768-x25519"], SECRETS, CONTEXT) == bundle_of(case)


@cases
def test_what_is_sealed_opens(case: dict[str, Any]) -> None:
    bundle = bundle_of(case)
    assert open_bundle(seal_bundle(bundle, SECRETS.public), SECRETS, CONTEXT) == bundle


def test_a_bundle_of_another_context() -> None:
    """The classical suite does not bind the context: it opens, and must be seen to be another's."""
    classic = dataclasses.replace(SECRETS, hybrid=None)
    other = Hash32(b"\7" * 32)
    bundle = dataclasses.replace(bundle_of(VECTORS["cases"][0]), context=other)
    sealed = seal_bundle(bundle, classic.public)
    assert open_bundle(sealed, classic, other) == bundle
    with pytest.raises(WrongContext, match="another domain, CA, serial or device"):
        open_bundle(sealed, classic, CONTEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": b"1"},
        {"more": 1},
        {"context": bytes(31)},
        {"certificate": b""},
        {"certificate": "text"},
        {"key": b""},
        {"first": 0},
        {"first": 1 << 32},
        {"first": (1 << 32) - 1, "count": 2},
        {"count": 0},
        {"count": 1001},
        {"path": [bytes(31)]},
        {"path": ["text"]},
        {"path": [1]},
        {"path": [bytes(32)] * 11},
    ],
    ids=str,
)
def test_malformed_plaintexts(change: dict[str, object]) -> None:
    fields = loads_strict(VECTORS["cases"][0]["plaintext"], 10_000)
    with pytest.raises(MalformedInput):
        parse_bundle(dumps({**fields, **change}))


class TestOverlap:
    """Version 2: how long the certificate before this one stays in use beside it."""

    BUNDLE = dataclasses.replace(bundle_of(VECTORS["cases"][0]), overlap=timedelta(hours=12))

    def test_reads_back_and_travels(self) -> None:
        assert parse_bundle(encode_bundle(self.BUNDLE)) == self.BUNDLE
        sealed = seal_bundle(self.BUNDLE, SECRETS.public)
        assert open_bundle(sealed, SECRETS, CONTEXT).overlap == timedelta(hours=12)

    def test_without_one_it_is_version_1_which_every_agent_reads(self) -> None:
        plain = dataclasses.replace(self.BUNDLE, overlap=None)
        fields = loads_strict(encode_bundle(plain), 10_000)
        assert fields["v"] == 1
        assert "overlap" not in fields

    @pytest.mark.parametrize(
        "change",
        [{"v": 1}, {"v": 3}, {"overlap": 0}, {"overlap": 1 << 32}, {"overlap": "1d"}, {"x": 1}],
        ids=str,
    )
    def test_malformed_ones(self, change: dict[str, object]) -> None:
        fields = loads_strict(encode_bundle(self.BUNDLE), 10_000)
        with pytest.raises(MalformedInput):
            parse_bundle(dumps({**fields, **change}))


@pytest.mark.parametrize("key", ["v", "context", "certificate", "first", "count", "path"])
def test_every_field_is_needed(key: str) -> None:
    fields = loads_strict(VECTORS["cases"][0]["plaintext"], 10_000)
    del fields[key]
    with pytest.raises(MalformedInput):
        parse_bundle(dumps(fields))


def test_not_even_a_map() -> None:
    with pytest.raises(MalformedInput, match="not a bundle"):
        parse_bundle(dumps(["v", 1]))


def test_a_bundle_prints_without_its_key() -> None:
    bundle = Bundle(b"certificate", b"-----BEGIN SECRET", Path(1, 1, ()), CONTEXT)
    assert "SECRET" not in repr(bundle)
