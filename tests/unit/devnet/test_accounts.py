from __future__ import annotations

import pytest

from dpki.devnet.accounts import COUNT, development_wallet
from dpki.errors import UsageError


def test_they_are_anvil_s() -> None:
    """The first two that Anvil's manual names."""
    assert (
        str(development_wallet(0, chain_id=31337).address)
        == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    )
    assert (
        str(development_wallet(1, chain_id=31337).address)
        == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    )
    addresses = {development_wallet(i, chain_id=31337).address for i in range(COUNT)}
    assert len(addresses) == COUNT


@pytest.mark.parametrize("chain_id", [1, 10, 1135, 4202, 0, 31338])
def test_no_other_chain_gets_them(chain_id: int) -> None:
    with pytest.raises(UsageError, match=f"not for chain {chain_id}"):
        development_wallet(chain_id=chain_id)


@pytest.mark.parametrize("index", [-1, COUNT])
def test_there_are_ten(index: int) -> None:
    with pytest.raises(UsageError):
        development_wallet(index, chain_id=31337)
