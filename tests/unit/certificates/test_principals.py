import pytest

from dpki.certificates.principals import (
    MAXIMUM_PRINCIPALS,
    account_principal,
    device_principal,
    is_account_principal,
    verify_name,
    verify_principals,
)
from dpki.errors import InvalidPrincipal
from dpki.model import Address


def test_returns_the_names_in_their_order() -> None:
    assert verify_principals(iter(["root", "alice@example.org"])) == ("root", "alice@example.org")


def test_takes_every_character_that_the_format_names() -> None:
    name = "AZaz09._-:@/+"
    assert verify_principals([name]) == (name,)


def test_length_is_1_to_128() -> None:
    assert verify_name("a" * 128)
    with pytest.raises(InvalidPrincipal):
        verify_name("a" * 129)


def test_at_most_64() -> None:
    names = [f"p{number}" for number in range(MAXIMUM_PRINCIPALS)]
    assert len(verify_principals(names)) == 64
    with pytest.raises(InvalidPrincipal, match="at most 64"):
        verify_principals([*names, "one-more"])


def test_one_text_is_no_list_of_names() -> None:
    # Its letters are names too.
    with pytest.raises(InvalidPrincipal, match="not one text"):
        verify_principals("root")


def test_each_once() -> None:
    with pytest.raises(InvalidPrincipal, match="'root' is given twice"):
        verify_principals(["root", "alice", "root"])


def test_device_principal_is_lower_case() -> None:
    address = Address.parse("0xABCDEF0123456789abcdef0123456789ABCDEF01".lower())
    assert device_principal(address) == "device:0xabcdef0123456789abcdef0123456789abcdef01"
    assert verify_principals([device_principal(address)])


def test_an_account_of_one_device() -> None:
    address = Address(b"\xab" * 20)
    name = account_principal("ops", address)
    assert name == f"ops@device:0x{'ab' * 20}"
    assert verify_principals([name])
    assert is_account_principal(name)


@pytest.mark.parametrize(
    "name",
    [
        "ops",
        f"device:0x{'ab' * 20}",
        f"@device:0x{'ab' * 20}",
        f"ops@device:0x{'AB' * 20}",
        f"ops@device:0x{'ab' * 21}",
        f"ops@root@device:0x{'ab' * 20}",
    ],
)
def test_what_looks_like_an_account_of_one_device(name: str) -> None:
    assert not is_account_principal(name)
