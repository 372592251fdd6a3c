"""A block's state as far as a proof holds it: a `Reader` without a network, and what fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from dpki.chain.header import Header, verify_header
from dpki.chain.panel import Panel
from dpki.chain.proofs import EMPTY_ROOT, Node, NodePool, account_of, verify_words, walk, word_of
from dpki.chain.rpc import Call, Reader
from dpki.errors import CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.model import Address, Block, Hash32

Answer = TypeVar("Answer")


class StateProof:
    """Storage words of one block, each proven by nodes that are at hand. A `Reader`.

    Whoever reads a trust domain's state through an endpoint reads it through this in the same way.
    What is not in it is not zero but could not be checked.

    Args:
        header: The block's, believed.
        nodes: Of its tries, in any order.

    Attributes:
        header: The same.
    """

    name = "the proof"

    def __init__(self, header: Header, nodes: Iterable[Node]) -> None:
        self.header = header
        self._nodes = {node.hash: node for node in nodes}
        self._used: set[bytes] = set()
        self._roots: dict[Address, Hash32] = {}

    @classmethod
    def parse(cls, header: Header, nodes: Iterable[bytes]) -> StateProof:
        """Return the proof that encoded nodes make.

        Raises:
            ProofInvalid: One of them is none.
        """
        return cls(header, map(Node.parse, nodes))

    @property
    def needed(self) -> tuple[bytes, ...]:
        """The nodes that were needed for everything that was asked so far, encoded and sorted."""
        return tuple(sorted(self._nodes[hash].raw for hash in self._used))

    @property
    def has_more(self) -> bool:
        """Whether there are nodes that nothing needed that was asked so far."""
        return len(self._used) < len(self._nodes)

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return a storage word of the block; see `Reader.call`.

        Raises:
            CouldNotCheck: It is not in the proof, or the question is another one.
            ProofInvalid: The nodes lead to something that can't be.
            WrongDomain: There is no such contract in this block's state.
        """
        place = word_at(Call(method, params), self.header.block.hash)
        if place is None:
            raise CouldNotCheck(f"{self.name} can't answer {method}")
        contract, slot = place
        return f"0x{word_of(self._find(self._root(contract), slot.to_bytes(32))).hex()}"

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return many storage words; see `call`."""
        return [self.call(call.method, call.params) for call in calls]

    def _root(self, contract: Address) -> Hash32:
        if contract not in self._roots:
            account = account_of(self._find(self.header.state_root, contract))
            if account is None:
                raise WrongDomain(
                    f"block {self.header.block.number} holds no contract {contract}: the trust"
                    " domain is on another chain, or was deployed later",
                    hint="compare the domain id with what `dpki deploy` printed",
                )
            self._roots[contract] = account.storage_root
        return self._roots[contract]

    def _find(self, root: Hash32, key: bytes) -> bytes | None:
        return None if root == EMPTY_ROOT else walk(root, key, self._node)

    def _node(self, reference: bytes) -> Node:
        if len(reference) < 32:
            return Node.parse(reference)
        node = self._nodes.get(reference)
        if node is None:
            raise CouldNotCheck(
                f"{self.name} lacks a part of the state that the question is about",
                hint="something was lost on the way, or it is a proof of something else: get it"
                " anew",
            )
        self._used.add(reference)
        return node


class StateCollector:
    """Storage words of one block out of a panel, with what proves them kept. A `Reader`.

    Args:
        block: One that the panel agreed on.

    Raises:
        CouldNotCheck: No endpoint gives the header that the block's hash is of.
    """

    def __init__(self, panel: Panel[Any], block: Block) -> None:
        self._panel = panel
        self._pool = NodePool()
        self._block = block
        self._header = self._any_of(
            lambda source: verify_header(
                source.call("eth_getBlockByHash", [str(block.hash), False]), block.hash
            )
        )

    @property
    def name(self) -> str:
        """Return the panel's name."""
        return self._panel.name

    def collected(self) -> StateProof:
        """Return what was read so far, to be read again without us."""
        return StateProof(self._header, self._pool.met())

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return the answer to one question; see `Reader.call`."""
        return self.batch([Call(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return the block's storage words; see `Reader.batch`.

        Raises:
            CouldNotCheck: No endpoint proves them, or a question is another one.
        """
        wanted: dict[Address, dict[int, bytes]] = {}
        places = []
        for call in calls:
            place = word_at(call, self._block.hash)
            if place is None:
                raise CouldNotCheck(f"{call.method} is nothing that a state proof answers")
            wanted.setdefault(place[0], {})[place[1]] = b""
            places.append(place)
        for contract, words in wanted.items():
            slots = list(words)
            words.update(zip(slots, self._prove(contract, slots), strict=True))
        return [f"0x{wanted[contract][slot].hex()}" for contract, slot in places]

    def _prove(self, contract: Address, slots: Sequence[int]) -> list[bytes]:
        question = [
            str(contract),
            [f"0x{slot:064x}" for slot in slots],
            {"blockHash": str(self._block.hash)},
        ]
        return self._any_of(
            lambda source: verify_words(
                source.call("eth_getProof", question),
                self._header.state_root,
                contract,
                slots,
                self._pool,
            )
        )

    def _any_of(self, ask: Callable[[Reader], Answer]) -> Answer:
        try:
            return self._panel.any_of(ask)
        except EndpointUnavailable as error:
            raise CouldNotCheck(
                f"no endpoint proves the state of block {self._block.number}: {error.message}",
                hint="name an endpoint that answers eth_getProof; many prove only the newest"
                " blocks",
            ) from error


def word_at(call: Call, block: Hash32) -> tuple[Address, int] | None:
    """Return which storage word of the block is asked for; None for another question."""
    at = call.params[2] if call.method == "eth_getStorageAt" and len(call.params) > 2 else None
    if not isinstance(at, dict) or at.get("blockHash") != str(block):
        return None
    return Address.parse(str(call.params[0])), int(str(call.params[1]), 16)
