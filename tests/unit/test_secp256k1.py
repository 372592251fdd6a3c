"""Signatures and typed hashes, held against eth-keys, eth-abi and the vectors of others."""

from __future__ import annotations

import pytest
from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_account import Account
from eth_keys.datatypes import PrivateKey as Reference
from hypothesis import given
from hypothesis import strategies as st

from dpki.keccak import keccak
from dpki.secp256k1 import SIGNATURE_BYTES, address_of, recover_signer, sign_digest
from dpki.typed_data import struct_hash

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST = keccak(b"something")
KEY = PrivateKey(b"\x12" * 32)

secrets = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))
digests = st.binary(min_size=32, max_size=32)


@given(secret=secrets, digest=digests)
def test_the_one_signature_is_ethereums(secret: bytes, digest: bytes) -> None:
    key = PrivateKey(secret)
    signature = sign_digest(key, digest)
    raw = Reference(secret).sign_msg_hash(digest).to_bytes()
    assert signature == raw[:64] + bytes([raw[64] + 27])
    assert str(address_of(key.public_key)) == Account.from_key(secret).address
    assert recover_signer(signature, digest) == address_of(key.public_key)


class TestNobodySigned:
    SIGNATURE = sign_digest(KEY, DIGEST)

    @pytest.mark.parametrize("v", [0, 1, 2, 3, 26, 29, 255])
    def test_by_another_v(self, v: int) -> None:
        assert recover_signer(self.SIGNATURE[:64] + bytes([v]), DIGEST) is None

    def test_by_the_other_s(self) -> None:
        """EIP-2: it recovers to the same key, and contracts refuse it."""
        r, s, v = self.SIGNATURE[:32], int.from_bytes(self.SIGNATURE[32:64]), self.SIGNATURE[64]
        assert recover_signer(r + (ORDER - s).to_bytes(32) + bytes([55 - v]), DIGEST) is None

    @pytest.mark.parametrize("size", [0, 64, 66])
    def test_by_another_size(self, size: int) -> None:
        assert recover_signer(bytes(size), DIGEST) is None

    @pytest.mark.parametrize("r", [0, ORDER, 2**256 - 1])
    def test_by_a_number_that_is_no_point(self, r: int) -> None:
        assert recover_signer(r.to_bytes(32) + self.SIGNATURE[32:], DIGEST) is None

    def test_by_nothing(self) -> None:
        nothing = self.SIGNATURE[:32] + bytes(32) + self.SIGNATURE[64:]
        assert recover_signer(nothing, DIGEST) is None


@given(signature=st.binary(min_size=SIGNATURE_BYTES, max_size=SIGNATURE_BYTES), digest=digests)
def test_of_anything_somebody_or_nobody(signature: bytes, digest: bytes) -> None:
    found = recover_signer(signature[:64] + bytes([27 + signature[64] % 2]), digest)
    assert found is None or len(found) == 20


@given(
    hash=digests,
    address=st.binary(min_size=20, max_size=20),
    number=st.integers(0, 2**256 - 1),
)
def test_a_struct_is_hashed_as_eth_abi_lays_it_out(
    hash: bytes, address: bytes, number: int
) -> None:
    laid_out = encode(["bytes32", "bytes32", "address", "uint256"], [hash, hash, address, number])
    assert struct_hash(hash, hash, address, number) == keccak(laid_out)


@pytest.mark.parametrize("member", [b"", bytes(19), bytes(21), bytes(33)])
def test_what_is_no_word(member: bytes) -> None:
    with pytest.raises(ValueError, match="a member has"):
        struct_hash(DIGEST, member)


@pytest.mark.parametrize("number", [-1, 2**256])
def test_what_is_no_number(number: int) -> None:
    with pytest.raises(OverflowError):
        struct_hash(DIGEST, number)
