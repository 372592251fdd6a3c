"""Storage words with proofs, beneath the snapshot (claim T4).

Enough endpoints agree on a block's hash; any one of them may then serve its state, since header and
proofs are checked against that hash. A liar costs a question more, and is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpki.chain import decode
from dpki.chain.header import Header, verify_header
from dpki.chain.panel import Panel
from dpki.chain.proofs import NodePool, verify_words
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Call, Reader
from dpki.chain.state_proof import StateProof
from dpki.errors import CouldNotCheck, EndpointUnavailable
from dpki.model import Address, Hash32

KEYS = 1000
"""Keys in one question: nodes refuse more than 1,024."""

FEWER_KEYS = 100
"""Keys in one question where that was too much for every endpoint."""


class ProvenReader:
    """A panel of endpoints whose storage words are proven. A `Reader`.

    Where no endpoint proves a block's state, the panel's agreement on the words themselves has to
    do, from then on, and `evidence` says so.
    """

    def __init__(self, panel: Panel[Any]) -> None:
        self._panel = panel
        self._headers: dict[Hash32, Header] = {}
        self._pools: dict[Hash32, NodePool] = {}
        self._why_reduced = ""

    @property
    def name(self) -> str:
        """Return the panel's name."""
        return self._panel.name

    def evidence(self) -> Evidence:
        """Return what stands behind everything that was answered so far."""
        proven = bool(self._headers) and not self._why_reduced
        return self._panel.evidence(proven=proven, why_not=self._why_reduced)

    def known_state(self, block: Hash32) -> StateProof:
        """Return what was read of a block's state, with its proofs: to be read again without us.

        Raises:
            CouldNotCheck: Not everything that was read was proven.
        """
        if self._why_reduced or block not in self._headers:
            raise CouldNotCheck(
                f"no endpoint proves the state of block {block}:"
                f" {self._why_reduced or 'none was asked to'}",
                hint="name an endpoint that answers eth_getProof; many prove only the newest"
                " blocks",
            )
        return StateProof(self._headers[block], self._pools[block].encoded())

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        if method == "eth_getStorageAt":
            return self.batch([Call(method, params)])[0]
        return self._panel.call(method, params)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the answers to many questions, in their order; see `Reader.batch`."""
        if self._why_reduced or not any(call.method == "eth_getStorageAt" for call in calls):
            return self._panel.batch(calls)
        try:
            return self._prove(self._block(calls), calls)
        except EndpointUnavailable as error:
            answers = self._panel.batch(calls)
            self._why_reduced = error.message
            return answers

    def _block(self, calls: Sequence[Call]) -> Hash32:
        """Return the agreed block whose storage all of the questions are about.

        Raises:
            EndpointUnavailable: They are not about one such block: a proof says what a block's
                state is, and never that the block is on the chain.
        """
        hashes = {
            str(call.params[2].get("blockHash"))
            if call.method == "eth_getStorageAt" and isinstance(call.params[2], dict)
            else ""
            for call in calls
        }
        hash = decode.hash32(hashes.pop(), self.name) if len(hashes) == 1 else None
        if hash is None or self._panel.agreed_block(hash) is None:
            raise EndpointUnavailable("no endpoints agreed on the block that was asked about")
        return hash

    def _prove(self, block: Hash32, calls: Sequence[Call]) -> list[object]:
        wanted: dict[Address, list[int]] = {}
        questions = [(Address.parse(str(c.params[0])), int(str(c.params[1]), 16)) for c in calls]
        for contract, slot in dict.fromkeys(questions):
            wanted.setdefault(contract, []).append(slot)
        words: dict[tuple[Address, int], bytes] = {}
        for contract, slots in wanted.items():
            proven = self._words(block, contract, slots)
            words |= {(contract, s): word for s, word in zip(slots, proven, strict=True)}
        return [f"0x{words[question].hex()}" for question in questions]

    def _words(self, block: Hash32, contract: Address, slots: Sequence[int]) -> list[bytes]:
        def by(size: int) -> list[bytes]:
            starts = range(0, len(slots), size)
            return [w for i in starts for w in self._chunk(block, contract, slots[i : i + size])]

        try:
            return by(KEYS)
        except EndpointUnavailable:
            if len(slots) <= FEWER_KEYS:
                raise
            return by(FEWER_KEYS)

    def _chunk(self, block: Hash32, contract: Address, slots: Sequence[int]) -> list[bytes]:
        header = self._header(block)
        pool = self._pools.setdefault(block, NodePool())

        def ask(source: Reader) -> list[bytes]:
            keys = [f"0x{slot:064x}" for slot in slots]
            answer = source.call("eth_getProof", [str(contract), keys, {"blockHash": str(block)}])
            return verify_words(answer, header.state_root, contract, slots, pool)

        return self._panel.any_of(ask)

    def _header(self, block: Hash32) -> Header:
        if block not in self._headers:
            self._headers[block] = self._panel.any_of(
                lambda source: verify_header(
                    source.call("eth_getBlockByHash", [str(block), False]), block
                )
            )
        return self._headers[block]
