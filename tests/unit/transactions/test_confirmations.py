"""What a watchdog signs, against docs/formats.md written again (tests/contracts/reference.py)."""

from __future__ import annotations

import pytest
from eth_keys.datatypes import PrivateKey, Signature

from dpki.errors import SignatureInvalid
from dpki.model import AuthorityId, Hash32, from_timestamp
from dpki.transactions.confirmations import Confirmation, confirmation_digest, sign_confirmation
from dpki.transactions.wallet import KeyWallet, Wallet
from tests.contracts import reference
from tests.fakes.chain import FakeChain

DOMAIN = FakeChain().domain
CA = AuthorityId(b"\x07" * 32)
COMMITMENT = Hash32(b"\x05" * 32)
DEADLINE = from_timestamp(1_800_000_000)


def sign(wallet: Wallet) -> Confirmation:
    return sign_confirmation(
        wallet,
        DOMAIN,
        CA,
        version=3,
        first_serial=9,
        commitment=COMMITMENT,
        deadline=DEADLINE,
    )


def test_the_digest_is_as_documented() -> None:
    watchdog = Wallet.create().address
    assert confirmation_digest(
        DOMAIN, CA, 3, 9, COMMITMENT, watchdog, DEADLINE
    ) == reference.confirmation_digest(
        DOMAIN.id.chain_id,
        str(DOMAIN.watchdogs),
        CA,
        3,
        9,
        COMMITMENT,
        str(watchdog),
        1_800_000_000,
    )


def test_signed_by_the_wallet_for_the_contract_to_recover() -> None:
    wallet = Wallet.from_key(b"\x11" * 32)
    made = sign(wallet)
    digest = confirmation_digest(DOMAIN, CA, 3, 9, COMMITMENT, wallet.address, DEADLINE)
    assert made.signature == reference.sign("11" * 32, digest)
    assert (made.ca, made.first_serial, made.commitment) == (CA, 9, COMMITMENT)
    assert (made.watchdog, made.deadline) == (wallet.address, DEADLINE)


def test_another_accounts_signature_is_withheld() -> None:
    """A token that signs with another key than it shows."""

    class Odd(Wallet):
        address = Wallet.from_key(b"\x11" * 32).address

        def sign_digest(self, digest: bytes) -> Signature:
            return PrivateKey(b"\x12" * 32).sign_msg_hash(digest)

    assert isinstance(Wallet.from_key(b"\x11" * 32), KeyWallet)
    with pytest.raises(SignatureInvalid, match="withheld"):
        sign(Odd())
