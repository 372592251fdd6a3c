from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.devices.document import make_key_document
from dpki.devices.keys import generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import UsageError
from dpki.issuance.next_key import NextKey, next_key, supply
from dpki.model import AuthorityKind

HOST, USER = AuthorityKind.SSH_HOST, AuthorityKind.SSH_USER
KEYS = replace(
    generate_device_keys(),
    ssh_host=(Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()),
    prekeys=(PrekeySecret.generate(4), PrekeySecret.generate(9)),
)
DOCUMENT = make_key_document(KEYS)
OLD, NEWEST = DOCUMENT.ssh_host
FOUR, NINE = DOCUMENT.prekeys


@pytest.mark.parametrize(
    ("certified", "expected"),
    [
        (set(), NextKey(NEWEST)),
        ({OLD}, NextKey(NEWEST)),
        ({OLD, FOUR.blob}, NextKey(NEWEST)),
        ({NEWEST}, NextKey(FOUR.blob, FOUR)),
        ({OLD, NEWEST, FOUR.blob}, NextKey(NINE.blob, NINE)),
        ({NEWEST, NINE.blob}, NextKey(FOUR.blob, FOUR)),
    ],
)
def test_a_key_that_never_had_a_certificate(certified: set[bytes], expected: NextKey) -> None:
    assert next_key(DOCUMENT, HOST, certified, "gate-1") == expected


def test_the_clients_key_is_for_the_clients_certificate() -> None:
    (client,) = DOCUMENT.ssh_user
    assert next_key(DOCUMENT, USER, {OLD, NEWEST}, "gate-1") == NextKey(client)
    assert next_key(DOCUMENT, USER, {client}, "gate-1") == NextKey(FOUR.blob, FOUR)
    assert next_key(DOCUMENT, HOST, {client}, "gate-1") == NextKey(NEWEST)
    without = replace(DOCUMENT, ssh_user=())
    assert next_key(without, USER, set(), "gate-1") == NextKey(FOUR.blob, FOUR)


def test_a_supply_that_is_used_up() -> None:
    with pytest.raises(UsageError, match="gate-1 has no key left") as caught:
        next_key(DOCUMENT, HOST, {NEWEST, FOUR.blob, NINE.blob}, "gate-1")
    for way in ("dpki device topup", "--keygen admin", "--keygen same"):
        assert way in caught.value.hint


def test_what_is_left() -> None:
    assert supply(DOCUMENT, set()) == (FOUR, NINE)
    assert supply(DOCUMENT, {FOUR.blob}) == (NINE,)
    assert supply(DOCUMENT, {FOUR.blob, NINE.blob}) == ()
