"""Block headers: Ethereum's first block, headers of every fork, and those that are none."""

from __future__ import annotations

from typing import Any

import pytest
from eth_hash.auto import keccak

from dpki.chain import rlp
from dpki.chain.header import verify_header
from dpki.errors import ProofInvalid
from dpki.model import Hash32, to_timestamp

EMPTY_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
EMPTY_TRIE = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
ZERO = f"0x{0:064x}"

GENESIS: dict[str, object] = {
    "parentHash": ZERO,
    "sha3Uncles": EMPTY_UNCLES,
    "miner": f"0x{0:040x}",
    "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
    "transactionsRoot": EMPTY_TRIE,
    "receiptsRoot": EMPTY_TRIE,
    "logsBloom": f"0x{0:0512x}",
    "difficulty": "0x400000000",
    "number": "0x0",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x0",
    "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
    "mixHash": ZERO,
    "nonce": "0x0000000000000042",
    # No part of the header:
    "size": "0x21c",
    "uncles": [],
    "totalDifficulty": "0x400000000",
}
"""The first block of Ethereum's main network."""

GENESIS_HASH = Hash32.parse("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")

LATER: dict[str, object] = {
    "baseFeePerGas": "0x7",
    "withdrawalsRoot": EMPTY_TRIE,
    "blobGasUsed": "0x0",
    "excessBlobGas": "0x20000",
    "parentBeaconBlockRoot": ZERO,
    "requestsHash": f"0x{'e3' * 32}",
}


def hash_of(fields: dict[str, Any]) -> Hash32:
    """Return the hash of a header, put together here by hand."""
    numbers = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}
    numbers |= {"blobGasUsed", "excessBlobGas"}
    names = [*list(GENESIS)[:15], *(name for name in LATER if fields.get(name) is not None)]
    items = [
        rlp.encode_integer(int(fields[name], 16))
        if name in numbers
        else rlp.encode(bytes.fromhex(fields[name][2:]))
        for name in names
    ]
    return Hash32(keccak(rlp.encode_list(items)))


def test_the_first_block_of_ethereum() -> None:
    header = verify_header(GENESIS, GENESIS_HASH)
    assert header.block.hash == GENESIS_HASH
    assert header.block.number == 0
    assert to_timestamp(header.block.time) == 0
    assert str(header.state_root) == GENESIS["stateRoot"]
    assert keccak(header.rlp) == GENESIS_HASH


@pytest.mark.parametrize("count", range(len(LATER) + 1))
def test_headers_of_every_fork(count: int) -> None:
    fields = {**GENESIS, **dict(list(LATER.items())[:count]), "number": "0x10", "gasUsed": "0xff"}
    if count < len(LATER):
        fields["requestsHash"] = None
    header = verify_header(fields, hash_of(fields))
    assert header.block.number == 16


def test_what_the_endpoint_says_the_hash_is_does_not_matter() -> None:
    assert verify_header({**GENESIS, "hash": ZERO}, GENESIS_HASH).block.hash == GENESIS_HASH


@pytest.mark.parametrize("name", [*list(GENESIS)[:15], *LATER])
def test_no_field_can_be_changed(name: str) -> None:
    fields: dict[str, Any] = {**GENESIS, **LATER}
    expected = hash_of(fields)
    verify_header(fields, expected)
    text = str(fields[name])
    changed = {**fields, name: text[:-1] + ("1" if text[-1] != "1" else "2")}
    with pytest.raises(ProofInvalid, match="hash"):
        verify_header(changed, expected)


@pytest.mark.parametrize("name", [*list(GENESIS)[:15], *list(LATER)[:-1]])
@pytest.mark.parametrize("value", [None, 7, "", "0x", "0xzz", "7", "0x" + "00" * 5000, [], "0x0g"])
def test_no_field_can_be_nonsense(name: str, value: object) -> None:
    fields = {**GENESIS, **LATER}
    with pytest.raises(ProofInvalid):
        verify_header({**fields, name: value}, hash_of(fields))


@pytest.mark.parametrize("answer", [None, [], "0x", 7, {}])
def test_no_block_object(answer: object) -> None:
    with pytest.raises(ProofInvalid):
        verify_header(answer, GENESIS_HASH)


def test_a_field_of_a_fork_to_come_makes_another_hash() -> None:
    """It can't be rebuilt, and is not guessed at."""
    fields = {**GENESIS, **LATER, "blockAccessListHash": ZERO}
    items = rlp.decode_list(verify_header(fields, hash_of(fields)).rlp)
    newer = rlp.encode_list([*(item.raw for item in items), rlp.encode(bytes(32))])
    with pytest.raises(ProofInvalid, match="not"):
        verify_header(fields, Hash32(keccak(newer)))


def test_a_time_beyond_the_calendar() -> None:
    fields = {**GENESIS, "timestamp": hex(2**60)}
    with pytest.raises(ProofInvalid):
        verify_header(fields, hash_of(fields))
