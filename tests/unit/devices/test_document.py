from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.bundle.codec import dumps, loads_strict
from dpki.bundle.seal import SealingKeys
from dpki.certificates.keys import ssh_blob
from dpki.devices.document import (
    MAXIMUM_KEYS,
    MAXIMUM_PREKEYS,
    KeyDocument,
    Prekey,
    encode_key_document,
    make_key_document,
    parse_key_document,
)
from dpki.devices.keys import generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import MalformedInput
from tests.vectors_of import load_vectors

CASES = load_vectors("enrollment")["cases"]
KEYS = generate_device_keys()
DOCUMENT = make_key_document(KEYS)
FIELDS = loads_strict(encode_key_document(DOCUMENT), 1 << 15)


def blob() -> bytes:
    return ssh_blob(Ed25519PrivateKey.generate().public_key())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["type"])
def test_vectors(case: dict[str, Any]) -> None:
    document = KeyDocument(
        case["salt"],
        case["sequence"],
        SealingKeys(case["seal"]["x25519"], case["seal"]["mlkem768-x25519"]),
        tuple(case["ssh_host"]),
        tuple(case["ssh_user"]),
    )
    assert encode_key_document(document) == case["document"]
    assert parse_key_document(case["document"]) == document
    assert document.digest == case["key_document"]


def test_it_lists_the_device_s_public_keys() -> None:
    assert parse_key_document(encode_key_document(DOCUMENT)) == DOCUMENT
    assert DOCUMENT.sequence == 0
    assert DOCUMENT.sealing == KEYS.sealing.public
    assert DOCUMENT.ssh_host == KEYS.host_blobs
    assert DOCUMENT.ssh_user == KEYS.user_blobs


def test_the_digest_reveals_nothing() -> None:
    again = make_key_document(KEYS)
    assert again.digest != DOCUMENT.digest
    assert dataclasses.replace(again, salt=DOCUMENT.salt) == DOCUMENT
    assert DOCUMENT.digest == hashlib.sha256(encode_key_document(DOCUMENT)).digest()


def test_of_many_keys_the_newest_are_listed() -> None:
    many = tuple(Ed25519PrivateKey.generate() for _ in range(MAXIMUM_KEYS + 3))
    document = make_key_document(dataclasses.replace(KEYS, ssh_host=many))
    assert document.ssh_host[-1] == ssh_blob(many[-1].public_key())
    assert len(parse_key_document(encode_key_document(document)).ssh_host) == MAXIMUM_KEYS


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": 3},
        {"prekeys": []},
        {"extra": 1},
        {"salt": bytes(15)},
        {"salt": "text"},
        {"sequence": b"0"},
        {"seal": {}},
        {"seal": {"x25519": bytes(32)}},
        {"seal": {"x25519": FIELDS["seal"]["x25519"], "mlkem768-x25519": bytes(1216)}},
        {"seal": {"x25519": FIELDS["seal"]["x25519"], "other": b""}},
        {"seal": [1]},
        {"ssh_host": []},
        {"ssh_host": ["text"]},
        {"ssh_host": [b""]},
        {"ssh_host": [b"ssh-ed25519"]},
        {"ssh_host": [KEYS.host_blobs[0] + b"\0"]},
        {"ssh_host": [KEYS.host_blobs[0]] * 2},
        {"ssh_host": [blob() for _ in range(MAXIMUM_KEYS + 1)]},
        {"ssh_user": [KEYS.user_blobs[0][:-1]]},
    ],
    ids=lambda change: str(change)[:50],
)
def test_malformed(change: dict[str, object]) -> None:
    with pytest.raises(MalformedInput):
        parse_key_document(dumps({**FIELDS, **change}))


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_every_field_is_needed(key: str) -> None:
    with pytest.raises(MalformedInput):
        parse_key_document(dumps({k: v for k, v in FIELDS.items() if k != key}))


def test_a_line_of_text_is_no_blob() -> None:
    import base64

    line = b"ssh-ed25519 " + base64.b64encode(KEYS.host_blobs[0])
    with pytest.raises(MalformedInput, match="no blob"):
        parse_key_document(dumps({**FIELDS, "ssh_host": [line]}))


def test_size_is_limited() -> None:
    with pytest.raises(MalformedInput, match="more than the"):
        parse_key_document(dumps({**FIELDS, "salt": bytes(1 << 16)}))


class TestPrekeys:
    KEYS = dataclasses.replace(
        KEYS, prekeys=tuple(PrekeySecret.generate(number) for number in (1, 2, 7))
    )
    DOCUMENT = make_key_document(KEYS)
    FIELDS = loads_strict(encode_key_document(DOCUMENT), 1 << 15)
    ONE, TWO, SEVEN = FIELDS["prekeys"]

    @pytest.mark.parametrize("case", load_vectors("enrollment-2")["cases"])
    def test_vectors(self, case: dict[str, Any]) -> None:
        document = parse_key_document(case["document"])
        assert [[p.number, p.ssh, p.x25519] for p in document.prekeys] == case["prekeys"]
        assert encode_key_document(document) == case["document"]
        assert document.digest == case["key_document"]

    def test_are_public_keys_by_number(self) -> None:
        assert parse_key_document(encode_key_document(self.DOCUMENT)) == self.DOCUMENT
        secrets = self.KEYS.prekeys
        assert self.DOCUMENT.prekeys == tuple(
            Prekey(s.number, s.ssh_public, s.x25519_public) for s in secrets
        )
        assert self.DOCUMENT.prekeys[0].blob == ssh_blob(secrets[0].ssh.public_key())

    def test_without_any_it_is_the_document_of_before(self) -> None:
        without = dataclasses.replace(self.DOCUMENT, prekeys=())
        assert loads_strict(encode_key_document(without), 1 << 15)["v"] == 1
        assert self.FIELDS["v"] == 2

    def test_the_oldest_go_first(self) -> None:
        many = tuple(PrekeySecret.generate(n + 1) for n in range(MAXIMUM_PREKEYS + 1))
        document = make_key_document(dataclasses.replace(KEYS, prekeys=many))
        assert [p.number for p in document.prekeys] == list(range(1, MAXIMUM_PREKEYS + 1))
        assert parse_key_document(encode_key_document(document)) == document

    @pytest.mark.parametrize(
        "prekeys",
        [
            [],
            [[1]],
            ["text"],
            [[*ONE, 1]],
            [["1", *ONE[1:]]],
            [[0, *ONE[1:]]],
            [[1 << 32, *ONE[1:]]],
            [TWO, ONE],
            [ONE, ONE],
            [ONE, [2, *ONE[1:]]],
            [ONE, [2, ONE[1], TWO[2]]],
            [ONE, [2, TWO[1], ONE[2]]],
            [ONE, [2, TWO[1], ONE[1]]],
            [[1, ONE[1][:-1], ONE[2]]],
            [[1, ONE[1], ONE[2][:-1]]],
            [[1, ONE[1], bytes(32)]],
            [[n + 1, n.to_bytes(32), (n + 9).to_bytes(32)] for n in range(MAXIMUM_PREKEYS + 1)],
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_malformed(self, prekeys: list[object]) -> None:
        with pytest.raises(MalformedInput):
            parse_key_document(dumps({**self.FIELDS, "prekeys": prekeys}))
