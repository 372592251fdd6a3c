"""Checkpoints: vectors, and texts that are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.errors import MalformedInput
from dpki.model import Address, DomainId, Hash32
from dpki.note import SignedNote, VerifierKey, sign_note
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from tests.vectors_of import load_vectors

VECTORS = load_vectors("checkpoint")
SECRETS = [Ed25519PrivateKey.from_private_bytes(w["seed"]) for w in VECTORS["witnesses"]]
KEYS = [VerifierKey.parse(w["key"]) for w in VECTORS["witnesses"]]
CHECKPOINT = Checkpoint(
    DomainId(1135, Address(b"\x0a" * 20), Hash32(b"\2" * 32)), 17, Hash32(b"\3" * 32), Hash32.zero()
)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["block"]))
class TestVectors:
    def test_verify(self, case: dict[str, str]) -> None:
        checkpoint = verify_checkpoint(case["note"].encode(), KEYS, 2)
        assert str(checkpoint) == case["text"]
        assert str(checkpoint.domain) == case["domain"]
        assert (checkpoint.number, checkpoint.block_hash, checkpoint.state_digest) == (
            case["block"],
            case["block_hash"],
            case["state_digest"],
        )

    def test_are_signed_again_to_the_same_bytes(self, case: dict[str, str]) -> None:
        checkpoint = Checkpoint.parse(case["text"])
        signatures = []
        for key, secret in zip(KEYS, SECRETS, strict=True):
            note = SignedNote.parse(sign_checkpoint(checkpoint, key.name, secret))
            signatures += note.signatures
        assert SignedNote(case["text"], tuple(signatures)).dump() == case["note"].encode()


TEXT = str(CHECKPOINT)
ADDRESS = str(CHECKPOINT.domain.address)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("nothing", ""),
        ("a line less", TEXT.rsplit("\n", 2)[0] + "\n"),
        ("a line more", TEXT + "x\n"),
        ("no last newline", TEXT[:-1]),
        ("no domain id", TEXT.replace("eip155", "eip156")),
        ("another spelling of the domain", TEXT.replace(ADDRESS, ADDRESS.lower())),
        ("a leading zero", TEXT.replace("\n17\n", "\n017\n")),
        ("a sign", TEXT.replace("\n17\n", "\n-17\n")),
        ("other digits", TEXT.replace("\n17\n", "\n\u0661\u0667\n")),
        ("a number too large", TEXT.replace("\n17\n", f"\n{2**63}\n")),
        ("spare bits in the digest", TEXT.replace("A=\n", "B=\n")),
        ("a digest of 31 bytes", TEXT.replace("A" * 43 + "=", "A" * 42 + "==")),
        ("another version", TEXT.replace("dpki v1", "dpki v2")),
        ("upper case", TEXT.replace("0x" + "03" * 32, "0x" + "0A" * 32)),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused_whoever_signed_it(why: str, text: str) -> None:
    assert text != TEXT
    with pytest.raises(MalformedInput):
        Checkpoint.parse(text)
    if text.endswith("\n"):
        with pytest.raises(MalformedInput):
            verify_checkpoint(sign_note(text, KEYS[0].name, SECRETS[0]), KEYS)


def test_the_largest_block_number_reads_back() -> None:
    last = replace(CHECKPOINT, number=2**63 - 1)
    assert Checkpoint.parse(str(last)) == last


def test_two_contradict_each_other_when_they_are_of_one_block_number() -> None:
    assert not CHECKPOINT.contradicts(replace(CHECKPOINT))
    assert CHECKPOINT.contradicts(replace(CHECKPOINT, block_hash=Hash32.zero()))
    assert CHECKPOINT.contradicts(replace(CHECKPOINT, state_digest=Hash32(b"\1" * 32)))
    assert not CHECKPOINT.contradicts(replace(CHECKPOINT, number=18, block_hash=Hash32.zero()))
    other = replace(CHECKPOINT.domain, chain_id=1)
    assert not CHECKPOINT.contradicts(
        replace(CHECKPOINT, domain=other, state_digest=Hash32(b"\1" * 32))
    )
