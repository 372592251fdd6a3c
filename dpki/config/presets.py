"""Chains that dpki knows by name; any other takes a URL and a chain id.

Nothing depends on any of them. Sources: Lisk documentation, "Network information" and "API
providers" (docs.lisk.com/network-info, docs.lisk.com/lisk-tools/api-providers); Foundry's Anvil for
the local ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from dpki.config.admin import ChainConfig
from dpki.config.finality import Finality
from dpki.errors import UsageError

# A chain on one's own machine has no reorgs, and its "finalized" block lags 64 blocks that may
# never come.
_LOCAL = Finality(confirmations=1, authority_finality="latest")
# OP stack: "latest" (unsafe) is the sequencer's word, "safe" is derived from data on the layer
# below, "finalized" from data in a block that is final there, typically 20 to 30 minutes later
# (Optimism documentation, "Transaction finality" and "Derivation pipeline").
_ROLLUP = Finality(confirmations=1, authority_finality="finalized")

PRESETS: Mapping[str, ChainConfig] = MappingProxyType(
    {
        "anvil": ChainConfig(chain_id=31337, rpc=("http://127.0.0.1:8545",), finality=_LOCAL),
        "anvil-optimism": ChainConfig(
            chain_id=31337, rpc=("http://127.0.0.1:8545",), optimism=True, finality=_LOCAL
        ),
        "lisk": ChainConfig(
            chain_id=1135,
            rpc=("https://rpc.api.lisk.com", "https://lisk.drpc.org"),
            explorer="https://blockscout.lisk.com",
            optimism=True,
            finality=_ROLLUP,
        ),
        "lisk-sepolia": ChainConfig(
            chain_id=4202,
            rpc=("https://rpc.sepolia-api.lisk.com", "https://lisk-sepolia.drpc.org"),
            explorer="https://sepolia-blockscout.lisk.com",
            optimism=True,
            finality=_ROLLUP,
        ),
    }
)


def find_preset(name: str, *, rpc: tuple[str, ...] = ()) -> ChainConfig:
    """Return a known chain, with one's own endpoints instead of the public ones if any are given.

    Raises:
        UsageError: No chain has this name.
    """
    try:
        preset = PRESETS[name]
    except KeyError as error:
        raise UsageError(
            f"no chain is called {name!r}",
            hint=f"known are: {', '.join(PRESETS)}; any other by URL and chain id",
        ) from error
    return replace(preset, rpc=rpc) if rpc else preset
