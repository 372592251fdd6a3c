"""A council's slots against the compiler's own storage layout. On a chain: tests/contracts."""

from __future__ import annotations

from dpki.chain import council_layout as layout
from dpki.transactions.artifacts import load_artifact

STORAGE = load_artifact("RootCouncil").storage_layout


def members_of(struct: str) -> list[tuple[str, int, int]]:
    (found,) = [t for t in STORAGE["types"].values() if t["label"] == f"struct {struct}"]
    return [(m["label"], int(m["slot"]), int(m["offset"])) for m in found["members"]]


def test_variables() -> None:
    slots = {v["label"]: (int(v["slot"]), int(v["offset"])) for v in STORAGE["storage"]}
    # OpenZeppelin's, always empty here.
    del slots["_nameFallback"], slots["_versionFallback"]
    assert slots == {
        "_currentTable": (layout.HEAD, 0),
        "_lastMoved": (layout.HEAD, 4),
        "_roots": (layout.HEAD, 10),
        "_seats": (layout.SEATS, 0),
        "_seatAfter": (layout.SEAT_NUMBERS, 0),
        "_tables": (layout.TABLES, 0),
        "_parameters": (layout.PARAMETERS, 0),
        "_rounds": (layout.ROUNDS, 0),
        "_nonces": (layout.NONCES, 0),
        "_subjects": (layout.SUBJECTS, 0),
        "_opened": (layout.OPENED, 0),
        "coolingUntil": (layout.COOLING, 0),
    }


def test_seats_tables_and_what_is_open() -> None:
    """Offsets in bytes from the low end of each word."""
    assert members_of("IRootCouncil.Seat") == [("account", 0, 0), ("role", 0, 20), ("since", 0, 21)]
    assert members_of("IRootCouncil.Table") == [
        ("weights", 0, 0),
        ("electorate", 8, 0),
        ("heads", 8, 16),
        ("cap", 8, 17),
        ("total", 8, 19),
        ("rule", 8, 23),
        ("faults", 8, 24),
    ]
    assert members_of("RootCouncil.Opened") == [("decision", 0, 0), ("alarm", 1, 0)]
    assert layout.seat_slot(127) == layout.SEAT_NUMBERS - 1
    assert layout.opened_slots(127)[1] == layout.COOLING - 1


def test_rounds() -> None:
    """Three words: what voting changes stands in the last two, but for two bytes and a time."""
    assert members_of("IRootCouncil.Round") == [
        ("kind", 0, 0),
        ("state", 0, 1),
        ("settled", 0, 2),
        ("proposer", 0, 3),
        ("table", 0, 4),
        ("delay", 0, 8),
        ("openedAt", 0, 12),
        ("deadline", 0, 18),
        ("approvedAt", 0, 24),
        ("approvals", 1, 0),
        ("rejections", 1, 16),
        ("struck", 2, 0),
        ("approvalWeight", 2, 16),
        ("rejectionWeight", 2, 20),
        ("struckWeight", 2, 24),
        ("approvalHeads", 2, 28),
        ("rejectionHeads", 2, 29),
        ("struckHeads", 2, 30),
    ]
