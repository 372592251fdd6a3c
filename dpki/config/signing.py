"""Where the admin's signing keys are, and what their transactions may cost.

    [token]
    module = "/usr/lib/softhsm/libsofthsm2.so"
    label = "acme"
    pin = "prompt"

[wallet]
key = "pkcs11:token=acme;object=operator"    # instead of the keystore
max_fee = "0.05"                             # ether, for one transaction
gas_limit = 5000000                          # gas, for one transaction

[keys]                                       # CAs whose key is not the token's of their name
users = "file:/etc/dpki/users.pem"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpki.config.amounts import format_ether, parse_ether
from dpki.config.toml import Table, Value
from dpki.config.values import verify_label, verify_name, verify_secret_source
from dpki.signer.uri import KeyUri, Pkcs11Uri, parse_key_uri


@dataclass(frozen=True)
class TokenConfig:
    """The PKCS#11 token with the CAs' keys.

    People without one have their CAs' keys in files.

    Attributes:
        module: The vendor's PKCS#11 library.
        label: The token's label; empty where there is none.
        pin: Where the PIN comes from; never the PIN.
        environment: Variables that the library needs, each an absolute path, such as
            SOFTHSM2_CONF; set unless the environment has them already.
    """

    module: Path = Path("/")
    label: str = ""
    pin: str = "prompt"
    environment: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        """Whether there is a token."""
        return bool(self.label)


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


def parse_token(table: Table) -> TokenConfig:
    """Parse `[token]`."""
    variables = table.table("environment")
    environment: dict[str, Path] = {}
    for name in variables.names():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise variables.error(name, "is not the name of an environment variable")
        environment[name] = _absolute(variables, name)
    is_there = "label" in table or "module" in table
    token = TokenConfig(
        module=_absolute(table, "module") if is_there else Path("/"),
        label=table.parsed("label", verify_label) if is_there else "",
        pin=table.parsed("pin", verify_secret_source, "prompt"),
        environment=environment,
    )
    table.close()
    return token


def dump_token(token: TokenConfig) -> dict[str, Value]:
    """Return what stands in `[token]`."""
    where: dict[str, Value] = {"module": str(token.module), "label": token.label}
    environment = {name: str(path) for name, path in sorted(token.environment.items())}
    return {**(where if token.is_there else {}), "pin": token.pin, "environment": environment}


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


def _absolute(table: Table, key: str) -> Path:
    text = table.text(key)
    if not text.startswith("/"):
        raise table.error(key, f"must be an absolute path, not {text[:80]!r}")
    return Path(text)
