"""What is signed for dpki's contracts: typed data (EIP-712), version 1 of each.

The hashing is done here, in a few lines, because a device carries no eth-account.
Source: https://eips.ethereum.org/EIPS/eip-712
"""

from __future__ import annotations

from dpki.keccak import keccak
from dpki.model import Address

_DOMAIN_TYPE = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_VERSION = keccak(b"1")


def typed_digest(contract: str, chain_id: int, address: Address, struct: bytes) -> bytes:
    """Return what is signed for a contract.

    Args:
        contract: Its name in the signing domain, such as `dpki DeviceRegistry`.
        chain_id: Its chain.
        address: Where it is.
        struct: The hash of the typed struct.
    """
    name = keccak(contract.encode())
    separator = struct_hash(_DOMAIN_TYPE, name, _VERSION, chain_id, address)
    return keccak(b"\x19\x01" + separator + struct)


def struct_hash(type_hash: bytes, *members: bytes | int) -> bytes:
    """Return the hash of a typed struct.

    Args:
        type_hash: keccak-256 of its type.
        members: Each as one word: numbers that are not negative, addresses, and 32 bytes.

    Raises:
        ValueError: A member is anything else.
        OverflowError: A number is.
    """
    return keccak(type_hash + b"".join(map(_word, members)))


def _word(member: bytes | int) -> bytes:
    if isinstance(member, int):
        return member.to_bytes(32)
    if len(member) not in (20, 32):
        raise ValueError(f"a member has {len(member)} bytes")
    return member.rjust(32, b"\0")
