"""What a transaction may cost, and what makes a node take another in its place."""

from __future__ import annotations

import enum
from dataclasses import dataclass

MAXIMUM_FEE = 2 * 10**17
"""Wei that one transaction may cost: an endpoint's absurd fees must not empty an account."""


@dataclass(frozen=True)
class Fees:
    """What a transaction offers for a unit of gas, in wei (EIP-1559).

    Attributes:
        tip: To the block's builder.
        maximum: In all.
    """

    tip: int
    maximum: int


def suggest_fees(base: int, tip: int) -> Fees:
    """Return fees that hold until the base fee has doubled, six full blocks at least."""
    return Fees(tip, 2 * base + tip)


def raise_fees(fees: Fees, market: Fees) -> Fees:
    """Return fees for a transaction that is to take the place of one with `fees`.

    Both are an eighth (12.5 %) higher at least: nodes demand a tenth (geth's `txpool.pricebump`),
    some an eighth. Where the market asks for more, it gets that.
    """
    return Fees(
        max(_eighth_more(fees.tip), market.tip), max(_eighth_more(fees.maximum), market.maximum)
    )


def _eighth_more(wei: int) -> int:
    return max(-(-wei * 9 // 8), wei + 1)


class Refusal(enum.Enum):
    """Why a node would not take a transaction into its pool."""

    NONCE_TAKEN = enum.auto()
    """Another transaction of the account has its number, mined or waiting."""
    FEE_TOO_LOW = enum.auto()
    """It offers less than the node or the next block demands."""
    OTHER = enum.auto()


def classify_refusal(message: str) -> Refusal:
    """Return what a node means: JSON-RPC has no codes for it, so by the words of those there are.

    They are geth's (core/txpool/errors.go), which Anvil, Nethermind, Besu and op-geth follow.
    """
    text = message.lower()
    if "nonce too low" in text or "replacement transaction underpriced" in text:
        return Refusal.NONCE_TAKEN
    if "underpriced" in text or ("fee" in text and ("less than" in text or "too low" in text)):
        return Refusal.FEE_TOO_LOW
    return Refusal.OTHER
