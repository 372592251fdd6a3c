"""What docs/formats.md says that the contracts compute, written again from the text alone.

Nothing here shares a line with `dpki`: where both agree with the contracts, three agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak
from eth_keys import keys

ZERO = bytes(32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def word(value: int | str | bytes) -> bytes:
    """Return the 32 bytes that the ABI makes of an integer, an address or a digest."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if isinstance(value, str):
        return bytes.fromhex(value.removeprefix("0x")).rjust(32, b"\0")
    return value.rjust(32, b"\0")


@dataclass(frozen=True)
class Entry:
    """What one certificate puts on chain."""

    certificate_hash: bytes
    device: str
    not_after: int
    locator: bytes = ZERO

    @property
    def subject(self) -> int:
        return int(self.device, 16) << 96 | self.not_after

    @property
    def abi(self) -> tuple[bytes, int, bytes]:
        """The entry as the contract takes it."""
        return (self.certificate_hash, self.subject, self.locator)


# -- leaf, tree, commitment, path ----------------------------------------------------------------


def leaf(chain_id: int, registry: str, ca: bytes, serial: int, entry: Entry) -> bytes:
    context = keccak(keccak(b"dpki leaf v1") + word(chain_id) + word(registry) + ca)
    body = context + serial.to_bytes(4, "big") + word(entry.subject) + entry.certificate_hash
    return keccak(b"\x00" + body)


def node(left: bytes, right: bytes) -> bytes:
    return keccak(b"\x01" + left + right)


def commitment(root: bytes, count: int) -> bytes:
    return keccak(b"\x02" + root + count.to_bytes(4, "big"))


def _split(count: int) -> int:
    """Return RFC 6962's k: the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root by RFC 6962's recursion, not level by level as the contract does."""
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return node(tree_root(leaves[:k]), tree_root(leaves[k:]))


def tree_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the siblings from the leaf upwards: RFC 6962's PATH(m, D[n]), section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*tree_path(index, leaves[:k]), tree_root(leaves[k:])]
    return [*tree_path(index - k, leaves[k:]), tree_root(leaves[:k])]


# -- what devices and watchdogs sign -------------------------------------------------------------

ENROLLMENT = "Enrollment(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)"
UPDATE = "KeyDocumentUpdate(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)"
CONFIRMATION = (
    "Confirmation(bytes32 ca,uint32 version,uint32 firstSerial,bytes32 commitment,"
    "address watchdog,uint256 deadline)"
)
_DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


def message_digest(
    kind: str,
    chain_id: int,
    contract: str,
    device: str,
    document: bytes,
    nonce: int,
    deadline: int,
) -> bytes:
    """Return the EIP-712 digest that a device signs."""
    message = keccak(kind.encode()) + word(device) + document + word(nonce) + word(deadline)
    return _digest(b"dpki DeviceRegistry", chain_id, contract, message)


def confirmation_digest(
    chain_id: int,
    contract: str,
    ca: bytes,
    version: int,
    first: int,
    commitment: bytes,
    watchdog: str,
    deadline: int,
) -> bytes:
    """Return the EIP-712 digest that a watchdog signs."""
    message = (
        keccak(CONFIRMATION.encode())
        + ca
        + word(version)
        + word(first)
        + commitment
        + word(watchdog)
        + word(deadline)
    )
    return _digest(b"dpki WatchdogRegistry", chain_id, contract, message)


def _digest(name: bytes, chain_id: int, contract: str, message: bytes) -> bytes:
    separator = keccak(
        keccak(_DOMAIN.encode()) + keccak(name) + keccak(b"1") + word(chain_id) + word(contract)
    )
    return keccak(b"\x19\x01" + separator + keccak(message))


def sign(private_key: str, digest: bytes) -> bytes:
    """Return r ‖ s ‖ v with v 27 or 28 and low s."""
    signature = keys.PrivateKey(bytes.fromhex(private_key.removeprefix("0x"))).sign_msg_hash(digest)
    return word(signature.r) + word(signature.s) + bytes([27 + signature.v])


def malleate(signature: bytes) -> bytes:
    """Return the other signature of the same message by the same key: high s."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + word(s) + bytes([55 - signature[64]])


# -- what members of a council sign --------------------------------------------------------------

VOTE = "Vote(bytes32 round,address voter,uint8 choice,uint8 nonce,uint64 deadline)"


def vote_digest(
    chain_id: int, council: str, round: bytes, voter: str, choice: int, nonce: int, deadline: int
) -> bytes:
    """Return the EIP-712 digest that a member signs."""
    content = word(voter) + word(choice) + word(nonce) + word(deadline)
    return _digest(b"dpki RootCouncil", chain_id, council, keccak(VOTE.encode()) + round + content)


# -- storage -------------------------------------------------------------------------------------


def mapping_slot(key: int | str | bytes, slot: int) -> int:
    """Return where a mapping at `slot` keeps what belongs to `key`."""
    return int.from_bytes(keccak(word(key) + word(slot)), "big")
