from __future__ import annotations

import pytest

from dpki.chain import decode
from dpki.errors import EndpointUnavailable
from dpki.model import Hash32


def test_reads_what_the_execution_api_prescribes() -> None:
    assert decode.quantity("0x0", "x") == 0
    assert decode.quantity("0x41", "x") == 65
    assert decode.quantity("0x" + "f" * 64, "x") == 2**256 - 1
    assert decode.data("0x", "x") == b""
    assert decode.data("0xAb01", "x") == b"\xab\x01"
    assert decode.hash32("0x" + "01" * 32, "x") == Hash32(b"\x01" * 32)


@pytest.mark.parametrize(
    "value",
    [None, 1, True, "", "0x", "1", "0x00", "0x01", "0xg", "0x1 ", "-0x1", "0x" + "f" * 65, ["0x1"]],
)
def test_refuses_other_numbers(value: object) -> None:
    with pytest.raises(EndpointUnavailable, match="somewhere answered nonsense"):
        decode.quantity(value, "somewhere")


@pytest.mark.parametrize("value", [None, b"", "", "00", "0x0", "0xzz", "0x00\n", {}])
def test_refuses_other_bytes(value: object) -> None:
    with pytest.raises(EndpointUnavailable):
        decode.data(value, "x")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_word_has_32_bytes(length: int) -> None:
    with pytest.raises(EndpointUnavailable):
        decode.word("0x" + "00" * length, "x")


@pytest.mark.parametrize("seconds", [2**40, 2**63, 2**95])
def test_a_time_beyond_the_calendar_is_nonsense_and_no_crash(seconds: int) -> None:
    with pytest.raises(EndpointUnavailable):
        decode.time(seconds, "x")


def test_a_block_number_that_no_chain_reaches_is_nonsense() -> None:
    """Nodes and databases count to 2^63: one that is beyond could never be asked about again."""
    shown = {"hash": "0x" + "11" * 32, "timestamp": "0x65"}
    assert decode.block({**shown, "number": hex(2**63 - 1)}, "x").number == 2**63 - 1
    with pytest.raises(EndpointUnavailable, match="block number"):
        decode.block({**shown, "number": hex(2**63)}, "x")


def test_objects_and_lists_are_told_apart() -> None:
    for wrong in (None, [], "x"):
        with pytest.raises(EndpointUnavailable):
            decode.mapping(wrong, "x")
    for wrong in (None, {}, "x"):
        with pytest.raises(EndpointUnavailable):
            decode.sequence(wrong, "x")


def test_a_block_needs_number_hash_and_time() -> None:
    block = {"number": "0x5", "hash": "0x" + "11" * 32, "timestamp": "0x65"}
    assert decode.block(block, "x").number == 5
    for key in block:
        with pytest.raises(EndpointUnavailable):
            decode.block({k: v for k, v in block.items() if k != key}, "x")
