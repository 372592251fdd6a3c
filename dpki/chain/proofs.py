"""State proofs: from a block's state root to an account and its storage words, or their absence.

A Merkle-Patricia trie (Ethereum Yellow Paper, appendix D) commits to the whole state by one hash; a
proof (EIP-1186, `eth_getProof`) lists the nodes on the way from the root to a key. Whoever sends it
need not be trusted: each node must have the very hash that the node above names. A key that is not
there is proven, too: the way ends at an empty branch, or at another key.

A proof is refused unless it is exactly the way: no node missing, changed, out of order or left
over. Proofs of many keys share their upper nodes; each node is hashed and decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dpki.chain import decode, rlp
from dpki.errors import EndpointUnavailable, MalformedInput, ProofInvalid
from dpki.keccak import keccak
from dpki.model import Address, Hash32

MAXIMUM_NODE = 1024
"""Bytes of one node: a full branch has 532, and an account's leaf fewer."""

MAXIMUM_DEPTH = 130
"""Nodes in one proof: a key has 64 nibbles, and some nodes repeat those that others embed."""

EMPTY_ROOT = Hash32(keccak(b"\x80"))
"""The root of a trie with nothing in it."""

_HINT = "whoever sent it answers for another block, contract or slot, or is lying"
_WORD = re.compile(r"0x[0-9a-fA-F]{1,64}")


@dataclass(frozen=True)
class Account:
    """An account of the state. Its storage is empty where `storage_root` is `EMPTY_ROOT`."""

    nonce: int
    balance: int
    storage_root: Hash32
    code_hash: Hash32


@dataclass(frozen=True)
class Branch:
    """A node with a child for each nibble; an absent one is empty."""

    children: tuple[bytes, ...]


@dataclass(frozen=True)
class Extension:
    """A node that skips nibbles, written as hexadecimal digits, to its one child."""

    path: str
    child: bytes


@dataclass(frozen=True)
class Leaf:
    """A node that ends the way: the nibbles that are left, and the value."""

    path: str
    value: bytes


@dataclass(frozen=True)
class Node:
    """A node of a trie, decoded.

    Attributes:
        content: What it is; None for the root of an empty trie.
    """

    raw: bytes
    hash: bytes
    content: Branch | Extension | Leaf | None

    @classmethod
    def parse(cls, raw: bytes) -> Node:
        """Parse and hash a node.

        Raises:
            ProofInvalid: It is none.
        """
        if len(raw) > MAXIMUM_NODE:
            raise _invalid(f"a node has {len(raw)} bytes")
        try:
            return cls(raw, keccak(raw), None if raw == b"\x80" else _parse_content(raw))
        except MalformedInput as error:
            raise _invalid(f"a node is malformed: {error.message}") from error


class NodePool:
    """Nodes by how they were written, each parsed once. Keep it for one block's proofs."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def nodes(self, written: object) -> list[Node]:
        """Return the nodes in a JSON array of hexadecimal strings.

        Raises:
            ProofInvalid: It holds anything else.
        """
        if not isinstance(written, list) or len(written) > MAXIMUM_DEPTH:
            raise _invalid("its nodes are no list, or more than a way can have")
        return [self._nodes.get(text) or self._parse(text) for text in map(_text, written)]

    def met(self) -> Iterable[Node]:
        """Return the nodes that were met so far."""
        return self._nodes.values()

    def _parse(self, text: str) -> Node:
        if len(text) > 2 + 2 * MAXIMUM_NODE:
            raise _invalid("a node is too long")
        node = self._nodes[text] = Node.parse(decode.data(text, "the endpoint"))
        return node


def prove(root: Hash32, key: bytes, nodes: Sequence[Node]) -> bytes | None:
    """Return what a trie of hashed keys holds under a key; None where that is proven absent.

    Args:
        root: The trie's root, already believed.
        key: The key before it is hashed: an address, or a slot as 32 bytes.
        nodes: The way from the root, and nothing else.

    Raises:
        ProofInvalid: The nodes are not that way.
    """
    if root == EMPTY_ROOT:
        if [node.raw for node in nodes] not in ([], [b"\x80"]):
            raise _invalid("an empty trie has no nodes")
        return None
    used = 0

    def next_node(reference: bytes) -> Node:
        nonlocal used
        following = nodes[used] if used < len(nodes) else None
        if len(reference) == 32:
            if following is None or following.hash != reference:
                raise _invalid("a node is missing, or not the one that the node above names")
            used += 1
            return following
        # Shorter than a hash, and so part of its parent; some endpoints list it all the same.
        used += following is not None and following.raw == reference
        return Node.parse(reference)

    value = walk(root, key, next_node)
    if used != len(nodes):
        raise _invalid("nodes are left over")
    return value


def walk(root: Hash32, key: bytes, find: Callable[[bytes], Node]) -> bytes | None:
    """Return what a trie that is not empty holds under a key; None where the way ends elsewhere.

    Args:
        find: Returns the node that a reference names: a hash, or the node itself.

    Raises:
        ProofInvalid: The way does not end as one does.
    """
    path = keccak(key).hex()
    position, reference = 0, bytes(root)
    while reference:
        content = find(reference).content
        if isinstance(content, Leaf):
            if len(content.path) != len(path) - position:
                raise _invalid("a leaf is at the wrong depth")
            return content.value if path.endswith(content.path) else None
        if not isinstance(content, Branch | Extension) or position >= len(path):
            raise _invalid("the way does not end where a key does")
        if isinstance(content, Branch):
            reference = content.children[int(path[position], 16)]
            position += 1
        elif path.startswith(content.path, position):
            reference = content.child
            position += len(content.path)
        else:
            break
    return None


def prove_account(state_root: Hash32, address: Address, nodes: Sequence[Node]) -> Account | None:
    """Return an account of the state; None where there is proven to be none.

    Raises:
        ProofInvalid: The nodes are not the way to it.
    """
    return account_of(prove(state_root, address, nodes))


def account_of(value: bytes | None) -> Account | None:
    """Return the account that stands in a trie; None for one that does not.

    Raises:
        ProofInvalid: It is no account.
    """
    if value is None:
        return None
    try:
        fields = rlp.decode_list(value)
        if [field.is_list for field in fields] != [False] * 4:
            raise MalformedInput("an account has four fields")
        nonce, balance, storage, code = (field.payload for field in fields)
        return Account(
            rlp.integer(nonce, 8), rlp.integer(balance, 32), Hash32(storage), Hash32(code)
        )
    except MalformedInput as error:
        raise _invalid(f"an account is malformed: {error.message}") from error


def prove_word(storage_root: Hash32, slot: int, nodes: Sequence[Node]) -> bytes:
    """Return a storage word, 32 bytes; zero where the slot is proven to hold nothing.

    Raises:
        ProofInvalid: The nodes are not the way to it.
    """
    return word_of(prove(storage_root, slot.to_bytes(32), nodes))


def word_of(value: bytes | None) -> bytes:
    """Return the storage word that stands in a trie; zero for one that does not.

    Raises:
        ProofInvalid: It is no word.
    """
    if value is None:
        return bytes(32)
    try:
        return rlp.integer(rlp.decode_bytes(value), 32).to_bytes(32)
    except MalformedInput as error:
        raise _invalid(f"a storage word is malformed: {error.message}") from error


def verify_storage_root(
    answer: object, state_root: Hash32, address: Address, pool: NodePool
) -> Hash32:
    """Return the root of an account's storage out of an answer to `eth_getProof`, proven.

    Args:
        answer: The answer, decoded from JSON.
        state_root: Of the block that was asked about, already believed.
        pool: Nodes that were met already.

    Raises:
        ProofInvalid: It is an answer to another question, malformed, or proves nothing.
    """
    try:
        fields = decode.mapping(answer, "the endpoint")
        if decode.data(fields.get("address"), "the endpoint") != address:
            raise _invalid("it is of another contract")
        account = prove_account(state_root, address, pool.nodes(fields.get("accountProof")))
        return EMPTY_ROOT if account is None else account.storage_root
    except EndpointUnavailable as error:
        raise _invalid(error.message) from error


def verify_words(
    answer: object,
    state_root: Hash32,
    address: Address,
    slots: Sequence[int],
    pool: NodePool,
) -> list[bytes]:
    """Return an account's storage words out of an answer to `eth_getProof`, each proven.

    Args:
        answer: The answer, decoded from JSON.
        state_root: Of the block that was asked about, already believed.
        slots: What was asked for, in that order.
        pool: Nodes that were met already.

    Raises:
        ProofInvalid: It is an answer to another question, malformed, or proves nothing.
    """
    root = verify_storage_root(answer, state_root, address, pool)
    try:
        fields = decode.mapping(answer, "the endpoint")
        entries = decode.sequence(fields.get("storageProof"), "the endpoint")
        if len(entries) != len(slots):
            raise _invalid(f"it has {len(entries)} slots, and {len(slots)} were asked for")
        return [
            _verify_word(decode.mapping(entry, "the endpoint"), root, slot, pool)
            for entry, slot in zip(entries, slots, strict=True)
        ]
    except EndpointUnavailable as error:
        raise _invalid(error.message) from error


def _verify_word(entry: dict[str, object], root: Hash32, slot: int, pool: NodePool) -> bytes:
    if _number(entry.get("key")) != slot:
        raise _invalid("it is of another slot")
    word = prove_word(root, slot, pool.nodes(entry.get("proof")))
    if _number(entry.get("value")) != int.from_bytes(word):
        raise _invalid("the value that it states is not the one that it proves")
    return word


def _number(value: object) -> int:
    """Return a slot or a word: some endpoints cut the zeros on the left, others keep them."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise _invalid("a slot or a word is malformed")
    return int(value, 16)


def _parse_content(raw: bytes) -> Branch | Extension | Leaf:
    items = rlp.decode_list(raw)
    if len(items) == 17:
        if items[16].raw != b"\x80":
            raise MalformedInput("a branch holds a value, and no key is that short")
        return Branch(tuple(_reference(item) for item in items[:16]))
    if len(items) != 2 or items[0].is_list:
        raise MalformedInput("it is neither branch, extension nor leaf")
    digits = items[0].payload.hex()
    # The first nibble says what it is (2: leaf) and whether the number of nibbles is odd (1).
    if digits[:1] not in ("0", "1", "2", "3") or (digits[0] in "02" and digits[1] != "0"):
        raise MalformedInput("its path has no such beginning")
    path = digits[2:] if digits[0] in "02" else digits[1:]
    if digits[0] in "23":
        if items[1].is_list:
            raise MalformedInput("a leaf holds a list")
        return Leaf(path, items[1].payload)
    child = _reference(items[1])
    if not path or not child:
        raise MalformedInput("an extension leads nowhere")
    return Extension(path, child)


def _reference(item: rlp.Item) -> bytes:
    """Return what names a child: nothing, its hash, or the child itself where that is shorter."""
    if item.is_list and len(item.raw) < 32:
        return item.raw
    if item.is_list or len(item.payload) not in (0, 32):
        raise MalformedInput("a child is neither a hash nor short")
    return item.payload


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _invalid("a node is no text")
    return value


def _invalid(what: str) -> ProofInvalid:
    return ProofInvalid(f"a state proof is not one: {what}", hint=_HINT)
