from __future__ import annotations

import pytest

from dpki.config.presets import PRESETS, find_preset
from dpki.config.urls import verify_urls
from dpki.errors import UsageError


def test_the_chains_are_told_apart() -> None:
    ids = {name: preset.chain_id for name, preset in PRESETS.items()}
    assert ids == {"anvil": 31337, "anvil-optimism": 31337, "lisk": 1135, "lisk-sepolia": 4202}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    preset = PRESETS[name]
    assert verify_urls(preset.rpc) == preset.rpc
    assert preset.finality.confirmations >= 1
    assert preset.rpc[0].startswith("http://127.0.0.1:" if "anvil" in name else "https://")


def test_only_a_local_chain_believes_in_a_new_authority_at_once() -> None:
    at_once = {n for n, p in PRESETS.items() if p.finality.authority_finality == "latest"}
    assert at_once == {"anvil", "anvil-optimism"}


def test_own_endpoints_take_the_place_of_the_public_ones() -> None:
    chosen = find_preset("lisk", rpc=("https://mine.example",))
    assert chosen.rpc == ("https://mine.example",)
    assert chosen.chain_id == 1135


def test_an_unknown_chain() -> None:
    with pytest.raises(UsageError, match="no chain is called 'mainnet'") as caught:
        find_preset("mainnet")
    assert "lisk-sepolia" in caught.value.hint
