"""State proofs: what they prove, and each way of not being one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak

from dpki.chain.proofs import (
    EMPTY_ROOT,
    MAXIMUM_DEPTH,
    Account,
    Node,
    NodePool,
    prove,
    prove_account,
    prove_word,
    verify_words,
)
from dpki.errors import ProofInvalid
from dpki.model import Address, Hash32
from tests.fakes.state import State, nodes_of, trie_of

ONE, TWO, NOBODY = (Address(bytes([n]) * 20) for n in (1, 2, 3))
WORDS = {slot: (slot + 1) * 7**40 for slot in range(40)}


@pytest.fixture(scope="module")
def state() -> State:
    return State({ONE: WORDS, TWO: {0: 5}, Address(b"\4" * 20): {}})


def nodes(raw: list[bytes]) -> list[Node]:
    return [Node.parse(one) for one in raw]


def words(state: State, answer: object, address: Address, slots: list[int]) -> list[int]:
    proven = verify_words(answer, state.root, address, slots, NodePool())
    assert all(len(word) == 32 for word in proven)
    return [int.from_bytes(word) for word in proven]


def test_words_that_are_there_and_words_that_are_not(state: State) -> None:
    slots = [0, 3, 39, 40, 2**256 - 1, 3]
    expected = [WORDS.get(slot, 0) for slot in slots]
    assert words(state, state.proof(ONE, slots), ONE, slots) == expected


@pytest.mark.parametrize("address", [Address(b"\4" * 20), NOBODY], ids=["no storage", "no account"])
@pytest.mark.parametrize("proof", [[], ["0x80"]])
def test_nothing_is_stored(state: State, address: Address, proof: list[str]) -> None:
    answer: Any = state.proof(address, [1, 2])
    for entry in answer["storageProof"]:
        entry["proof"] = proof
    assert words(state, answer, address, [1, 2]) == [0, 0]


def test_an_account(state: State) -> None:
    pool = NodePool()
    there: Any = state.proof(TWO, [])
    account = prove_account(state.root, TWO, pool.nodes(there["accountProof"]))
    assert account == Account(
        1, 10**18, Hash32(bytes.fromhex(there["storageHash"][2:])), Hash32(keccak(b""))
    )
    absent: Any = state.proof(NOBODY, [])
    assert prove_account(state.root, NOBODY, pool.nodes(absent["accountProof"])) is None


@pytest.mark.parametrize("raw", [[b"\x80", b"\x80"], [b"\xc0" * 3], [rlp.encode([b"\x20", b"v"])]])
def test_an_empty_trie_has_no_nodes(raw: list[bytes]) -> None:
    with pytest.raises(ProofInvalid):
        prove(EMPTY_ROOT, b"key", [Node(one, keccak(one), None) for one in raw])


def test_an_empty_state() -> None:
    assert words(State(), State().proof(ONE, [7]), ONE, [7]) == [0]
    assert State().root == EMPTY_ROOT


def test_keys_and_values_with_and_without_zeros_on_the_left(state: State) -> None:
    answer: Any = state.proof(ONE, [3])
    (entry,) = answer["storageProof"]
    entry.update(key="0x3", value=f"0x{WORDS[3]:064X}")
    assert words(state, answer, ONE, [3]) == [WORDS[3]]


def test_a_node_is_parsed_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = Node.parse

    def counting(raw: bytes) -> Node:
        parsed.append(raw)
        return parse(raw)

    monkeypatch.setattr(Node, "parse", counting)
    pool = NodePool()
    for slots in ([*WORDS], [5, 6, 7]):
        verify_words(state.proof(ONE, slots), state.root, ONE, slots, pool)
    assert len(parsed) == len(set(parsed))


def change(*path: object, to: object) -> Callable[[Any], None]:
    """Return what puts something in a place of an answer."""

    def apply(answer: Any) -> None:
        for key in path[:-1]:
            answer = answer[key]
        answer[path[-1]] = to(answer[path[-1]]) if callable(to) else to

    return apply


STORAGE = ("storageProof", 1, "proof")
OTHER = State({ONE: {**WORDS, 5: 1}})

LIES: dict[str, Callable[[Any], None]] = {
    "another contract": change("address", to=str(TWO)),
    "the proof of another contract": change(
        "accountProof", to=State({TWO: {}}).proof(TWO, [])["accountProof"]
    ),
    "no address": change("address", to=None),
    "another key": change("storageProof", 1, "key", to="0x6"),
    "a key that is none": change("storageProof", 1, "key", to="five"),
    "a key too long": change("storageProof", 1, "key", to="0x1" + "0" * 64),
    "another value": change("storageProof", 1, "value", to="0x1"),
    "a zero value": change("storageProof", 1, "value", to="0x0"),
    "a value that is none": change("storageProof", 1, "value", to=5),
    "fewer slots": change("storageProof", to=lambda entries: entries[:-1]),
    "more slots": change("storageProof", to=lambda entries: [*entries, entries[0]]),
    "slots in another order": change("storageProof", to=lambda entries: entries[::-1]),
    "slots that are none": change("storageProof", to=[[], [], []]),
    "a truncated proof": change(*STORAGE, to=lambda proof: proof[:-1]),
    "a proof without its root": change(*STORAGE, to=lambda proof: proof[1:]),
    "no proof": change(*STORAGE, to=[]),
    "a node too many": change(*STORAGE, to=lambda proof: [*proof, proof[-1]]),
    "a foreign node too many": change(*STORAGE, to=lambda proof: [*proof, "0xc0"]),
    "an empty root too many": change(*STORAGE, to=lambda proof: [*proof, "0x80"]),
    "nodes in another order": change(*STORAGE, to=lambda proof: proof[::-1]),
    "nodes without end": change(*STORAGE, to=lambda proof: proof * 1000),
    "a node of a megabyte": change(*STORAGE, 0, to="0x" + "00" * 2**20),
    "a node of a kilobyte": change(*STORAGE, 0, to="0x" + "00" * 1025),
    "a node that is no text": change(*STORAGE, 0, to=7),
    "a node that is no hexadecimal": change(*STORAGE, 0, to="0xzz"),
    "a node of half a byte": change(*STORAGE, 0, to=lambda node: node[:-1]),
    "an empty node": change(*STORAGE, 0, to="0x"),
    "a truncated node": change(*STORAGE, 0, to=lambda node: node[:-2]),
    "a longer node": change(*STORAGE, 0, to=lambda node: node + "00"),
    "the proof of another slot": change(
        *STORAGE, to=State({ONE: WORDS}).proof(ONE, [6])["storageProof"][0]["proof"]
    ),  # type: ignore[index]
    "the proof of another block": change(
        "storageProof", to=OTHER.proof(ONE, [0, 5, 99])["storageProof"]
    ),
    "the account of another block": change("accountProof", to=OTHER.proof(ONE, [])["accountProof"]),
    "an empty trie": change(*STORAGE, to=["0x80"]),
    "no account": change("accountProof", to=[]),
    "accounts that are none": change("accountProof", to={}),
    "a proof that is none": change(*STORAGE, to=None),
    "storage that is none": change("storageProof", to=None),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused_and_the_truth_still_taken(
    state: State, lie: Callable[[Any], None]
) -> None:
    slots = [0, 5, 99]
    truth = state.proof(ONE, slots)
    told = copy.deepcopy(truth)
    lie(told)
    pool = NodePool()
    with pytest.raises(ProofInvalid):
        verify_words(told, state.root, ONE, slots, pool)
    assert verify_words(truth, state.root, ONE, slots, pool)[1] == WORDS[5].to_bytes(32)


@pytest.mark.parametrize("answer", [None, [], "0x", 7, {}])
def test_no_answer(state: State, answer: object) -> None:
    with pytest.raises(ProofInvalid):
        verify_words(answer, state.root, ONE, [], NodePool())


def test_another_state_root(state: State) -> None:
    with pytest.raises(ProofInvalid):
        verify_words(state.proof(ONE, [5]), OTHER.root, ONE, [5], NodePool())


def test_a_presence_can_not_be_turned_into_an_absence(state: State) -> None:
    """Each node alone is genuine; the way is another key's."""
    for absent in range(100, 140):
        answer: Any = state.proof(ONE, [absent])
        answer["storageProof"][0]["key"] = "0x5"
        try:
            assert words(state, answer, ONE, [5]) == [0]
        except ProofInvalid:
            continue
        pytest.fail(f"slot 5 was proven absent by the proof of {absent}")


# --- nodes that no honest trie holds, under a root that somebody believes ------------------------

HASH = bytes([0xAA]) * 32


def root_of(raw: bytes) -> Hash32:
    return Hash32(keccak(raw))


BAD_NODES = {
    "a string": rlp.encode(b"x" * 40),
    "an empty list": rlp.encode([]),
    "three items": rlp.encode([b"", b"", b""]),
    "a path that is a list": rlp.encode([[b"\x20"], b"v"]),
    "no path": rlp.encode([b"", b"v"]),
    "an unknown flag": rlp.encode([b"\x40", b"v"]),
    "a padded path with something in it": rlp.encode([b"\x21", b"v"]),
    "a leaf that holds a list": rlp.encode([b"\x20", [b"v"]]),
    "an extension of no nibble": rlp.encode([b"\x00", HASH]),
    "an extension to nothing": rlp.encode([b"\x00\x12", b""]),
    "an extension to half a hash": rlp.encode([b"\x00\x12", HASH[:16]]),
    "a branch with a value": rlp.encode([*[b""] * 16, b"v"]),
    "a branch with a long child": rlp.encode([[HASH], *[b""] * 16]),
    "a branch with half a hash": rlp.encode([HASH[:31], *[b""] * 16]),
    "a branch with a list for a value": rlp.encode([*[b""] * 16, []]),
    "a huge node": rlp.encode([b"\x20", b"v" * 1100]),
}


@pytest.mark.parametrize("raw", BAD_NODES.values(), ids=BAD_NODES.keys())
def test_a_node_that_is_none(raw: bytes) -> None:
    with pytest.raises(ProofInvalid):
        Node.parse(raw)


def test_a_leaf_that_is_too_early_or_too_late() -> None:
    path = keccak(b"key").hex()
    for digits in (path[1:-1], path[1:] + "00", ""):
        odd = len(digits) % 2
        raw = rlp.encode([bytes.fromhex(("3" if odd else "20") + digits), b"v"])
        with pytest.raises(ProofInvalid, match="depth"):
            prove(root_of(raw), b"key", nodes([raw]))


def test_a_way_beyond_the_keys_end() -> None:
    path = keccak(b"key").hex()
    branch = rlp.encode([HASH] * 16 + [b""])
    for flag in ("00", "20"):
        extension = rlp.encode([bytes.fromhex("00" + path), keccak(branch)])
        with pytest.raises(ProofInvalid):
            prove(root_of(extension), b"key", nodes([extension, branch]))
        branch = rlp.encode([bytes.fromhex(flag + "12"), HASH])


def test_an_embedded_node_that_is_none() -> None:
    digit = int(keccak(b"key").hex()[0], 16)
    children: list[object] = [b""] * 17
    children[digit] = [b"a", b"b", b"c"]
    raw = rlp.encode(children)
    with pytest.raises(ProofInvalid):
        prove(root_of(raw), b"key", nodes([raw]))


def test_an_empty_root_inside_a_way() -> None:
    """The hash of nothing may stand for the whole trie, never for a child."""
    raw = rlp.encode([keccak(b"\x80")] * 16 + [b""])
    with pytest.raises(ProofInvalid):
        prove(root_of(raw), b"key", nodes([raw, b"\x80"]))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        b"\xc0",
        rlp.encode(b"\0\1"),
        rlp.encode(b"\1" * 33),
        rlp.encode(b"\1") + b"\1",
        b"\x81\x01",
    ],
)
def test_a_word_that_is_none(value: bytes) -> None:
    raw = rlp.encode([b"\x20" + keccak(bytes(32)), value])
    with pytest.raises(ProofInvalid):
        prove_word(root_of(raw), 0, nodes([raw]))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [1, 2, HASH],
        [1, 2, HASH, HASH, HASH],
        [1, 2, HASH[:31], HASH],
        [1, 2, HASH, b""],
        [2**64, 2, HASH, HASH],
        [1, 2**256, HASH, HASH],
        [[], 2, HASH, HASH],
        [b"\0\1", 2, HASH, HASH],
    ],
)
def test_an_account_that_is_none(fields: list[object]) -> None:
    raw = rlp.encode([b"\x20" + keccak(ONE), rlp.encode(fields)])
    with pytest.raises(ProofInvalid):
        prove_account(root_of(raw), ONE, nodes([raw]))


# --- nodes inside their parents ------------------------------------------------------------------


@pytest.mark.parametrize("embedded", [False, True])
def test_nodes_inside_their_parents(embedded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of a few bytes; some endpoints list such nodes on their own, others don't."""
    # Real keys would take minutes to find: a shorter hash gives paths that end in short leaves.
    table = {b"a": "11" * 30 + "1234", b"b": "11" * 30 + "1267", b"c": "11" * 30 + "12ff"}
    fake = {key: bytes.fromhex(path) for key, path in table.items()}
    real = keccak

    def shortcut(data: bytes) -> bytes:
        return fake.get(data) or real(data)

    monkeypatch.setattr("dpki.chain.proofs.keccak", shortcut)
    monkeypatch.setattr("tests.fakes.state.keccak", shortcut)
    trie = trie_of({b"a": b"\1", b"b": b"\2"})
    root = Hash32(trie.root_hash)
    for key, expected in ((b"a", b"\1"), (b"b", b"\2"), (b"c", None)):
        way = nodes_of(trie, key, embedded=embedded)
        assert prove(root, key, nodes(way)) == expected
        with pytest.raises(ProofInvalid):
            prove(root, key, nodes([*way, way[-1]]))
    assert len(nodes_of(trie, b"a", embedded=True)) > len(nodes_of(trie, b"a"))


def test_a_proof_of_more_nodes_than_a_way_can_have() -> None:
    with pytest.raises(ProofInvalid, match="more than"):
        NodePool().nodes(["0xc0"] * (MAXIMUM_DEPTH + 1))
