from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from dpki.bundle.seal import SealingKeys
from dpki.certificates.keys import ssh_blob
from dpki.devices.document import KeyDocument, Prekey, make_key_document
from dpki.devices.keys import DeviceKeys, generate_device_keys
from dpki.devices.possession import (
    named_keys,
    prove_possession,
    sign_xeddsa,
    verify_possession,
    verify_xeddsa,
)
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import MalformedInput, SignatureInvalid

PRIME = 2**255 - 19
DIGEST = bytes(range(32))


def device() -> DeviceKeys:
    prekeys = (PrekeySecret.generate(3), PrekeySecret.generate(4))
    return dataclasses.replace(generate_device_keys(), prekeys=prekeys)


KEYS, OTHER = device(), device()
DOCUMENT, FOREIGN = make_key_document(KEYS), make_key_document(OTHER)
PROOFS = prove_possession(KEYS, DOCUMENT, DIGEST)


def test_every_key_of_the_document_signs() -> None:
    names = [name for name, _, _ in named_keys(DOCUMENT)]
    assert names == [
        "its sealing key",
        "its hybrid sealing key",
        "SSH host key 1",
        "SSH client key 1",
        "the SSH key of prekey 3",
        "the sealing key of prekey 3",
        "the SSH key of prekey 4",
        "the sealing key of prekey 4",
    ]
    verify_possession(DOCUMENT, DIGEST, PROOFS)


def test_a_device_without_the_hybrid_suite() -> None:
    secrets = dataclasses.replace(KEYS.sealing, hybrid=None)
    keys = dataclasses.replace(KEYS, sealing=secrets)
    document = make_key_document(keys)
    verify_possession(document, DIGEST, prove_possession(keys, document, DIGEST))
    assert len(list(named_keys(document))) == len(PROOFS) - 1


@pytest.mark.parametrize("place", range(len(PROOFS)))
def test_one_proof_that_fails_is_named(place: int) -> None:
    name = list(named_keys(DOCUMENT))[place][0]
    for wrong in (
        bytes(64),
        PROOFS[place - 1],
        bytes([PROOFS[place][0] ^ 1]) + PROOFS[place][1:],
        PROOFS[place][:-1] + bytes([PROOFS[place][-1] ^ 1]),
        prove_possession(KEYS, DOCUMENT, bytes(32))[place],
        prove_possession(OTHER, FOREIGN, DIGEST)[place],
    ):
        proofs = [*PROOFS[:place], wrong, *PROOFS[place + 1 :]]
        with pytest.raises(SignatureInvalid, match=f"that the device has {name}"):
            verify_possession(DOCUMENT, DIGEST, proofs)


@pytest.mark.parametrize("proofs", [(), PROOFS[:-1], (*PROOFS, PROOFS[0])])
def test_one_proof_a_key(proofs: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedInput, match="and lists 8"):
        verify_possession(DOCUMENT, DIGEST, proofs)


SEAL, FOREIGN_SEAL = DOCUMENT.sealing, FOREIGN.sealing
assert SEAL.hybrid is not None
assert FOREIGN_SEAL.hybrid is not None
ONE, TWO = DOCUMENT.prekeys


@pytest.mark.parametrize(
    "stolen",
    [
        dataclasses.replace(DOCUMENT, sealing=SealingKeys(FOREIGN_SEAL.x25519, SEAL.hybrid)),
        dataclasses.replace(DOCUMENT, sealing=SealingKeys(SEAL.x25519, FOREIGN_SEAL.hybrid)),
        dataclasses.replace(DOCUMENT, ssh_host=FOREIGN.ssh_host),
        dataclasses.replace(DOCUMENT, ssh_user=FOREIGN.ssh_user),
        dataclasses.replace(DOCUMENT, prekeys=(ONE, FOREIGN.prekeys[1])),
        dataclasses.replace(DOCUMENT, prekeys=(ONE, Prekey(4, TWO.ssh, FOREIGN.prekeys[1].x25519))),
        dataclasses.replace(DOCUMENT, prekeys=(ONE, Prekey(4, FOREIGN.prekeys[1].ssh, TWO.x25519))),
    ],
    ids=["sealing", "hybrid", "host", "client", "prekey", "prekey's sealing", "prekey's SSH"],
)
def test_another_s_public_key_can_be_neither_proven_nor_made_to_look_so(
    stolen: KeyDocument,
) -> None:
    with pytest.raises(MalformedInput, match="not this device's"):
        prove_possession(KEYS, stolen, DIGEST)
    with pytest.raises(SignatureInvalid):
        verify_possession(stolen, DIGEST, PROOFS)


def test_a_type_of_key_that_devices_do_not_make() -> None:
    blob = ssh_blob(generate_private_key(SECP256R1()).public_key())
    document = dataclasses.replace(DOCUMENT, ssh_host=(blob,))
    with pytest.raises(MalformedInput, match="Ed25519"):
        verify_possession(document, DIGEST, PROOFS)


class TestXeddsa:
    """https://signal.org/docs/specifications/xeddsa/, with libsodium's keys as second opinion."""

    def test_both_signs_of_the_edwards_point(self) -> None:
        signs = set()
        for _ in range(40):
            key = X25519PrivateKey.generate()
            private, public = key.private_bytes_raw(), key.public_key().public_bytes_raw()
            assert verify_xeddsa(public, b"message", sign_xeddsa(private, b"message"))
            assert not verify_xeddsa(public, b"another", sign_xeddsa(private, b"message"))
            signs.add(edwards_sign(private))
        assert signs == {0, 1}

    def test_an_ed25519_key_s_own_signature_verifies_where_its_sign_is_even(self) -> None:
        """The curve that libsodium maps a signing key to is the one that we map back from."""
        even = 0
        for number in range(40):
            key = SigningKey(bytes([number]) * 32)
            public = bytes(key.verify_key.to_curve25519_public_key())
            is_even = not bytes(key.verify_key)[31] & 0x80
            assert verify_xeddsa(public, b"x", key.sign(b"x").signature) is is_even
            even += is_even
        assert 0 < even < 40

    def test_signatures_are_not_repeated(self) -> None:
        private = X25519PrivateKey.generate().private_bytes_raw()
        assert sign_xeddsa(private, b"x") != sign_xeddsa(private, b"x")

    def test_whatever_bits_clamping_ignores(self) -> None:
        private = bytearray(X25519PrivateKey.generate().private_bytes_raw())
        public = X25519PrivateKey.from_private_bytes(bytes(private)).public_key().public_bytes_raw()
        private[0] |= 7
        private[31] |= 128
        assert verify_xeddsa(public, b"x", sign_xeddsa(bytes(private), b"x"))

    @pytest.mark.parametrize(
        "public",
        [PRIME - 1, PRIME, PRIME + 1, 2**256 - 1, 0, 1],
        ids=["-1", "p", "p+1", "all ones", "0", "1"],
    )
    def test_no_point_of_the_curve_and_low_order(self, public: int) -> None:
        signature = sign_xeddsa(X25519PrivateKey.generate().private_bytes_raw(), b"x")
        assert not verify_xeddsa(public.to_bytes(32, "little"), b"x", signature)

    @pytest.mark.parametrize("length", [0, 63, 65])
    def test_a_signature_of_another_length(self, length: int) -> None:
        public = X25519PrivateKey.generate().public_key().public_bytes_raw()
        assert not verify_xeddsa(public, b"x", bytes(length))


def edwards_sign(private: bytes) -> int:
    from nacl.bindings import crypto_scalarmult_ed25519_base

    return crypto_scalarmult_ed25519_base(private)[31] >> 7


def test_an_ssh_key_signs_as_it_is() -> None:
    name, is_ssh, public = list(named_keys(DOCUMENT))[2]
    assert (name, is_ssh) == ("SSH host key 1", True)
    host = KEYS.ssh_host[0]
    assert isinstance(host, Ed25519PrivateKey)
    assert public == host.public_key().public_bytes_raw()
