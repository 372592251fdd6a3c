"""Any bytes, and valid inputs changed a little: every parser gives a value or a `DpkiError`.

scripts/fuzz does the same guided by coverage, and for hours; what it finds stays in tests/corpus
and is replayed here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpki.bundle.codec import dumps
from dpki.errors import DpkiError
from dpki.transactions.abi import decode_call, find_function
from tests.parsers import PARSERS, Parser, parses

CORPUS = Path(__file__).parents[1] / "corpus"
EXAMPLES, COSTLY_EXAMPLES = 60, 10
ENDING_THEMSELVES = {
    "audit-index",
    "watch-state",
    "private-key",
    "journal",
    "agent-database",
}
CBOR = [
    "key-document",
    "enrolment-request",
    "bundle",
    "sealing-secrets",
    "proof",
    "handover",
    "ca-request",
    "acknowledgement",
    "kept-acknowledgement",
    "prekey",
]
TOML = ["admin-config", "device-config", "profile"]

by_parser = pytest.mark.parametrize("name", PARSERS)
quiet = settings(suppress_health_check=list(HealthCheck), deadline=None)


def examples(parser: Parser) -> settings:
    return settings(quiet, max_examples=COSTLY_EXAMPLES if parser.costly else EXAMPLES)


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return a valid input with one to four changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        match draw(st.integers(0, 5)):
            case 0 if start < len(data):
                data[start] ^= draw(st.integers(1, 255))
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = draw(st.binary(max_size=20))
            case 3:
                data[start:start] = data[start:end]
            case 4:
                # Lengths and counts are where readers are led astray.
                data[start : start + 4] = draw(
                    st.sampled_from([bytes(4), b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff"])
                )
            case _:
                other = draw(st.sampled_from(seeds))
                data[start:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@by_parser
def test_the_valid_ones_parse(name: str) -> None:
    for seed in PARSERS[name].seeds:
        PARSERS[name].parse(seed)


@by_parser
def test_any_bytes(name: str) -> None:
    parser = PARSERS[name]

    @examples(parser)
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(_encode)))
    def check(data: bytes) -> None:
        parses(parser, data)

    check()


@by_parser
def test_valid_ones_changed(name: str) -> None:
    parser = PARSERS[name]

    @examples(parser)
    @given(changed(parser.seeds))
    def check(data: bytes) -> None:
        parses(parser, data)

    check()


@by_parser
def test_every_beginning(name: str) -> None:
    """Truncated anywhere: refused, unless the format has no end to miss, as texts have none."""
    parser = PARSERS[name]
    for seed in parser.seeds[:1] if parser.costly else parser.seeds[:3]:
        step = max(1, len(seed) // (8 if parser.costly else 150))
        for length in range(0, len(seed), step):
            parses(parser, seed[:length])


@by_parser
def test_oversized(name: str) -> None:
    for byte in (b"\0", b"a", b" "):
        assert not parses(PARSERS[name], byte * (4 << 20))
    # PEM and SQLite's files end where they end, whatever stands behind.
    behind = parses(PARSERS[name], PARSERS[name].seeds[0] + b" " * (4 << 20) + b"x")
    assert behind == (name in ENDING_THEMSELVES)


NESTED = [
    b"[" * 100_000,
    b'{"address":' * 50_000,
    b"version = 1\nx = " + b"[" * 50_000,
    b"version = 1\nx = " + b"{a=" * 5_000,
    b"version = 1\n[" + b"a." * 5_000 + b"b]\n",
    b"\x81" * 100_000,
    b"\xa1\x61a" * 50_000,
]


@pytest.fixture
def ordinary_recursion() -> Iterator[None]:
    """Python's own limit: a library of the contract tests, in the same process, lifts it by far."""
    lifted = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(lifted)


@by_parser
@pytest.mark.usefixtures("ordinary_recursion")
def test_nested_by_the_thousand(name: str) -> None:
    for data in NESTED:
        assert not parses(PARSERS[name], data)


@by_parser
def test_the_corpus(name: str) -> None:
    for path in sorted((CORPUS / name).glob("*")):
        parses(PARSERS[name], path.read_bytes())


def test_the_corpus_has_no_folder_for_nobody() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(PARSERS)


# --- the same, by structure: well formed, and wrong --------------------------------------------

plain: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**64), 2**64 - 1),
        st.floats(allow_nan=False),
        st.binary(max_size=40),
        st.text(max_size=10),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", CBOR)
def test_a_field_of_another_type_or_size(name: str) -> None:
    fields = cbor2.loads(PARSERS[name].seeds[0])

    @settings(quiet, max_examples=EXAMPLES)
    @given(st.sampled_from(sorted(fields)), plain)
    def check(field: str, value: object) -> None:
        parses(PARSERS[name], cbor2.dumps(fields | {field: value}, canonical=True))

    check()


@pytest.mark.parametrize("name", CBOR)
def test_a_field_missing_or_unknown_and_a_future_version(name: str) -> None:
    fields = cbor2.loads(PARSERS[name].seeds[0])
    required = set(fields) - {"key", "mlkem768-x25519"}
    wrong = [{k: v for k, v in fields.items() if k != field} for field in required]
    wrong += [fields | {"unknown": 1}, fields | {"v": fields["v"] + 1}, fields | {"v": 0}]
    for value in wrong:
        with pytest.raises(DpkiError):
            PARSERS[name].parse(dumps(value))


@pytest.mark.parametrize("name", TOML)
def test_every_line_missing_mistyped_or_unknown(name: str) -> None:
    """One line at a time, and each replacement of its value: an error that names the file."""
    for seed in PARSERS[name].seeds:
        lines = seed.decode().splitlines()
        for number, line in enumerate(lines):
            key, _, _ = line.partition(" = ")
            for other in ("", f"un{line}", *_mistyped(key, line)):
                text = "\n".join([*lines[:number], other, *lines[number + 1 :]])
                parses(PARSERS[name], text.encode())
        for version in ("2", "0", "-1", "true", '"1"', "1.0"):
            text = re.sub("version = 1", f"version = {version}", seed.decode())
            assert not parses(PARSERS[name], text.encode())
        assert not parses(PARSERS[name], seed + b"\n[unknown]\nkey = 1\n")


def _mistyped(key: str, line: str) -> list[str]:
    if " = " not in line:
        return []
    values = ["0", "-1", "true", '""', '"x\\u0000y"', "[]", "[1]", '[""]', "{}", "1e400", "nan"]
    return [f"{key} = {value}" for value in (*values, "1979-05-27T07:32:00Z", "9" * 5000)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2**40),
        ("n", 0),
        ("n", 3),
        ("n", True),
        ("n", "2"),
        ("r", 2**30),
        ("p", 10**9),
        ("dklen", 2**40),
        ("dklen", 1),
        ("salt", 7),
        ("salt", "x"),
    ],
)
def test_a_keystore_that_would_take_for_ever(name: str, value: object) -> None:
    keystore = json.loads(PARSERS["keystore"].seeds[0])
    keystore["crypto"]["kdfparams"][name] = value
    assert not parses(PARSERS["keystore"], json.dumps(keystore).encode())


@pytest.mark.parametrize("field", ["address", "crypto", "id", "version"])
@pytest.mark.parametrize("value", [None, 0, 4, 2**64, "x", [], {}, True, 1.5])
def test_a_field_of_a_keystore_mistyped(field: str, value: object) -> None:
    keystore = json.loads(PARSERS["keystore"].seeds[0])
    parses(PARSERS["keystore"], json.dumps(keystore | {field: value}).encode())
    keystore["crypto"] |= {field: value, "kdf": value}
    parses(PARSERS["keystore"], json.dumps(keystore).encode())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def test_a_call_that_claims_an_endless_array_is_refused_at_once() -> None:
    """Also where another library, as ape does, taught eth-abi to take missing bytes for zeros."""
    begun = find_function("CertificateRegistry", "revoke").selector + bytes(32)
    assert decode_call(begun + (64).to_bytes(32) + (2**54).to_bytes(32) + bytes(64)) is None
