from __future__ import annotations

import pytest

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.errors import MalformedInput
from dpki.model import Hash32


def test_keys_are_sorted_bytewise_by_their_encoding() -> None:
    assert dumps({"bb": 1, "z": 2, "aa": 3, "a": 4}) == bytes.fromhex(
        "a46161 04617a 02626161 03626262 01"
    )


@pytest.mark.parametrize(
    "value",
    [0, 23, 24, 255, 256, (1 << 64) - 1, "", "ä", b"", b"\0", [], [[1], {}], {"a": {"b": []}}],
)
def test_what_is_written_is_read(value: object) -> None:
    assert loads_strict(dumps(value), 1000) == value


@pytest.mark.parametrize(
    "value",
    [None, True, 1.0, -1, 1 << 64, {1: 2}, {b"k": 1}, (1, 2), {"a": [None]}, Hash32(bytes(32))],
    ids=repr,
)
def test_other_types_are_not_written(value: object) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_nesting_has_an_end() -> None:
    value: object = 1
    for _ in range(9):
        value = [value]
    with pytest.raises(TypeError, match="deep"):
        dumps(value)


@pytest.mark.parametrize(
    ("spelling", "data"),
    [
        ("nothing", ""),
        ("cut off", "a261610161"),
        ("longer integer than needed", "1800"),
        ("longer length than needed", "580100"),
        ("keys out of order", "a2616201616102"),
        ("a key twice", "a2616101616102"),
        ("indefinite list", "9fff"),
        ("indefinite map", "bfff"),
        ("indefinite bytes", "5f4101ff"),
        ("a tag, of a date", "c11a514b67b0"),
        ("a tag, of a big number", "c249010000000000000000"),
        ("a tag, of a pattern", "d823612e"),
        ("a tag, of a shared value", "d81c80"),
        ("a tag that says it is CBOR", "d9d9f780"),
        ("a list that holds itself", "d81c81d81d00"),
        ("negative", "20"),
        ("null", "f6"),
        ("undefined", "f7"),
        ("true", "f5"),
        ("a float", "fb3ff0000000000000"),
        ("not a number", "f97e00"),
        ("a simple value", "e0"),
        ("a key that is no text", "a10102"),
        ("a key that can't be one", "a18001"),
        ("text that isn't UTF-8", "62c328"),
        ("something behind", "0000"),
        ("more bytes than there are", "5a7fffffff"),
        ("more items than there are", "9a7fffffff"),
        ("more pairs than there are", "bb7fffffffffffffff"),
        ("nested deeply", "81" * 500 + "80"),
        ("nested just too deeply", "81" * 9 + "01"),
    ],
)
def test_every_other_spelling_is_refused(spelling: str, data: str) -> None:
    with pytest.raises(MalformedInput):
        loads_strict(bytes.fromhex(data), 1000)


@pytest.mark.parametrize("tagged", ["c11a514b67b0", "d823612e", "d81c80", "da7fffffff00"])
def test_nothing_is_built_from_a_tag(tagged: str) -> None:
    # The parser itself refuses, before a date, pattern or shared list exists.
    with pytest.raises(MalformedInput, match="not CBOR"):
        loads_strict(bytes.fromhex(tagged), 100)


def test_lists_that_share_lists_that_share_lists() -> None:
    # 100 ** 6 items in 2 KB, if shared values were taken.
    levels = [bytes.fromhex("d81c80")]
    levels += [bytes.fromhex("d81c9864") + bytes([0xD8, 0x1D, level]) * 100 for level in range(6)]
    with pytest.raises(MalformedInput, match="not CBOR"):
        loads_strict(bytes([0x80 + len(levels)]) + b"".join(levels), 10_000)


def test_size_is_checked_before_anything_else() -> None:
    data = dumps(b"x" * 100)
    assert loads_strict(data, len(data)) == b"x" * 100
    with pytest.raises(MalformedInput, match="more than the"):
        loads_strict(data, len(data) - 1)


class TestFields:
    REQUIRED = {"v": int, "name": str}  # noqa: RUF012

    def test_exactly_these(self) -> None:
        value = {"v": 1, "name": "n", "key": b"k"}
        assert fields_of(value, "thing", required=self.REQUIRED, optional={"key": bytes}) == value

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([], "not a thing"),
            ({"v": 1}, "lacks name"),
            ({"v": 1, "name": "n", "x": 1}, "unknown field 'x'"),
            ({"v": 1, "name": b"n"}, "wrong type"),
        ],
    )
    def test_anything_else(self, value: object, message: str) -> None:
        with pytest.raises(MalformedInput, match=message):
            fields_of(value, "thing", required=self.REQUIRED, optional={})

    @pytest.mark.parametrize("value", [[], {}, {"v": "1"}])
    def test_no_version(self, value: object) -> None:
        with pytest.raises(MalformedInput, match="not a thing"):
            verify_version(value, "thing", 1)

    @pytest.mark.parametrize("version", [0, 2])
    def test_another_version(self, version: int) -> None:
        with pytest.raises(MalformedInput, match=f"version {version}"):
            verify_version({"v": version}, "thing", 1)
