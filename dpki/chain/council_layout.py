"""Where a council keeps what: the slots that its seats, tables and rounds are proven by.

Rules and reasons as in `dpki.chain.layout`; tests/unit holds the constants against the storage
layout that the compiler wrote into the artifact.
"""

from __future__ import annotations

from dpki.chain.layout import mapping_slot
from dpki.model import AuthorityId

HEAD = 0
SEATS = 1
SEAT_NUMBERS = 129
TABLES = 130
PARAMETERS = 131
ROUNDS = 138
NONCES = 139
SUBJECTS = 140
OPENED = 141
COOLING = 397

_SLOTS = 2**256
_TABLE_WORDS = 9
_ROUND_WORDS = 3
_NONCES_IN_A_WORD = 32


def seat_slot(number: int) -> int:
    """Return the slot of a seat: account 160 bits, role 8, since 64, lowest first."""
    return SEATS + number


def table_slots(number: int) -> list[int]:
    """Return the slots of a table: eight words of 16 weights each, lowest first, and the rest.

    The rest, lowest first: electorate 128 bits, heads 8, cap 16, total 32, rule 8, faults 8.
    """
    base = mapping_slot(number.to_bytes(32), TABLES)
    return [(base + word) % _SLOTS for word in range(_TABLE_WORDS)]


def round_slots(round_id: bytes) -> list[int]:
    """Return the slots of a round's three words, each lowest first.

    Kind 8 bits, state 8, settled 8, proposer 8, table 32, delay 32, opened at 48, deadline 48,
    approved at 48; approvals 128, rejections 128; struck 128, weight of approvals 32, of rejections
    32, of the struck 32, and heads of each 8.
    """
    base = mapping_slot(round_id, ROUNDS)
    return [(base + word) % _SLOTS for word in range(_ROUND_WORDS)]


def nonce_slot(round_id: bytes, seat: int) -> int:
    """Return the slot with a seat's nonce in a round: 8 bits each, the 32 lowest seats first."""
    return (mapping_slot(round_id, NONCES) + seat // _NONCES_IN_A_WORD) % _SLOTS


def opened_slots(seat: int) -> tuple[int, int]:
    """Return the slots of the ids of a seat's unsettled decision and alarm."""
    return OPENED + 2 * seat, OPENED + 2 * seat + 1


def cooling_slot(ca: AuthorityId) -> int:
    """Return the slot of the time until which suspending a CA needs one half."""
    return mapping_slot(ca, COOLING)
