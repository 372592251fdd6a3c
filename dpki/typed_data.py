"""Signatures over typed data, as dpki's contracts check them (EIP-712, version 1 of each).

The hashing is done here, in a few lines, because a device carries no eth-account.
Source: https://eips.ethereum.org/EIPS/eip-712, and EIP-2 for the low s.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_keys.exceptions import BadSignature
from eth_keys.main import KeyAPI
from eth_utils.exceptions import ValidationError

from dpki.keccak import keccak
from dpki.model import Address

SIGNATURE_BYTES = 65

_DOMAIN_TYPE = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_VERSION = keccak(b"1")
# Half of secp256k1's order: of r and s two signatures exist, and only the low one counts (EIP-2).
_MAXIMUM_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_CURVE = KeyAPI(CoinCurveECCBackend)


def typed_digest(contract: str, chain_id: int, address: Address, struct: bytes) -> bytes:
    """Return what is signed for a contract.

    Args:
        contract: Its name in the signing domain, such as `dpki DeviceRegistry`.
        chain_id: Its chain.
        address: Where it is.
        struct: The hash of the typed struct.
    """
    separator = keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [_DOMAIN_TYPE, keccak(contract.encode()), _VERSION, chain_id, bytes(address)],
        )
    )
    return keccak(b"\x19\x01" + separator + struct)


def recover_signer(signature: bytes, digest: bytes) -> Address | None:
    """Return whose signature this is; None for one that no contract would take.

    Args:
        signature: r, s and v (27 or 28), 65 bytes.
    """
    if len(signature) != SIGNATURE_BYTES:
        return None
    r, s, v = signature[:32], signature[32:64], signature[64]
    if v not in (27, 28) or int.from_bytes(s) > _MAXIMUM_S:
        return None
    try:
        key = _CURVE.Signature(r + s + bytes([v - 27])).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return None
    return Address(key.to_canonical_address())
