from __future__ import annotations

import dataclasses

import pytest

from dpki.bundle.locator import IssuerKey, digest_from_locator, locator_for
from dpki.bundle.seal import SealingSecrets
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityId, Hash32
from tests.vectors_of import load_vectors

V = load_vectors("locator")
ISSUER = IssuerKey(V["issuer_private"])
DEVICE_SECRETS = SealingSecrets(V["device_private"], None)
CA, DEVICE, CERTIFICATE = AuthorityId(V["ca"]), Address(V["device"]), Hash32(V["certificate_hash"])
DIGEST, LOCATOR = Hash32(V["digest"]), Hash32(V["locator"])


def test_vector_from_both_sides() -> None:
    assert ISSUER.public == V["issuer_public"]
    assert DEVICE_SECRETS.public.x25519 == V["device_public"]
    assert locator_for(ISSUER, V["device_public"], CA, DEVICE, CERTIFICATE, DIGEST) == LOCATOR
    found = digest_from_locator(
        DEVICE_SECRETS, V["issuer_public"], CA, DEVICE, CERTIFICATE, LOCATOR
    )
    assert found == DIGEST


def test_everything_is_bound_in() -> None:
    others = {
        locator_for(ISSUER, V["device_public"], CA, DEVICE, CERTIFICATE, DIGEST),
        locator_for(IssuerKey.generate(), V["device_public"], CA, DEVICE, CERTIFICATE, DIGEST),
        locator_for(
            ISSUER, SealingSecrets.generate().public.x25519, CA, DEVICE, CERTIFICATE, DIGEST
        ),
        locator_for(ISSUER, V["device_public"], AuthorityId.zero(), DEVICE, CERTIFICATE, DIGEST),
        locator_for(ISSUER, V["device_public"], CA, Address.zero(), CERTIFICATE, DIGEST),
        locator_for(ISSUER, V["device_public"], CA, DEVICE, Hash32.zero(), DIGEST),
        locator_for(ISSUER, V["device_public"], CA, DEVICE, CERTIFICATE, Hash32.zero()),
    }
    assert len(others) == 7


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"short"])
def test_unusable_keys_are_refused_on_both_sides(point: bytes) -> None:
    with pytest.raises(MalformedInput, match="locator"):
        locator_for(ISSUER, point, CA, DEVICE, CERTIFICATE, DIGEST)
    with pytest.raises(MalformedInput, match="locator"):
        digest_from_locator(DEVICE_SECRETS, point, CA, DEVICE, CERTIFICATE, LOCATOR)


def test_issuer_key_is_written_and_read() -> None:
    assert IssuerKey.load(ISSUER.dump()) == ISSUER
    with pytest.raises(MalformedInput, match="32 bytes"):
        IssuerKey.load(ISSUER.dump() + b"\n")


def test_issuer_key_prints_without_its_secret() -> None:
    assert ISSUER.private.hex() not in repr(ISSUER)
    assert repr(ISSUER.private) not in repr(ISSUER)
    assert "private" not in repr(dataclasses.replace(ISSUER))
