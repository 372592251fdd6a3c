"""The chain in memory with real headers and state proofs, and endpoints that lie about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from eth_hash.auto import keccak

from dpki.chain import rlp
from dpki.chain.domain import registries_of
from dpki.chain.rpc import Call, RpcError
from dpki.model import Address, Block, Hash32, to_timestamp
from tests.fakes.chain import FakeChain
from tests.fakes.state import State

_ZERO = f"0x{0:064x}"
_EMPTY_TRIE = f"0x{keccak(rlp.encode(b'')).hex()}"


class ProvingChain(FakeChain):
    """A `FakeChain` whose block hashes are those of headers, with the state in them."""

    def __init__(self, chain_id: int = 31337, salt: bytes = b"") -> None:
        self._states_by_hash: dict[Hash32, State] = {}
        self._headers: dict[Hash32, dict[str, object]] = {}
        self._state: State | None = None
        super().__init__(chain_id, salt)

    def _hash(self, number: int, time: datetime) -> Hash32:
        # The first block comes before the domain, whose registries are there even while empty.
        made = registries_of(Address(b"\x01" * 20)) if self._blocks else ()
        accounts: dict[Address, dict[int, int]] = {registry: {} for registry in made}
        for (contract, slot), value in self._storage.items():
            accounts.setdefault(contract, {})[slot] = value
        # Most blocks change nothing, and hashing a state takes a while.
        if self._state is None or self._state.storage != accounts:
            self._state = State(accounts)
        state = self._state
        header = {
            "parentHash": str(self._blocks[-1].hash) if self._blocks else _ZERO,
            "sha3Uncles": f"0x{keccak(rlp.encode_list([])).hex()}",
            "miner": f"0x{0:040x}",
            "stateRoot": str(state.root),
            "transactionsRoot": _EMPTY_TRIE,
            "receiptsRoot": _EMPTY_TRIE,
            "logsBloom": f"0x{0:0512x}",
            "difficulty": "0x0",
            "number": hex(number),
            "gasLimit": "0x1c9c380",
            "gasUsed": "0x0",
            "timestamp": hex(to_timestamp(time)),
            "extraData": f"0x{self._salt.hex()}",
            "mixHash": _ZERO,
            "nonce": "0x0000000000000000",
            "baseFeePerGas": "0x1",
        }
        numbers = ("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas")
        items = [
            rlp.encode_integer(int(value, 16))
            if name in numbers
            else rlp.encode(bytes.fromhex(value[2:]))
            for name, value in header.items()
        ]
        hash = Hash32(keccak(rlp.encode_list(items)))
        self._states_by_hash[hash] = state
        self._headers[hash] = {**header, "hash": str(hash)}
        return hash

    def show(self, block: Block) -> dict[str, object]:
        return dict(self._headers[block.hash])

    def _eth_getProof(  # noqa: N802
        self, contract: str, slots: Sequence[str], at: dict[str, str]
    ) -> object:
        state = self._states_by_hash.get(Hash32.parse(at["blockHash"]))
        if state is None:
            raise RpcError(self.name, "eth_getProof", -32001, "block not found")
        return state.proof(Address.parse(contract), [int(slot, 16) for slot in slots])


Tell = Callable[[Call, Callable[[], object]], object]
"""From a question, and a way to the true answer, to the one that is given."""


def truth(_call: Call, answer: Callable[[], object]) -> object:
    return answer()


@dataclass
class Source:
    """An endpoint of a chain, honest or not.

    Attributes:
        tell: What it makes of each question.
        asked: The questions that it got.
    """

    name: str
    chain: FakeChain
    tell: Tell = truth
    asked: list[Call] = field(default_factory=list)

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        call = Call(method, params)
        self.asked.append(call)
        return self.tell(call, lambda: self.chain.call(method, params))

    def batch(self, calls: Sequence[Call]) -> list[object]:
        return [self.call(call.method, call.params) for call in calls]


def sources(chain: FakeChain, *tells: Tell) -> list[Source]:
    """Return an endpoint for each way of telling."""
    return [Source(f"rpc-{place}", chain, tell) for place, tell in enumerate(tells)]
