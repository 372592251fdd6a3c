"""One-time tokens: their one written form, and messages that nobody else can make."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dpki.bundle.codec import dumps, loads_strict
from dpki.devices import token as module
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import encode_request, make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devices.token import (
    Answer,
    Outcome,
    Token,
    make_answer,
    make_asking,
    parse_asking,
    verify_answer,
    verify_asking,
)
from dpki.errors import (
    CheckedFalse,
    MalformedInput,
    SignatureInvalid,
    WrongContext,
    WrongDomain,
)
from dpki.model import Address, DomainId, Hash32
from tests.world import DOMAIN as WORLD

DOMAIN = WORLD.id
FOREIGN = DomainId(DOMAIN.chain_id, Address(b"\x09" * 20), DOMAIN.block_hash)
KEYS = generate_device_keys()
REQUEST = encode_request(
    make_enrollment_request(
        KEYS,
        DOMAIN,
        WORLD.devices,
        make_key_document(KEYS),
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=7),
    )
)
TOKEN = Token(DOMAIN, bytes(range(32)))
ANSWER = Answer(
    DOMAIN, KEYS.address, Hash32(hashlib.sha256(REQUEST).digest()), Outcome.ENROLLED, 17
)


def accepted(data: bytes, token: Token = TOKEN, domain: DomainId = DOMAIN) -> None:
    verify_asking(parse_asking(data), token.keys, domain)


def answered(data: bytes, token: Token = TOKEN) -> Answer:
    return verify_answer(data, token, KEYS.address, REQUEST)


def test_the_derivation_stays_what_it_is() -> None:
    """The written format: tokens outlive versions of dpki."""
    assert TOKEN.keys.id.hex() == "861b43602e466f58073185891087558f"
    assert (
        TOKEN.keys.request.hex()
        == "6d56f2caf6b0ed6a265a91bce5ab3a92dcb05cd8285598f867dcf639da8bb0dd"
    )
    assert (
        TOKEN.keys.answer.hex()
        == "407fc55b4b69d27c699ff16292bda9f051db4798e782578d6894dc50327dafbf"
    )


class TestWritten:
    def test_it_is_read_back(self) -> None:
        assert Token.parse(TOKEN.dump()) == TOKEN
        assert Token.generate(DOMAIN) != Token.generate(DOMAIN)
        assert len(TOKEN.dump()) < module.TOKEN_LIMIT

    def test_every_mistyped_letter_shows(self) -> None:
        text = TOKEN.dump()
        for at, letter in enumerate(text):
            other = "A" if letter != "A" else "B"
            with pytest.raises(MalformedInput):
                Token.parse(text[:at] + other + text[at + 1 :])

    @pytest.mark.parametrize(
        "change",
        [lambda t: t[:-1], lambda t: t + "A", lambda t: t + "=", lambda t: " " + t, str.upper],
    )
    def test_cut_off_or_padded(self, change: object) -> None:
        with pytest.raises(MalformedInput):
            Token.parse(change(TOKEN.dump()))  # type: ignore[operator]

    @pytest.mark.parametrize(
        "text", ["", "dpki-token:", "dpki-token:é", "dpki-token:" + "A" * 2000]
    )
    def test_nonsense(self, text: str) -> None:
        with pytest.raises(MalformedInput):
            Token.parse(text)

    def test_a_short_secret(self) -> None:
        with pytest.raises(MalformedInput):
            Token.parse(Token(DOMAIN, b"short").dump())

    def test_no_message_and_no_repr_shows_it(self) -> None:
        text = TOKEN.dump()
        with pytest.raises(MalformedInput) as caught:
            Token.parse(text[:-2] + "AA")
        assert text[20:60] not in str(caught.value) + repr(caught.value)
        for secret in (TOKEN.secret, TOKEN.keys.request, TOKEN.keys.answer):
            assert repr(secret)[2:-1] not in repr(TOKEN) + repr(TOKEN.keys)


class TestRequest:
    def test_a_true_one(self) -> None:
        accepted(make_asking(TOKEN, REQUEST))

    def test_neither_token_nor_its_keys_are_in_it(self) -> None:
        data = make_asking(TOKEN, REQUEST)
        for secret in (TOKEN.secret, TOKEN.keys.request, TOKEN.keys.answer):
            assert secret not in data

    def test_altered_anywhere(self) -> None:
        data = make_asking(TOKEN, REQUEST)
        for at in range(len(data)):
            with pytest.raises(CheckedFalse):
                # Another token's id is another token: whose keys would not fit either.
                accepted(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    def test_another_token_and_another_domain(self) -> None:
        data = make_asking(TOKEN, REQUEST)
        with pytest.raises(SignatureInvalid):
            accepted(data, Token.generate(DOMAIN))
        with pytest.raises(SignatureInvalid):
            accepted(data, domain=FOREIGN)
        with pytest.raises(SignatureInvalid):
            accepted(make_asking(replace(TOKEN, domain=FOREIGN), REQUEST))

    @pytest.mark.parametrize("length", [0, 15, 17])
    def test_lengths(self, length: int) -> None:
        value = loads_strict(make_asking(TOKEN, REQUEST), module.ASKING_LIMIT)
        with pytest.raises(MalformedInput):
            parse_asking(dumps({**value, "token": bytes(length)}))
        with pytest.raises(MalformedInput):
            parse_asking(dumps({**value, "mac": bytes(length)}))

    def test_oversized(self) -> None:
        with pytest.raises(MalformedInput):
            parse_asking(make_asking(TOKEN, bytes(module.ASKING_LIMIT)))


class TestAnswer:
    @pytest.mark.parametrize("outcome", Outcome)
    def test_a_true_one(self, outcome: Outcome) -> None:
        answer = replace(ANSWER, outcome=outcome)
        assert answered(make_answer(TOKEN.keys, answer)) == answer

    def test_altered_anywhere(self) -> None:
        data = make_answer(TOKEN.keys, ANSWER)
        for at in range(len(data)):
            with pytest.raises(CheckedFalse):
                answered(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    def test_a_request_that_comes_back_is_no_answer(self) -> None:
        with pytest.raises(CheckedFalse):
            answered(make_asking(TOKEN, REQUEST))

    def test_the_key_of_the_other_direction_makes_none(self) -> None:
        keys = TOKEN.keys
        wrong = replace(keys, answer=keys.request)
        with pytest.raises(SignatureInvalid):
            answered(make_answer(wrong, ANSWER))

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"domain": FOREIGN}, WrongDomain),
            ({"device": Address(b"\x08" * 20)}, WrongContext),
            ({"request": Hash32(bytes(32))}, WrongContext),
            ({"block": 1 << 53}, MalformedInput),
        ],
    )
    def test_of_somewhere_else(self, change: dict[str, object], error: type[CheckedFalse]) -> None:
        other = replace(ANSWER, **change)  # type: ignore[arg-type]
        with pytest.raises(error):
            answered(make_answer(TOKEN.keys, other))

    def test_another_token(self) -> None:
        with pytest.raises(SignatureInvalid):
            answered(make_answer(Token.generate(DOMAIN).keys, ANSWER))

    def test_an_outcome_that_nobody_knows(self) -> None:
        keys = TOKEN.keys
        fields = {**module._answer_fields(keys.id, ANSWER), "outcome": "perhaps"}
        data = dumps({**fields, "mac": module._answer_mac(keys, fields)})
        with pytest.raises(MalformedInput):
            answered(data)


def test_macs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(SignatureInvalid):
        accepted(make_asking(TOKEN, REQUEST))
    with pytest.raises(SignatureInvalid):
        answered(make_answer(TOKEN.keys, ANSWER))
    assert compared.count(32) == 2
