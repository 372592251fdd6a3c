"""The development accounts: Anvil's, from a mnemonic that the whole world knows.

They hold play money on a private chain. On any other chain whatever they hold is stolen at once, so
they are given out for the devnet's chain id only.
"""

from __future__ import annotations

from eth_account import Account

from dpki.devnet.anvil import CHAIN_ID
from dpki.errors import UsageError
from dpki.transactions.wallet import KeyWallet

COUNT = 10
"""How many Anvil funds, with 10,000 ether each."""

_MNEMONIC = "test test test test test test test test test test test junk"


def development_wallet(index: int = 0, *, chain_id: int) -> KeyWallet:
    """Return a funded wallet of the devnet.

    Args:
        index: 0 to 9.
        chain_id: The chain that it is to be used on, as its endpoint says.

    Raises:
        UsageError: The chain is not the devnet's, or there is no such account.
    """
    if chain_id != CHAIN_ID:
        raise UsageError(
            f"development accounts are for the devnet (chain {CHAIN_ID}), not for chain {chain_id}",
            hint="everybody knows their keys; make a wallet with `dpki init`",
        )
    if not 0 <= index < COUNT:
        raise UsageError(f"there are development accounts 0 to {COUNT - 1}, and no {index}")
    Account.enable_unaudited_hdwallet_features()
    return KeyWallet.of(Account.from_mnemonic(_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}"))
