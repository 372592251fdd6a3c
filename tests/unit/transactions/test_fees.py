"""Fees: high enough to replace, and what a node means by its refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpki.transactions.fees import Fees, Refusal, classify_refusal, raise_fees, suggest_fees

WEI = st.integers(min_value=0, max_value=10**18)


@given(WEI, WEI, WEI, WEI)
def test_a_replacement_offers_an_eighth_more_of_both_and_what_the_market_asks(
    tip: int, rest: int, base: int, market_tip: int
) -> None:
    market = suggest_fees(base, market_tip)
    raised = raise_fees(Fees(tip, tip + rest), market)
    assert raised.tip * 8 >= tip * 9
    assert raised.maximum * 8 >= (tip + rest) * 9
    assert raised.tip > tip
    assert raised.maximum > tip + rest
    assert (raised.tip >= market.tip, raised.maximum >= market.maximum) == (True, True)
    assert raised.maximum >= raised.tip


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("nonce too low: next nonce 6, tx nonce 5", Refusal.NONCE_TAKEN),
        ("Nonce too low", Refusal.NONCE_TAKEN),
        ("replacement transaction underpriced", Refusal.NONCE_TAKEN),
        ("transaction underpriced: tip needed 1, tip permitted 0", Refusal.FEE_TOO_LOW),
        ("max fee per gas less than block base fee: address 0x1", Refusal.FEE_TOO_LOW),
        ("max fee per gas too low", Refusal.FEE_TOO_LOW),
        ("insufficient funds for gas * price + value", Refusal.OTHER),
        ("exceeds block gas limit", Refusal.OTHER),
        ("", Refusal.OTHER),
    ],
)
def test_what_nodes_say(message: str, refusal: Refusal) -> None:
    assert classify_refusal(message) is refusal
