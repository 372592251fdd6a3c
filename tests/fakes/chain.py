"""A chain in memory with one trust domain on it, behind the same `Reader` as an endpoint.

It plays the contracts with a few lines each and answers from storage slots and logs, block by
block. It can be told to
lie. That it answers like the real thing is for tests/conformance to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from eth_hash.auto import keccak

from dpki.chain import layout, merkle
from dpki.chain.domain import DOMAIN_CREATED, Domain, registries_of
from dpki.chain.events import BATCH_ISSUED, CERTIFICATE_ISSUED
from dpki.chain.rpc import Call, RpcError
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Block,
    DeviceState,
    DomainId,
    Entry,
    Hash32,
    to_timestamp,
)

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OPERATOR = Address(b"\x0a" * 20)
ISSUER_KEY = Hash32(b"\x42" * 32)

Lie = Callable[[str, Sequence[object], object], object]
"""Method, parameters and honest answer -> what is answered instead."""


@dataclass
class _Issuer:
    operator: Address
    lifetime: timedelta
    next_serial: int = 1
    revoked: int = 0
    state: AuthorityState = AuthorityState.ACTIVE

    def word(self) -> int:
        minutes = int(self.lifetime / timedelta(minutes=1))
        return (
            int.from_bytes(self.operator)
            | self.next_serial << 160
            | self.revoked << 192
            | minutes << 224
            | self.state << 248
        )


class FakeChain:
    """The chain. Every change makes a block."""

    name = "fake"

    def __init__(self, chain_id: int = 31337, salt: bytes = b"") -> None:
        self.chain_id = chain_id
        self.asked: list[Call] = []
        self.lie: Lie | None = None
        self._salt = salt
        self._blocks: list[Block] = []
        self._states: list[dict[tuple[Address, int], int]] = []
        self._logs: list[dict[str, object]] = []
        self._storage: dict[tuple[Address, int], int] = {}
        self._issuers: dict[AuthorityId, _Issuer] = {}
        self.mine()
        address = Address(b"\x01" * 20)
        parts = registries_of(address)
        created = b"".join(bytes(12) + part for part in parts)
        self._log(address, [DOMAIN_CREATED, Hash32(bytes(12) + OPERATOR)], created)
        block = self.mine()
        self.domain = Domain(DomainId(chain_id, address, block.hash), *parts, block)

    # --- what happens on it ----------------------------------------------------------------------

    @property
    def head(self) -> Block:
        return self._blocks[-1]

    def mine(self) -> Block:
        """Make a block of everything since the last one."""
        number = len(self._blocks)
        time = START + timedelta(seconds=2 * number)
        block = Block(number, self._hash(number, time), time)
        self._blocks.append(block)
        self._states.append(dict(self._storage))
        for log in self._logs:
            if "blockHash" not in log:
                log.update(blockNumber=hex(number), blockHash=str(block.hash))
        return block

    def _hash(self, number: int, time: datetime) -> Hash32:
        parent = self._blocks[-1].hash if self._blocks else b""
        return Hash32(keccak(parent + self._salt + number.to_bytes(8)))

    def put(self, contract: Address, slot: int, value: int) -> None:
        """Change one storage word, without a block."""
        self._storage[contract, slot] = value

    def register(
        self,
        public_key: bytes = b"k" * 91,
        kind: AuthorityKind = AuthorityKind.SSH_USER,
        parent: AuthorityId | None = None,
        lifetime: timedelta = timedelta(days=1),
    ) -> AuthorityId:
        ca = AuthorityId(sha256(public_key).digest())
        registry, count = self.domain.authorities, len(self._issuers)
        self.put(registry, layout.AUTHORITY_LIST, count + 1)
        self.put(registry, layout.authority_id_slot(count), int.from_bytes(ca))
        head, issuer_key, above, key = layout.authority_slots(ca)
        self.put(registry, head, kind | to_timestamp(self.head.time + timedelta(seconds=2)) << 8)
        self.put(registry, issuer_key, int.from_bytes(ISSUER_KEY))
        self.put(registry, above, int.from_bytes(parent or bytes(32)))
        slots = layout.public_key_slots(ca, len(public_key))
        if slots:
            self.put(registry, key, 2 * len(public_key) + 1)
            for index, slot in enumerate(slots):
                self.put(
                    registry, slot, int.from_bytes(public_key[32 * index :][:32].ljust(32, b"\0"))
                )
        else:
            self.put(
                registry,
                key,
                int.from_bytes(public_key.ljust(31, b"\0")) << 8 | 2 * len(public_key),
            )
        self._issuers[ca] = _Issuer(OPERATOR, lifetime)
        self._save(ca)
        self.mine()
        return ca

    def issue(self, ca: AuthorityId, entries: Sequence[Entry], *, mine: bool = True) -> int:
        """Anchor a batch, alone in its block or with those that follow; return its first serial."""
        issuer = self._issuers[ca]
        first, registry = issuer.next_serial, self.domain.certificates
        context = merkle.leaf_context(self.chain_id, registry, ca)
        tree = merkle.Tree([merkle.leaf(context, first + i, e) for i, e in enumerate(entries)])
        self.put(registry, layout.commitment_slot(ca, first), int.from_bytes(tree.commitment))
        for index, entry in enumerate(entries):
            topics = [
                CERTIFICATE_ISSUED,
                ca,
                bytes(12) + entry.device,
                (first + index).to_bytes(32),
            ]
            self._log(
                registry,
                topics,
                entry.certificate_hash + to_timestamp(entry.not_after).to_bytes(32) + entry.locator,
            )
        self._log(
            registry, [BATCH_ISSUED, ca, first.to_bytes(32)], len(entries).to_bytes(32) + tree.root
        )
        self._issuers[ca] = replace(issuer, next_serial=first + len(entries))
        self._save(ca)
        if mine:
            self.mine()
        return first

    def revoke(self, ca: AuthorityId, serials: Iterable[int], *, mine: bool = True) -> None:
        for serial in serials:
            key = (self.domain.certificates, layout.revocation_slot(ca, serial >> 8))
            self._storage[key] = self._storage.get(key, 0) | 1 << (serial & 255)
            self._issuers[ca].revoked += 1
        self._save(ca)
        if mine:
            self.mine()

    def revoke_below(self, ca: AuthorityId, serial: int) -> None:
        self.put(self.domain.certificates, layout.revoked_below_slot(ca), serial)
        self.mine()

    def set_state(self, ca: AuthorityId, state: AuthorityState) -> None:
        self._issuers[ca].state = state
        self._save(ca)
        self.mine()

    def enroll(self, device: Address, document: Hash32, nonce: int = 1) -> None:
        slots = layout.device_slots(device)
        self.put(self.domain.devices, slots[0], int.from_bytes(document))
        self.put(self.domain.devices, slots[1], DeviceState.ACTIVE | nonce << 8)
        self.mine()

    def watch(self, ca: AuthorityId, threshold: int = 2, total: int = 3) -> None:
        """Have watchdogs confirm from the next serial on; others, where somebody does."""
        slot = (self.domain.watchdogs, layout.watch_slot(ca))
        before = self._storage.get(slot, 0)
        first = before >> 32 & 0xFFFFFFFF or self._issuers[ca].next_serial
        version = (before & 0xFFFFFFFF) + 1
        self.put(*slot, version | first << 32 | threshold << 64 | total << 96)
        self.mine()

    def confirm(self, ca: AuthorityId, first: int, *, weight: int, confirmed: bool) -> None:
        """Say how far the batch is, under the watch of now."""
        version = self._storage[self.domain.watchdogs, layout.watch_slot(ca)] & 0xFFFFFFFF
        slot = layout.progress_slot(ca, first)
        self.put(
            self.domain.watchdogs, slot, version | weight << 32 | 1 << 64 | int(confirmed) << 128
        )
        self.mine()

    def _save(self, ca: AuthorityId) -> None:
        self.put(self.domain.certificates, layout.issuer_slot(ca), self._issuers[ca].word())

    def _log(self, address: Address, topics: Sequence[bytes], data: bytes) -> None:
        self._logs.append(
            {
                "address": str(address).lower(),
                "topics": [f"0x{topic.hex()}" for topic in topics],
                "data": f"0x{data.hex()}",
                "logIndex": hex(sum("blockHash" not in log for log in self._logs)),
                "removed": False,
            }
        )

    # --- Reader ----------------------------------------------------------------------------------

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        self.asked.append(Call(method, params))
        answer = getattr(self, f"_{method}", self._unknown)(*params)
        return answer if self.lie is None else self.lie(method, params, answer)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        return [self.call(call.method, call.params) for call in calls]

    def show(self, block: Block) -> dict[str, object]:
        """Return a block as an endpoint shows it."""
        return {
            "number": hex(block.number),
            "hash": str(block.hash),
            "timestamp": hex(to_timestamp(block.time)),
            "baseFeePerGas": "0x1",
        }

    def _unknown(self, *_: object) -> object:
        raise RpcError(self.name, "?", -32601, "method not found")

    def _eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain_id)

    def _eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self.head.number)

    def _eth_getBlockByNumber(self, which: str, _full: bool) -> object:  # noqa: N802
        if which in ("latest", "safe", "finalized"):
            return self.show(self.head)
        number = int(which, 16)
        return self.show(self._blocks[number]) if number < len(self._blocks) else None

    def _eth_getBlockByHash(self, which: str, _full: bool) -> object:  # noqa: N802
        return next((self.show(block) for block in self._blocks if str(block.hash) == which), None)

    def _eth_getStorageAt(self, contract: str, slot: str, at: dict[str, object]) -> str:  # noqa: N802
        number = next((b.number for b in self._blocks if str(b.hash) == at["blockHash"]), None)
        if number is None:
            raise RpcError(self.name, "eth_getStorageAt", -32001, "block not found")
        return f"0x{self._states[number].get((Address.parse(contract), int(slot, 16)), 0):064x}"

    def _eth_getLogs(self, query: dict[str, object]) -> list[dict[str, object]]:  # noqa: N802
        found = []
        for log in self._logs:
            if "blockHash" in query:
                in_range = log["blockHash"] == query["blockHash"]
            else:
                start, end = int(str(query["fromBlock"]), 16), int(str(query["toBlock"]), 16)
                in_range = start <= int(str(log["blockNumber"]), 16) <= end
            if (
                in_range
                and log["address"] == str(query["address"]).lower()
                and _matches(query, log)
            ):
                found.append(dict(log))
        return found


def entries(count: int, device: Address | None = None, tag: int = 0) -> list[Entry]:
    """Return entries that differ."""
    return [
        Entry(
            certificate_hash=Hash32(keccak(bytes([tag]) + i.to_bytes(4))),
            device=Address.zero() if device is None else device,
            not_after=START + timedelta(hours=1, seconds=i),
            locator=Hash32(keccak(b"locator" + i.to_bytes(4))),
        )
        for i in range(count)
    ]


def _matches(query: dict[str, object], log: dict[str, object]) -> bool:
    wanted, topics = query["topics"], log["topics"]
    assert isinstance(wanted, list)
    assert isinstance(topics, list)
    if len(wanted) > len(topics):
        return False
    return all(
        choice is None or topic in (choice if isinstance(choice, list) else [choice])
        for choice, topic in zip(wanted, topics, strict=False)
    )
