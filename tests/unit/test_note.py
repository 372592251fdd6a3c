"""Signed notes: the published vectors, and everything that is no note."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.errors import MalformedInput, SignatureInvalid, UsageError
from dpki.model import Hash32
from dpki.note import (
    SIGNATURES,
    SIZE_LIMIT,
    SignedNote,
    VerifierKey,
    sign_note,
    verify_note,
)
from tests.vectors_of import load_vectors

GO = load_vectors("checkpoint")["published"]
PETER, ENOCH = (VerifierKey.parse(key) for key in GO["keys"])
NOTE = GO["note"]
TEXT = GO["text"]
PETERS, ENOCHS = (f"{line}\n" for line in NOTE[len(TEXT) + 1 :].splitlines())


def _note(*lines: str, text: str = TEXT) -> bytes:
    return f"{text}\n{''.join(lines)}".encode()


class TestThePublishedNote:
    def test_is_signed_by_both(self) -> None:
        note = SignedNote.parse(NOTE.encode())
        assert note.text == TEXT
        assert note.signers([PETER, ENOCH]) == (PETER, ENOCH)
        assert note.dump() == NOTE.encode()
        assert verify_note(NOTE.encode(), [PETER, ENOCH], 2) == TEXT

    def test_is_signed_again_to_the_same_bytes(self) -> None:
        key = Ed25519PrivateKey.from_private_bytes(GO["seed"])
        assert sign_note(TEXT, "PeterNeumann", key) == _note(PETERS)

    def test_counts_known_keys_only(self) -> None:
        assert verify_note(NOTE.encode(), [PETER], 1) == TEXT
        with pytest.raises(
            SignatureInvalid, match="2 of 2 witnesses must have signed, and it was Peter"
        ):
            verify_note(_note(PETERS), [PETER, ENOCH], 2)
        with pytest.raises(SignatureInvalid, match="it was none"):
            verify_note(_note(PETERS), [ENOCH], 1)

    def test_with_a_letter_changed_is_refused(self) -> None:
        with pytest.raises(SignatureInvalid, match="signature of PeterNeumann does not verify"):
            verify_note(NOTE.replace("answer", "Answer").encode(), [PETER], 1)

    def test_with_one_known_signature_that_is_wrong_is_refused_whole(self) -> None:
        wrong = PETERS.replace("x08go/ZJ", "x08go/ZK")
        with pytest.raises(SignatureInvalid, match="PeterNeumann"):
            verify_note(_note(wrong, ENOCHS), [PETER, ENOCH], 1)
        # of an unknown key, it says nothing
        assert verify_note(_note(wrong, ENOCHS), [ENOCH], 1) == TEXT

    def test_with_a_known_key_s_signature_of_another_length_is_refused(self) -> None:
        longer = base64.b64encode(PETER.id + bytes(65)).decode()
        with pytest.raises(SignatureInvalid, match="PeterNeumann"):
            verify_note(_note(f"— PeterNeumann {longer}\n"), [PETER], 1)

    def test_a_signature_by_a_key_of_the_same_name_is_not_this_one_s(self) -> None:
        other = sign_note(TEXT, "PeterNeumann", Ed25519PrivateKey.generate())
        with pytest.raises(SignatureInvalid, match="it was none"):
            verify_note(other, [PETER], 1)


def test_text_may_hold_empty_lines_and_the_last_one_divides() -> None:
    key = Ed25519PrivateKey.generate()
    public = VerifierKey("w", Hash32(key.public_key().public_bytes_raw()))
    text = "one\n\n— two\n"
    assert verify_note(sign_note(text, "w", key), [public], 1) == text


def test_a_signature_of_another_algorithm_is_passed_over() -> None:
    other = base64.b64encode(bytes(5000)).decode()
    assert verify_note(_note(f"— later.example {other}\n", PETERS), [PETER], 1) == TEXT


SHORT = base64.b64encode(b"1234").decode()


@pytest.mark.parametrize(
    ("why", "note"),
    [
        ("nothing", b""),
        ("text alone", TEXT.encode()),
        ("no signature", _note()),
        ("no text", f"\n{PETERS}".encode()),
        ("only the divide", b"\n\n"),
        ("no last newline", _note(PETERS)[:-1]),
        ("not UTF-8", b"\xff" + _note(PETERS)),
        ("a carriage return", _note(PETERS).replace(b"problem,\n", b"problem,\r\n")),
        ("a tab", _note(PETERS, text="a\tb\n")),
        ("a zero", _note(PETERS, text="a\0b\n")),
        ("a line that is no signature", _note(PETERS, "Unexpected line.\n")),
        ("a hyphen", _note(PETERS.replace("—", "-"))),
        ("a name with a space", _note(PETERS.replace("PeterN", "Peter N"))),
        ("a name with a plus", _note(PETERS.replace("PeterN", "Peter+N"))),
        ("a name with a space that is not ASCII", _note(PETERS.replace("PeterN", "Peter\u2003N"))),
        ("no name", _note(PETERS.replace("PeterNeumann", ""))),
        ("no base64", _note("— x ====\n")),
        ("base64 that is not ASCII", _note("— x é\n")),
        ("base64 with spare bits", _note(PETERS.replace("JnAM=", "JnAN="))),
        ("base64 without padding", _note(PETERS.replace("JnAM=", "JnAM"))),
        ("a key id and no signature", _note(f"— x {SHORT}\n")),
        ("one key twice", _note(PETERS, PETERS)),
        ("too many signatures", _note(*(f"— w{i} AAAAAAAA\n" for i in range(SIGNATURES + 1)))),
        ("too large", _note(PETERS, text="x" * SIZE_LIMIT + "\n")),
    ],
)
def test_what_is_no_note_is_refused(why: str, note: bytes) -> None:
    with pytest.raises(MalformedInput):
        SignedNote.parse(note)


class TestKeys:
    def test_read_back(self) -> None:
        assert [str(PETER), str(ENOCH)] == GO["keys"]
        assert PETER.id.hex() == "c74f20a3"

    def test_any_change_is_noticed(self) -> None:
        text = str(PETER)
        mangled = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
        mangled += [text[:i] + chr(ord(text[i]) + 1) + text[i + 1 :] for i in range(len(text))]
        for one in mangled:
            if one != text:
                with pytest.raises(MalformedInput):
                    VerifierKey.parse(one)

    @pytest.mark.parametrize(
        ("why", "rest"),
        [
            ("wrong length", "cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=="),
            ("other algorithm", "173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"),
        ],
    )
    def test_of_go_s_tests_are_refused(self, why: str, rest: str) -> None:
        with pytest.raises(MalformedInput):
            VerifierKey.parse(f"PeterNeumann+{rest}")

    @pytest.mark.parametrize(
        "name", ["", "a b", "a+b", "a\u2003b", "a\x1bb", "a\u202eb", "x" * 129], ids=repr
    )
    def test_names_that_would_mislead_are_refused(self, name: str) -> None:
        with pytest.raises(MalformedInput, match="can't name"):
            VerifierKey(name, PETER.public_key)

    def test_a_point_of_small_order_is_no_key(self) -> None:
        # anybody can sign with it
        point = bytes([1]) + bytes(31)
        id = hashlib.sha256(b"w\n\x01" + point).hexdigest()[:8]
        encoded = base64.b64encode(b"\x01" + point).decode()
        with pytest.raises(MalformedInput, match="no Ed25519 public key"):
            VerifierKey.parse(f"w+{id}+{encoded}")

    def test_one_key_is_not_two_witnesses(self) -> None:
        again = VerifierKey("Neumann", PETER.public_key)
        with pytest.raises(UsageError, match="PeterNeumann and Neumann have the same key"):
            verify_note(NOTE.encode(), [PETER, again], 2)

    @pytest.mark.parametrize("needed", [0, 3])
    def test_as_many_as_there_are(self, needed: int) -> None:
        with pytest.raises(UsageError, match="can't have signed"):
            verify_note(NOTE.encode(), [PETER, ENOCH], needed)
