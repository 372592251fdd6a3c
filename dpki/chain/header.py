"""A block header, rebuilt from an endpoint's JSON and hashed by us.

The block's hash commits to every field, so an endpoint that is asked for the block of a known hash
can't lie about any of them, the state root above all. Fields and their order: Ethereum Yellow
Paper, section 4.3, and after it EIP-1559 (base fee), EIP-4895 (withdrawals), EIP-4844 (blob gas),
EIP-4788 (beacon root), EIP-7685 (requests); OP-stack chains keep to the same header and put values
of their own into it. Prague is the last fork that added a field, Osaka added none. A chain whose
headers hold others yet can't be rebuilt, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpki.chain import decode, rlp
from dpki.errors import EndpointUnavailable, MalformedInput, ProofInvalid
from dpki.keccak import keccak
from dpki.model import Block, Hash32

MAXIMUM_FIELD = 1024
"""Bytes of one field: the bloom filter has 256, `extraData` 97 and more where signers are in it."""

_FIELDS = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
)
_LATER = (
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
"""Added by forks, one after another."""

_NUMBERS = frozenset(
    {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    }
)
"""Encoded as integers; all others as bytes (`nonce` is eight of them)."""


@dataclass(frozen=True)
class Header:
    """A block header whose hash is its own.

    Attributes:
        block: Its number, hash and time.
        state_root: The root of the state after the block.
        rlp: The header as encoded; its Keccak-256 is the block's hash.
    """

    block: Block
    state_root: Hash32
    rlp: bytes


def verify_header(answer: object, expected: Hash32) -> Header:
    """Return the header in a block object, after hashing it into the expected block hash.

    Args:
        answer: What `eth_getBlockByHash` or `eth_getBlockByNumber` answered, decoded from JSON.
            Fields that are no part of a header are not looked at.

    Raises:
        ProofInvalid: A field is missing or malformed, or the header has another hash.
    """
    try:
        fields = decode.mapping(answer, "the endpoint")
        # JSON's null is absence. Lengths need no look: another length is another hash.
        later = [name for name in _LATER if fields.get(name) is not None]
        encoded = rlp.encode_list([_encode(fields, name) for name in (*_FIELDS, *later)])
        actual = Hash32(keccak(encoded))
        if actual != expected:
            raise ProofInvalid(
                f"a block header has the hash {actual} and not {expected}", hint=_HINT
            )
        claimed = decode.block({**fields, "hash": str(expected)}, "the endpoint")
        return Header(claimed, decode.hash32(fields.get("stateRoot"), "the endpoint"), encoded)
    except EndpointUnavailable as error:
        raise ProofInvalid(f"a block header is malformed: {error.message}", hint=_HINT) from error


def header_fields(shown: object) -> dict[str, object]:
    """Return the fields of a block object that are a header's, to be verified later.

    What is no field of one, or too long, is left out: an answer may be megabytes long.
    """
    fields = shown if isinstance(shown, dict) else {}
    return {
        name: value
        for name in (*_FIELDS, *_LATER)
        if isinstance(value := fields.get(name), str) and len(value) <= 2 + 2 * MAXIMUM_FIELD
    }


def parse_header(encoded: bytes) -> Header:
    """Parse an encoded header, whose hash the caller then compares with one that it believes.

    Raises:
        ProofInvalid: It is none, or has fields that are not known here.
    """
    try:
        fields = rlp.decode_list(encoded)
        if not len(_FIELDS) <= len(fields) <= len(_FIELDS) + len(_LATER):
            raise MalformedInput(f"it has {len(fields)} fields")
        values = dict(zip((*_FIELDS, *_LATER), (f.payload for f in fields), strict=False))
        block = Block(
            rlp.integer(values["number"], 8),
            Hash32(keccak(encoded)),
            decode.time(rlp.integer(values["timestamp"], 8), "the header"),
        )
        return Header(block, Hash32(values["stateRoot"]), encoded)
    except (MalformedInput, EndpointUnavailable) as error:
        raise ProofInvalid(f"a block header is malformed: {error.message}", hint=_HINT) from error


_HINT = "whoever made it is of another chain, newer than this version of dpki, or lying"


def _encode(fields: Mapping[str, object], name: str) -> bytes:
    value = fields.get(name)
    if name in _NUMBERS:
        return rlp.encode_integer(decode.quantity(value, name))
    # Cut before it is decoded: an answer may be megabytes long.
    if not isinstance(value, str) or len(value) > 2 + 2 * MAXIMUM_FIELD:
        raise ProofInvalid(f"a block header's {name} is missing or too long", hint=_HINT)
    return rlp.encode(decode.data(value, name))
