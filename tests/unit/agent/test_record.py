"""What the agent remembers of its own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.agent.record import (
    Held,
    Hold,
    Record,
    digest,
    encode_hold,
    encode_record,
    load_hold,
    load_record,
    parse_hold,
    parse_record,
)
from dpki.agent.rotation import Pair
from dpki.bundle.codec import dumps
from dpki.errors import MalformedInput
from tests.world import NOW

RECORD = Record(
    "ab", (Pair("0" * 16), Pair("1" * 16, NOW)), {"revoked.krl": frozenset([digest(b"krl")])}
)
HOLD = Hold(Held("0" * 16, ("1" * 16,)), Held("ab", ("cd",)))


def test_both_read_back() -> None:
    assert parse_record(encode_record(RECORD)) == RECORD
    assert parse_record(encode_record(Record())) == Record()
    for hold in (HOLD, Hold(), Hold(host=HOLD.host), Hold(settings=HOLD.settings)):
        assert parse_hold(encode_hold(hold)) == hold


@pytest.mark.parametrize(
    "value",
    [
        {"v": 1, "told": "", "pairs": [{"name": "../../etc/x"}], "files": {}},
        {"v": 1, "told": "", "pairs": [{"name": "0" * 16, "superseded": 2**63}], "files": {}},
        {"v": 1, "told": "", "pairs": [], "files": {"a": "b"}},
        {"v": 1, "told": "", "pairs": [], "files": {"a": ["b"]}},
        {"v": 2, "told": "", "pairs": [], "files": {}},
    ],
)
def test_what_is_no_record(value: object) -> None:
    with pytest.raises(MalformedInput):
        parse_record(dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        {"v": 1, "host": {"what": "../x", "against": []}},
        {"v": 1, "host": {"what": "0" * 16, "against": [1]}},
        {"v": 1, "settings": {"what": "x"}},
    ],
)
def test_what_is_no_hold(value: object) -> None:
    with pytest.raises(MalformedInput):
        parse_hold(dumps(value))


def test_damaged_or_missing_ones_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert (load_record(path), load_hold(path)) == (Record(), Hold())
    path.write_bytes(b"damaged")
    assert (load_record(path), load_hold(path)) == (Record(), Hold())


def test_who_wrote_a_file() -> None:
    assert RECORD.is_ours("revoked.krl", b"krl")
    assert not RECORD.is_ours("revoked.krl", b"another")
    assert not RECORD.is_ours("revoked.krl", None), "somebody removed it"
    assert RECORD.is_ours("login.db", b"whatever"), "nothing is known of it"
    # A run that was killed may have written it, or not yet.
    coming = RECORD.expecting([("revoked.krl", b"new")])
    assert coming.is_ours("revoked.krl", b"krl")
    assert coming.is_ours("revoked.krl", b"new")
    assert not coming.is_ours("revoked.krl", b"another")
    assert not coming.is_ours("revoked.krl", None)
    first = Record().expecting([("revoked.krl", b"new")])
    assert first.is_ours("revoked.krl", None)
    assert first.is_ours("revoked.krl", b"new")
    assert not first.is_ours("revoked.krl", b"another")
