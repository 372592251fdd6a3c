from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from eth_utils import to_checksum_address

from dpki.errors import MalformedInput
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    DomainId,
    FixedBytes,
    Hash32,
    from_timestamp,
    to_timestamp,
)

# the examples of EIP-55
CHECKSUMMED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
]
HASH = "0x" + "ab" * 32


class TestFixedBytes:
    @pytest.mark.parametrize(("kind", "size"), [(Hash32, 32), (AuthorityId, 32), (Address, 20)])
    def test_the_size_is_fixed(self, kind: type[FixedBytes], size: int) -> None:
        assert len(kind(bytes(size))) == size
        for wrong in (0, size - 1, size + 1):
            with pytest.raises(MalformedInput, match=f"{kind.__name__} needs {size} bytes"):
                kind(bytes(wrong))

    def test_hexadecimal_there_and_back(self) -> None:
        assert str(Hash32.parse(HASH)) == HASH
        assert Hash32.parse(HASH.replace("ab", "AB")) == Hash32.parse(HASH)

    @pytest.mark.parametrize(
        "text",
        ["", "0x", HASH[2:], HASH + "0", HASH + "\n", " " + HASH, "0X" + HASH[2:], HASH[:-1] + "g"],
    )
    def test_other_text(self, text: str) -> None:
        with pytest.raises(MalformedInput, match="64 hexadecimal digits"):
            Hash32.parse(text)

    def test_long_rubbish_is_not_repeated_whole(self) -> None:
        with pytest.raises(MalformedInput) as caught:
            Hash32.parse("x" * 10_000)
        assert len(str(caught.value)) < 200

    def test_a_parsed_value_is_of_the_class(self) -> None:
        assert type(AuthorityId.parse(HASH)) is AuthorityId
        assert type(AuthorityId.zero()) is AuthorityId
        assert repr(AuthorityId.parse(HASH)) == f"AuthorityId({HASH})"


class TestAddress:
    @pytest.mark.parametrize("text", CHECKSUMMED)
    def test_eip_55(self, text: str) -> None:
        assert str(Address.parse(text)) == text == to_checksum_address(text)

    @pytest.mark.parametrize("text", CHECKSUMMED)
    def test_one_case_needs_no_checksum(self, text: str) -> None:
        digits = text[2:]
        assert Address.parse("0x" + digits.lower()) == Address.parse(text)
        assert Address.parse("0x" + digits.upper()) == Address.parse(text)

    @pytest.mark.parametrize("text", CHECKSUMMED[:4])
    def test_a_mistyped_checksum(self, text: str) -> None:
        position = next(i for i, c in enumerate(text) if i > 1 and c.isalpha())
        mistyped = text[:position] + text[position].swapcase() + text[position + 1 :]
        with pytest.raises(MalformedInput, match="mistyped"):
            Address.parse(mistyped)

    def test_a_hash_is_no_address(self) -> None:
        with pytest.raises(MalformedInput):
            Address.parse(HASH)


class TestDomainId:
    TEXT = f"eip155:1135:{CHECKSUMMED[0]}@{HASH}"

    def test_there_and_back(self) -> None:
        domain = DomainId.parse(self.TEXT)
        assert str(domain) == self.TEXT
        assert domain == DomainId(1135, Address.parse(CHECKSUMMED[0]), Hash32.parse(HASH))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "eip155:1135",
            TEXT.replace("eip155", "cosmos"),
            TEXT.replace(":1135:", ":0:"),
            TEXT.replace(":1135:", ":01135:"),
            TEXT.replace(":1135:", ":-1:"),
            TEXT.replace(":1135:", f":{'9' * 33}:"),
            TEXT.replace("@", ":"),
            TEXT.replace("ab", "AB"),
            TEXT[:-1],
            TEXT + "0",
            TEXT + "\n",
            " " + TEXT,
            TEXT.replace("0x5aAe", "0x5aae"),
        ],
    )
    def test_anything_else(self, text: str) -> None:
        with pytest.raises(MalformedInput):
            DomainId.parse(text)

    def test_the_hint_says_where_it_comes_from(self) -> None:
        with pytest.raises(MalformedInput) as caught:
            DomainId.parse("acme")
        assert "dpki deploy" in caught.value.hint


class TestStates:
    def test_labels(self) -> None:
        assert [kind.label for kind in AuthorityKind] == ["ssh-user", "ssh-host", "tls"]
        assert AuthorityState.CLOSED_SUSPENDED.label == "closed-suspended"

    def test_only_active_and_closed_are_trusted(self) -> None:
        trusted = {state for state in AuthorityState if state.is_trusted}
        assert trusted == {AuthorityState.ACTIVE, AuthorityState.CLOSED}


class TestTimes:
    def test_they_are_aware_and_utc(self) -> None:
        assert from_timestamp(0) == datetime(1970, 1, 1, tzinfo=UTC)
        assert from_timestamp(0).tzinfo is UTC

    @pytest.mark.parametrize("seconds", [0, 1, 1 << 31, 1 << 33])
    def test_there_and_back(self, seconds: int) -> None:
        assert to_timestamp(from_timestamp(seconds)) == seconds

    def test_other_zones_and_fractions(self) -> None:
        zone = timezone(timedelta(hours=2))
        assert to_timestamp(datetime(1970, 1, 1, 2, 0, 1, 999_999, tzinfo=zone)) == 1
