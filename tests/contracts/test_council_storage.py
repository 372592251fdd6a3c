"""What a council's words hold, where docs/contracts.md says they are, on a chain."""

import pytest

from dpki.chain import council_layout as layout
from dpki.model import AuthorityId
from tests.contracts.council import STILL, Kind, Role, found, govern


@pytest.fixture(scope="module")
def council(world):
    return govern(found(world, [Role.ROOT] * 3 + [Role.ORDINARY] * 3, STILL))


@pytest.fixture
def word(council):
    return lambda slot: council.world.storage_at(council.contract, slot)


def test_seats_and_tables(council, word):
    seat = council.contract.seat(3)
    packed = int(seat.account, 16) | seat.role << 160 | seat.since << 168
    assert word(layout.seat_slot(3)) == packed
    number = council.contract.currentTable()
    table = council.table
    *weights, rest = [word(slot) for slot in layout.table_slots(number)]
    assert weights == list(table.weights)
    assert rest == (
        table.electorate
        | table.heads << 128
        | table.cap << 136
        | table.total << 152
        | table.rule << 184
        | table.faults << 192
    )
    assert word(layout.HEAD) == number | council.contract.lastMoved() << 32 | 0b111 << 80


def test_rounds(council, word):
    opened = council.propose(council.adding(), by=2)
    council.approve(opened, 0, 1, 2, 3)
    council.approve(opened, 4)
    council.reject(opened, 5)
    round = council.round(opened)
    first, votes, rest = [word(slot) for slot in layout.round_slots(opened.id)]
    assert first == (
        round.kind
        | 1 << 8
        | round.settled << 16
        | round.proposer << 24
        | round.table << 32
        | round.delay << 64
        | round.openedAt << 96
        | round.deadline << 144
        | round.approvedAt << 192
    )
    assert votes == 0b011111 | 0b100000 << 128
    assert rest == (
        round.struck
        | round.approvalWeight << 128
        | round.rejectionWeight << 160
        | round.struckWeight << 192
        | round.approvalHeads << 224
        | round.rejectionHeads << 232
        | round.struckHeads << 240
    )
    assert word(layout.nonce_slot(opened.id, 5)) == 0x010101010101
    assert word(layout.opened_slots(2)[0]) == int.from_bytes(opened.id)
    assert word(layout.opened_slots(2)[1]) == 0


def test_cooling(council, word):
    for kind in (Kind.SUSPENSION, Kind.LIFT):
        alarm = council.alarm(kind)
        council.execute(alarm, *[council.signed(alarm, n) for n in range(6)])
    ca = AuthorityId(council.world.ca)
    assert word(layout.cooling_slot(ca)) == council.contract.coolingUntil(ca) > 0
