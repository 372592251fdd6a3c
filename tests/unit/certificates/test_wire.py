import pytest

from dpki.certificates.wire import WireReader, string, uint32, uint64
from dpki.errors import MalformedInput


def test_reads_what_was_written() -> None:
    reader = WireReader(b"\x07" + uint32(1) + uint64(2**64 - 1) + string(b"") + string(b"ab"), "x")
    assert reader.byte() == 7
    assert reader.uint32() == 1
    assert reader.uint64() == 2**64 - 1
    assert reader.string() == b""
    assert reader.string() == b"ab"
    reader.end()


@pytest.mark.parametrize("data", [b"", b"\0\0\0", uint32(1), uint32(2**32 - 1) + b"abc"])
def test_truncated_strings_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput, match="the thing is truncated"):
        WireReader(data, "thing").string()


def test_bytes_left_over_are_refused() -> None:
    reader = WireReader(string(b"a") + b"xy", "thing")
    reader.string()
    with pytest.raises(MalformedInput, match="the thing has 2 bytes too many"):
        reader.end()
