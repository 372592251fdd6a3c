"""A block's state as far as a proof holds it: a `Reader` without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dpki.chain.header import Header
from dpki.chain.proofs import NodeSet
from dpki.chain.rpc import Call
from dpki.errors import CouldNotCheck, WrongDomain
from dpki.model import Address, Hash32


class StateProof:
    """Storage words of one block, each proven by nodes that are at hand. A `Reader`.

    Whoever reads a trust domain's state through an endpoint reads it through this in the same way.
    What is not in it is not zero but could not be checked.

    Args:
        header: The block's, believed.
        nodes: Of its tries, encoded.

    Attributes:
        header: The same.

    Raises:
        ProofInvalid: One of the nodes is none.
    """

    name = "the proof"

    def __init__(self, header: Header, nodes: Iterable[bytes]) -> None:
        self.header = header
        self._nodes = NodeSet(nodes)
        self._roots: dict[Address, Hash32] = {}

    @property
    def needed(self) -> tuple[bytes, ...]:
        """The nodes that were needed for everything that was asked so far, sorted."""
        return self._nodes.needed

    @property
    def has_more(self) -> bool:
        """Whether there are nodes that nothing needed that was asked so far."""
        return self._nodes.has_others

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        """Return a storage word of the block; see `Reader.call`.

        Raises:
            CouldNotCheck: It is not in the proof, or the question is another one.
            ProofInvalid: The nodes lead to something that can't be.
            WrongDomain: There is no such contract in this block's state.
        """
        at = params[2] if method == "eth_getStorageAt" else None
        if not isinstance(at, dict) or at.get("blockHash") != str(self.header.block.hash):
            raise CouldNotCheck(f"{self.name} can't answer {method}")
        root = self._root(Address.parse(str(params[0])))
        return f"0x{self._nodes.word(root, int(str(params[1]), 16)).hex()}"

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """Return many storage words; see `call`."""
        return [self.call(call.method, call.params) for call in calls]

    def _root(self, contract: Address) -> Hash32:
        if contract not in self._roots:
            account = self._nodes.account(self.header.state_root, contract)
            if account is None:
                raise WrongDomain(
                    f"block {self.header.block.number} holds no contract {contract}: the trust"
                    " domain is on another chain, or was deployed later",
                    hint="compare the domain id with what `dpki deploy` printed",
                )
            self._roots[contract] = account.storage_root
        return self._roots[contract]
