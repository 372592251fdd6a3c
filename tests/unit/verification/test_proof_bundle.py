"""The proof bundle as a file: what is written reads back, and nothing else reads at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dpki.bundle.codec import dumps, loads_strict
from dpki.errors import MalformedInput
from dpki.model import Address, DomainId, Entry, Hash32, Path
from dpki.verification.proof_bundle import (
    SIZE_LIMIT,
    Position,
    ProofBundle,
    encode_proof_bundle,
    is_proof_bundle,
    parse_proof_bundle,
)

DOMAIN = DomainId(31337, Address(b"\x01" * 20), Hash32(b"\x02" * 32))
ENTRY = Entry(
    Hash32(b"\3" * 32), Address(b"\4" * 20), datetime(2026, 1, 1, tzinfo=UTC), Hash32.zero()
)
POSITION = Position(ENTRY, Path(16, 5, (Hash32(b"\6" * 32), Hash32(b"\7" * 32))))
BUNDLE = ProofBundle(DOMAIN, b"certificate", POSITION, b"header", (b"a", b"b"))


@pytest.mark.parametrize("bundle", [BUNDLE, replace(BUNDLE, position=None, nodes=())])
def test_reads_back(bundle: ProofBundle) -> None:
    assert parse_proof_bundle(encode_proof_bundle(bundle)) == bundle


def test_is_told_from_a_certificate_by_its_first_byte() -> None:
    assert is_proof_bundle(encode_proof_bundle(BUNDLE))
    for other in (b"", b"ssh-ed25519-cert-v01@openssh.com AAAA", b"\0\0\0\x20ssh", b"\xef\xbb\xbf"):
        assert not is_proof_bundle(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"type": "handover"},
        {"type": 1},
        {"domain": "eip155"},
        {"domain": f"eip155:31337:0x{'ab' * 20}@0x{'00' * 32}"},
        {"certificate": b"x" * 65537},
        {"header": b"x" * 4097},
        {"nodes": ["a"]},
        {"nodes": [b"b", b"a"]},
        {"nodes": [b"a", b"a"]},
        {"nodes": [i.to_bytes(2) for i in range(4097)]},
        {"more": 1},
        {"position": []},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_what_can_t_be(changes: dict[str, object]) -> None:
    fields = loads_strict(encode_proof_bundle(BUNDLE), SIZE_LIMIT)
    with pytest.raises(MalformedInput):
        parse_proof_bundle(dumps(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"first": 0},
        {"first": 2**32 - 4},
        {"count": 0},
        {"count": 1001},
        {"path": [b"short"]},
        {"path": ["text"]},
        {"hash": b"short"},
        {"device": b"short"},
        {"until": 2**63},
        {"more": 1},
    ],
    ids=str,
)
def test_what_a_position_can_t_be(changes: dict[str, object]) -> None:
    fields = loads_strict(encode_proof_bundle(BUNDLE), SIZE_LIMIT)
    fields["position"] |= changes
    with pytest.raises(MalformedInput):
        parse_proof_bundle(dumps(fields))


def test_too_large() -> None:
    fields = loads_strict(encode_proof_bundle(BUNDLE), SIZE_LIMIT)
    nodes = [i.to_bytes(2) * 300 for i in range(2000)]
    with pytest.raises(MalformedInput, match="more than"):
        parse_proof_bundle(dumps(fields | {"nodes": nodes}))
