"""Storage words with proofs, beneath the snapshot (claim T4).

Enough endpoints agree on a block's hash; any one of them may then serve its state, since header and
proofs are checked against that hash. A liar costs a question more, and is set aside.

A reader may be kept for months. What it proved is kept by the root that proves it: of a block in
which nothing changed it asks for the roots of the contracts' storage and for nothing else, and of
one in which something did for the part of the trie that is new.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dpki.chain import decode
from dpki.chain.header import Header, verify_header
from dpki.chain.panel import Panel
from dpki.chain.proofs import NodePool, verify_storage_root, verify_words
from dpki.chain.quorum import Evidence
from dpki.chain.recent import Recent
from dpki.chain.rpc import Call, Reader
from dpki.chain.storage import Slot, read_words
from dpki.chain.trie import StorageTrie
from dpki.errors import EndpointUnavailable, ProofInvalid
from dpki.model import Address, Hash32

KEYS = 1000
"""Keys in one question: nodes refuse more than 1,024."""

FEWER_KEYS = 100
"""Keys in one question where that was too much for every endpoint."""

FEW_KEYS = 4
"""Keys that are asked for at once, rather than one of them to see which others have changed."""

RETRY = timedelta(minutes=5)
"""How long after nobody could prove a block's state until somebody is asked to again."""

READING = timedelta(minutes=2)
"""How long asking about one block's state may take, all in all."""

BLOCKS = 16
"""Blocks whose header and roots are kept."""

CONTRACTS = 16
"""Contracts whose words are kept."""

ROOTS = 4
"""Roots of each, whose words are kept: the newest block's, and that of one some blocks below."""

_HINT = "wait and try again, or name more or other RPC endpoints"


@dataclass
class _State:
    """What is known of a block's state.

    Attributes:
        roots: Of the contracts' storage, proven.
    """

    header: Header
    roots: dict[Address, Hash32] = field(default_factory=dict)


class ProvenReader:
    """A panel of endpoints whose storage words are proven. A `Reader`; for one thread at a time.

    Where no endpoint proves a block's state, the panel's agreement on the words themselves has to
    do for a while, and `evidence` says so.

    Args:
        clock: Seconds, for how long proofs are not asked for.
    """

    def __init__(self, panel: Panel[Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._panel = panel
        self._clock = clock
        self._states = Recent[Hash32, _State](BLOCKS)
        self._tries = Recent[Address, Recent[Hash32, StorageTrie]](CONTRACTS)
        self._spent = Recent[Hash32, float](BLOCKS)
        self._retry_at = -math.inf
        self._why_not = self._why_reduced = ""
        self._has_proven = False

    @property
    def name(self) -> str:
        """Return the panel's name."""
        return self._panel.name

    def evidence(self) -> Evidence:
        """Return what stands behind everything that was answered since the last "latest" block.

        All that is decided together begins with it.
        """
        proven = self._has_proven and not self._why_reduced
        return self._panel.evidence(proven=proven, why_not=self._why_reduced)

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        if method == "eth_getStorageAt":
            return self.batch([Call(method, params)])[0]
        if method == "eth_getBlockByNumber" and params and params[0] == "latest":
            self._has_proven, self._why_reduced = False, ""
        return self._panel.call(method, params)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in their order; see `Reader.batch`."""
        asked = [_word_of(call) for call in calls]
        slots = [question[1] for question in asked if question is not None]
        blocks = {question[0] for question in asked if question is not None}
        if not slots:
            return self._panel.batch(calls)
        if len(slots) < len(calls) or len(blocks) > 1:
            answers = self._panel.batch(calls)
            self._why_reduced = "questions about several blocks were put at once"
            return answers
        return [f"0x{word.hex()}" for word in self.words(blocks.pop(), slots)]

    def words(self, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
        """Return a block's storage words; see `WordReader.words`.

        Raises:
            EndpointUnavailable: Nobody proves them, and too few agree on them; or it takes too
                long.
        """
        with self._timed(block):
            if self._panel.agreed_block(block) is None:
                # A proof says what a block's state is, never that the block is on the chain.
                words = read_words(self._panel, block, slots)
                self._why_reduced = "no endpoints agreed on the block that was asked about"
                return words
            if self._clock() < self._retry_at:
                words = read_words(self._panel, block, slots)
                self._why_reduced = self._why_not
                return words
            try:
                words = self._prove(block, slots)
            except EndpointUnavailable as error:
                words = read_words(self._panel, block, slots)
                # Only now: where nobody answers at all, it is not proofs that are missing.
                self._retry_at = self._clock() + RETRY.total_seconds()
                self._why_reduced = self._why_not = error.message
                return words
            self._has_proven = True
            return words

    @contextmanager
    def _timed(self, block: Hash32) -> Iterator[None]:
        """Count the time that is spent on one block, and refuse to spend more than is for it.

        Raises:
            EndpointUnavailable: It is used up.
        """
        spent = self._spent.get(block) or 0.0
        if spent > READING.total_seconds():
            raise EndpointUnavailable(
                f"reading the state of block {block} took longer than"
                f" {READING.total_seconds():g} s",
                hint=_HINT,
            )
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent.put(block, spent + time.monotonic() - began)

    def _prove(self, block: Hash32, slots: Sequence[Slot]) -> list[bytes]:
        wanted: dict[Address, dict[int, None]] = {}
        for contract, slot in slots:
            wanted.setdefault(contract, {})[slot] = None
        state = self._state(block)
        words: dict[Slot, bytes] = {}
        for contract, keys in wanted.items():
            places = list(keys)
            proven = self._words(state, contract, places)
            words |= {(contract, slot): word for slot, word in zip(places, proven, strict=True)}
        return [words[slot] for slot in slots]

    def _state(self, block: Hash32) -> _State:
        """Return what is known of a block's state, with the roots of all contracts met so far."""
        state = self._states.get(block)
        if state is None:
            state = _State(self._header(block))
            contracts = list(self._tries.keys())
            if contracts:
                self._fetch_roots(state, contracts)
            self._states.put(block, state)
        return state

    def _header(self, block: Hash32) -> Header:
        for fields in self._panel.shown(block):
            try:
                return verify_header(fields, block)
            except ProofInvalid:
                continue
        return self._panel.any_of(
            lambda source: verify_header(
                source.call("eth_getBlockByHash", [str(block), False]), block
            )
        )

    def _fetch_roots(self, state: _State, contracts: Sequence[Address]) -> None:
        header, pool = state.header, NodePool()
        calls = [
            Call("eth_getProof", [str(contract), [], {"blockHash": str(header.block.hash)}])
            for contract in contracts
        ]

        def ask(source: Reader) -> dict[Address, Hash32]:
            return {
                contract: verify_storage_root(answer, header.state_root, contract, pool)
                for contract, answer in zip(contracts, source.batch(calls), strict=True)
            }

        state.roots.update(self._panel.any_of(ask))

    def _words(self, state: _State, contract: Address, slots: Sequence[int]) -> list[bytes]:
        if contract not in state.roots:
            # Not met before: the root comes with the words.
            self._fetch(state, contract, slots)
        trie = self._trie(contract, state.roots[contract])
        while lacking := trie.lacking(slots):
            missing = [slot for group in lacking.values() for slot in group]
            if not trie.is_empty and len(missing) > FEW_KEYS:
                # What one of them shows of the trie may be all that is missing for the others.
                missing = [group[0] for group in lacking.values()]
            self._fetch(state, contract, missing)
        return trie.words(slots)

    def _trie(self, contract: Address, root: Hash32) -> StorageTrie:
        tries = self._tries.get(contract)
        if tries is None:
            tries = self._tries.put(contract, Recent(ROOTS))
        trie = tries.get(root)
        if trie is None:
            # Only what earlier words rest on is carried over: the rest has left the trie.
            nodes = {hash: node for known in tries.values() for hash, node in known.used.items()}
            trie = tries.put(root, StorageTrie(root, nodes))
        return trie

    def _fetch(self, state: _State, contract: Address, slots: Sequence[int]) -> None:
        """Have words proven, and keep what proves them."""
        pool = NodePool()

        def by(size: int) -> None:
            for start in range(0, len(slots), size):
                chunk = slots[start : start + size]
                root, words = self._chunk(state.header, contract, chunk, pool)
                state.roots[contract] = root
                self._trie(contract, root).learn(dict(zip(chunk, words, strict=True)), pool.met())

        try:
            by(KEYS)
        except EndpointUnavailable:
            if len(slots) <= FEWER_KEYS:
                raise
            by(FEWER_KEYS)

    def _chunk(
        self, header: Header, contract: Address, slots: Sequence[int], pool: NodePool
    ) -> tuple[Hash32, list[bytes]]:
        def ask(source: Reader) -> tuple[Hash32, list[bytes]]:
            keys = [f"0x{slot:064x}" for slot in slots]
            at = {"blockHash": str(header.block.hash)}
            answer = source.call("eth_getProof", [str(contract), keys, at])
            words = verify_words(answer, header.state_root, contract, slots, pool)
            return verify_storage_root(answer, header.state_root, contract, pool), words

        return self._panel.any_of(ask)


def _word_of(call: Call) -> tuple[Hash32, Slot] | None:
    """Return block and place of the storage word that is asked for; None for another question."""
    at = call.params[2] if call.method == "eth_getStorageAt" and len(call.params) == 3 else None
    if not isinstance(at, dict) or "blockHash" not in at:
        return None
    contract, slot, _ = call.params
    block = decode.hash32(at["blockHash"], "the question")
    return block, (Address.parse(str(contract)), int(str(slot), 16))
