"""An account whose key is in the token: the same promises as a keystore's, before a real chain."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from eth_account import Account
from eth_keys.datatypes import Signature

from dpki.chain.domain import fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.devnet.anvil import Anvil
from dpki.errors import AmbiguousKey, PinIncorrect, TokenError, TransactionFailed
from dpki.model import Address
from dpki.signer.base import KeyType
from dpki.signer.pkcs11 import OpenKey, generate_key, list_keys, open_signer
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.token_wallet import TokenWallet, create_token_wallet, open_token_wallet
from dpki.transactions.wallet import Wallet
from dpki.transactions.writer import DomainWriter
from tests.soft_tokens import SoftHsmFolder, SoftToken

HALF = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
TRANSACTION = {
    "type": 2,
    "chainId": 31337,
    "nonce": 0,
    "gas": 21_000,
    "maxFeePerGas": 10**9,
    "maxPriorityFeePerGas": 1,
    "value": 0,
    "data": "0x",
    "to": str(Address(b"\x01" * 20)),
}


@pytest.fixture(scope="module")
def token(softhsm: SoftHsmFolder) -> SoftToken:
    token = softhsm.token()
    create_token_wallet(token.uri("operator"), token.ask)
    return token


@pytest.fixture
def wallet(token: SoftToken) -> Iterator[TokenWallet]:
    wallet = open_token_wallet(token.uri("operator"), token.ask)
    yield wallet
    wallet.close()


def test_opens_as_the_account_that_was_made(softhsm: SoftHsmFolder) -> None:
    token = softhsm.token()
    address = create_token_wallet(token.uri("operator"), token.ask)
    wallet = open_token_wallet(token.uri("operator"), token.ask)
    assert wallet.address == address
    wallet.close()
    with pytest.raises(AmbiguousKey):
        create_token_wallet(token.uri("operator"), token.ask)


def test_every_signature_is_low_and_recovers(wallet: TokenWallet) -> None:
    """Half of what a token gives has the high s, and half the other v."""
    seen = set()
    for _ in range(32):
        digest = secrets.token_bytes(32)
        signature = wallet.sign_digest(digest)
        assert 0 < signature.s <= HALF
        seen.add(signature.v)
        recovered = signature.recover_public_key_from_msg_hash(digest)
        assert recovered.to_canonical_address() == bytes(wallet.address)
    assert seen == {0, 1}


@pytest.mark.parametrize("kind", ["token", "memory"])
def test_both_kinds_sign_what_others_recover(wallet: TokenWallet, kind: str) -> None:
    chosen = wallet if kind == "token" else Wallet.create()
    signed = chosen.sign_transaction(TRANSACTION)
    assert Account.recover_transaction(signed.raw) == str(chosen.address)


def test_deploys_and_governs(token: SoftToken, wallet: TokenWallet, tmp_path) -> None:
    with Anvil(tmp_path) as anvil, Endpoint(anvil.url) as endpoint:
        with pytest.raises(TransactionFailed, match=f"{wallet.address} has 0 ETH and needs"):
            deploy_domain(endpoint, wallet, governor=wallet.address)
        endpoint.call("anvil_setBalance", [str(wallet.address), hex(10**18)])
        domain_id, _ = deploy_domain(endpoint, wallet, governor=wallet.address)
        domain = fetch_domain(endpoint, domain_id)
        generate_key(token.uri("ca"), KeyType.P256, token.ask)
        # The CA's key and the wallet's, in one token, open at once.
        with open_signer(token.uri("ca"), token.ask):
            DomainWriter(endpoint, domain, wallet).set_guardian(Address(b"\x02" * 20))


class TestRefuses:
    def test_a_wrong_pin(self, token: SoftToken) -> None:
        with pytest.raises(PinIncorrect) as caught:
            open_token_wallet(token.uri("operator"), lambda _: "0000")
        assert caught.value.exit_status == 4

    def test_a_ca_s_key_as_wallet_and_a_wallet_s_as_ca(self, softhsm: SoftHsmFolder) -> None:
        token = softhsm.token()
        generate_key(token.uri("ca"), KeyType.P256, token.ask)
        create_token_wallet(token.uri("operator"), token.ask)
        with pytest.raises(TokenError, match="of type P-256, which does not serve here"):
            open_token_wallet(token.uri("ca"), token.ask)
        with pytest.raises(TokenError, match="of type secp256k1, which does not serve here"):
            open_signer(token.uri("operator"), token.ask)
        types = {key.uri.object: key.key_type for key in list_keys(token.uri(), token.ask)}
        assert types == {"ca": KeyType.P256, "operator": None}

    @pytest.mark.parametrize(
        "answer",
        [b"", bytes(64), b"\xff" * 64, bytes(63) + b"\1", secrets.token_bytes(64)],
        ids=["empty", "zeros", "ones", "r is zero", "random"],
    )
    def test_a_signature_of_nobody(
        self, wallet: TokenWallet, monkeypatch: pytest.MonkeyPatch, answer: bytes
    ) -> None:
        monkeypatch.setattr(OpenKey, "sign", lambda *_: answer)
        with pytest.raises(TokenError, match="withheld"):
            wallet.sign_transaction(TRANSACTION)

    def test_to_sign_once_it_is_closed(self, token: SoftToken) -> None:
        wallet = open_token_wallet(token.uri("operator"), token.ask)
        wallet.close()
        with pytest.raises(TokenError, match="is closed"):
            wallet.sign_transaction(TRANSACTION)


def test_prints_no_key(wallet: TokenWallet) -> None:
    assert "OpenKey" not in repr(wallet)
    assert isinstance(wallet.sign_digest(bytes(32)), Signature)
