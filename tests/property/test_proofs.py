"""State proofs: random states made by the `trie` package, and anything done to their proofs."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dpki.chain.proofs import NodePool, verify_words
from dpki.errors import ProofInvalid
from dpki.model import Address
from tests.fakes.state import State

ADDRESSES = [Address(bytes([n]) * 20) for n in range(1, 4)]
SLOTS = st.integers(0, 30) | st.integers(0, 2**256 - 1)
WORDS = st.dictionaries(SLOTS, st.integers(0, 300) | st.integers(0, 2**256 - 1), max_size=24)
STATES = st.builds(
    State, st.dictionaries(st.sampled_from(ADDRESSES), WORDS, max_size=3), st.booleans()
)


def stored(state: State, address: Address, slot: int) -> int:
    return state.storage.get(address, {}).get(slot, 0)


@given(STATES, st.sampled_from(ADDRESSES), st.lists(SLOTS, max_size=8))
def test_every_word_is_proven(state: State, address: Address, others: list[int]) -> None:
    slots = [*others, *list(state.storage.get(address, {}))[:8]]
    words = verify_words(state.proof(address, slots), state.root, address, slots, NodePool())
    assert [int.from_bytes(word) for word in words] == [stored(state, address, s) for s in slots]


@given(STATES, STATES, st.data())
def test_no_mutation_proves_anything_else(state: State, other: State, data: st.DataObject) -> None:
    """Whatever is done to an answer: it is refused, or proves what is true."""
    address = data.draw(st.sampled_from(ADDRESSES))
    there = list(state.storage.get(address, {}))
    slots = data.draw(st.lists(st.sampled_from(there) if there else SLOTS, min_size=1, max_size=4))
    answer: Any = copy.deepcopy(state.proof(address, slots))
    foreign: Any = other.proof(address, slots)
    absent: Any = state.proof(address, [slot + 1 if slot < 2**255 else 0 for slot in slots])
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(answer, data, [foreign, absent])
    try:
        words = verify_words(answer, state.root, address, slots, NodePool())
    except ProofInvalid:
        return
    assert [int.from_bytes(word) for word in words] == [stored(state, address, s) for s in slots]


def _mutate(answer: Any, data: st.DataObject, sources: list[Any]) -> None:
    place = data.draw(st.integers(0, len(answer["storageProof"]) - 1))
    entry, source = answer["storageProof"][place], data.draw(st.sampled_from(sources))
    proof = data.draw(st.sampled_from([entry["proof"], answer["accountProof"]]))
    match data.draw(st.integers(0, 8)):
        case 0:
            entry["value"] = hex(data.draw(st.integers(0, 2**256 - 1)))
        case 1:
            entry["proof"] = source["storageProof"][place]["proof"]
        case 2:
            entry.update(
                proof=source["storageProof"][place]["proof"],
                value=source["storageProof"][place]["value"],
            )
        case 3:
            answer["accountProof"] = source["accountProof"]
        case 4 if proof:
            proof.pop(data.draw(st.integers(0, len(proof) - 1)))
        case 5:
            new = data.draw(st.sampled_from([*source["accountProof"], "0x80", "0xc0", "0x"]))
            proof.insert(data.draw(st.integers(0, len(proof))), new)
        case 6 if proof:
            index = data.draw(st.integers(0, len(proof) - 1))
            node = bytearray.fromhex(proof[index][2:])
            node[data.draw(st.integers(0, len(node) - 1))] ^= data.draw(st.integers(1, 255))
            proof[index] = f"0x{node.hex()}"
        case 7 if proof:
            index = data.draw(st.integers(0, len(proof) - 1))
            proof[index] = proof[index][: 2 * data.draw(st.integers(1, len(proof[index]) // 2))]
        case _:
            entry["proof"], entry["value"] = [], "0x0"
