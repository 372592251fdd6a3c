"""The acknowledgement's format, held against the vector. What is refused: tests/security."""

from __future__ import annotations

import hashlib

import pytest

from dpki.bundle.seal import SealingSecrets
from dpki.devices.acknowledgement import (
    Stage,
    encode_statement,
    opening_of,
    verify_acknowledgement,
)
from dpki.errors import MalformedInput
from dpki.model import DomainId
from dpki.secp256k1 import recover_signer
from tests.vectors_of import load_vectors

V = load_vectors("acknowledgement-2")


def test_the_vector_opens_and_says_what_was_signed() -> None:
    reader = SealingSecrets(V["reader_private"], None)
    assert reader.public.x25519 == V["reader_public"]
    said = verify_acknowledgement(V["sealed"], reader, DomainId.parse(V["domain"]))
    assert encode_statement(said) == V["statement"]
    assert said.digest == V["digest"]
    assert recover_signer(V["signature"], said.digest) == V["device"] == said.device
    (certificate,) = said.certificates
    assert (said.mode, said.prekeys, said.block) == ("strict", 16, 4711)
    assert (certificate.serial, certificate.stage) == (17, Stage.INSTALLED)
    assert certificate.opening == opening_of(said.device, V["certificate"])
    told = b"dpki opened certificate v2\0" + V["device"] + V["certificate"]
    assert certificate.opening == hashlib.sha256(told).digest()


def test_version_1_is_refused() -> None:
    """It named certificates by what everybody reads on chain."""
    earlier = load_vectors("acknowledgement")
    reader = SealingSecrets(earlier["reader_private"], None)
    with pytest.raises(MalformedInput, match="version"):
        verify_acknowledgement(earlier["sealed"], reader, DomainId.parse(earlier["domain"]))
