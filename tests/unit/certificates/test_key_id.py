import pytest

from dpki.certificates.key_id import key_id, reason_of, verify_key_id_parts, verify_reason
from dpki.errors import InvalidPrincipal, UsageError
from dpki.model import Address, AuthorityId, DomainId, Hash32

DOMAIN = DomainId(31337, Address(bytes(19) + b"\x01"), Hash32.zero())
CA = AuthorityId(bytes.fromhex("0123456789abcdef" * 4))
PLAIN = "0x0000000000000000000000000000000000000001/0123456789abcdef/12/alice"


def test_form() -> None:
    assert key_id(DOMAIN, CA, 12, "alice") == PLAIN
    assert key_id(DOMAIN, CA, 12, "alice", "TICKET-17") == f"{PLAIN}#TICKET-17"


def test_other_parts_in_another_order() -> None:
    assert key_id(DOMAIN, CA, 12, "alice", parts=("person", "serial")) == "alice/12"
    assert key_id(DOMAIN, CA, 12, "alice", "X", parts=("person", "serial")) == "alice/12"


def test_the_reason_reads_back() -> None:
    assert reason_of(key_id(DOMAIN, CA, 12, "team/alice", "TICKET-17")) == "TICKET-17"
    assert reason_of(key_id(DOMAIN, CA, 12, "team/alice")) == ""


@pytest.mark.parametrize(
    "parts",
    [
        ("serial",),
        ("person",),
        ("serial", "person", "person"),
        ("serial", "person", "mood"),
        ("reason", "serial", "person"),
    ],
)
def test_schemes_that_tell_too_little(parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        verify_key_id_parts(parts)


@pytest.mark.parametrize("subject", ["", "al ice", "alice\n", "a" * 129, "ålice", "alice#X"])
def test_refuses_other_subjects(subject: str) -> None:
    with pytest.raises(InvalidPrincipal):
        key_id(DOMAIN, CA, 12, subject)


@pytest.mark.parametrize("reason", ["", "a b", "a#b", "a/b", "a\nAccepted", "x" * 65, "ü"])
def test_refuses_other_reasons(reason: str) -> None:
    with pytest.raises(UsageError):
        verify_reason(reason)
