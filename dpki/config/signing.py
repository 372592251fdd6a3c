"""Where the admin's signing keys are, and what their transactions may cost.

[wallet]
key = "pkcs11:token=acme;object=operator"    # instead of the keystore
max_fee = "0.05"                             # ether, for one transaction
gas_limit = 5000000                          # gas, for one transaction

[keys]                                       # CAs whose key is not the token's of their name
users = "file:/etc/dpki/users.pem"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpki.config.amounts import format_ether, parse_ether
from dpki.config.toml import Table, Value
from dpki.config.values import verify_name, verify_secret_source
from dpki.signer.uri import KeyUri, Pkcs11Uri, parse_key_uri


@dataclass(frozen=True)
class WalletConfig:
    """The account that signs transactions, beside where its passphrase comes from.

    Attributes:
        key: Its key in a token; None for the keystore in the home.
        maximum_fee: Wei that one transaction may cost; None for the default.
        maximum_gas: Gas that one transaction may use; None for what it needs.
    """

    key: Pkcs11Uri | None = None
    maximum_fee: int | None = None
    maximum_gas: int | None = None


def parse_wallet(table: Table) -> tuple[str, WalletConfig]:
    """Parse `[wallet]`: where the passphrase comes from, and the rest."""
    passphrase = table.parsed("passphrase", verify_secret_source, "prompt")
    wallet = WalletConfig(
        key=table.parsed("key", Pkcs11Uri.parse) if "key" in table else None,
        maximum_fee=table.parsed("max_fee", parse_ether) if "max_fee" in table else None,
        maximum_gas=table.integer("gas_limit", minimum=21_000) if "gas_limit" in table else None,
    )
    table.close()
    return passphrase, wallet


def dump_wallet(passphrase: str, wallet: WalletConfig) -> dict[str, Value]:
    """Return what stands in `[wallet]`."""
    values: dict[str, Value] = {"passphrase": passphrase}
    if wallet.key is not None:
        values["key"] = str(wallet.key)
    if wallet.maximum_fee is not None:
        values["max_fee"] = format_ether(wallet.maximum_fee)
    if wallet.maximum_gas is not None:
        values["gas_limit"] = wallet.maximum_gas
    return values


def parse_keys(table: Table) -> Mapping[str, KeyUri]:
    """Parse `[keys]`: where the keys of CAs are, by the CAs' local names."""
    keys: dict[str, KeyUri] = {}
    for name in table.names():
        with table.blame(name):
            verify_name(name)
        keys[name] = table.parsed(name, parse_key_uri)
    table.close()
    return keys
