"""What program runs at a domain's addresses, held against the one that dpki ships."""

from __future__ import annotations

from dpki.audit.occurrence import contracts_of
from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.model import Address, Block
from dpki.transactions.artifacts import load_artifact


def fetch_code(reader: Reader, address: Address, block: Block) -> bytes:
    """Return the program at an address.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    at = {"blockHash": str(block.hash)}
    return decode.data(reader.call("eth_getCode", [str(address), at]), reader.name)


def is_ours(code: bytes, contract: str) -> bool:
    """Whether a program is the shipped one of a contract, whatever its immutables are.

    What closes a program is no part of it: a hash of its metadata, in which the sources' paths on
    the compiling machine are (Solidity documentation, "Encoding of the Metadata Hash in the
    Bytecode").
    """
    artifact = load_artifact(contract)
    places, length = artifact.immutables, len(artifact.runtime)
    if len(code) != length:
        return False
    end = length - 2 - int.from_bytes(artifact.runtime[-2:])
    return blank(code, places)[:end] == blank(artifact.runtime, places)[:end]


def is_made_for(code: bytes, contract: str, address: Address) -> bool:
    """Whether a program is the shipped one of a contract, and an immutable of it this address."""
    word = bytes(12) + address
    places = load_artifact(contract).immutables
    return is_ours(code, contract) and any(code[s : s + length] == word for s, length in places)


def blank(code: bytes, places: tuple[tuple[int, int], ...]) -> bytes:
    """Return a program with zeros where its immutables are written."""
    blanked = bytearray(code)
    for start, length in places:
        blanked[start : start + length] = bytes(length)
    return bytes(blanked)


def other_versions(reader: Reader, domain: Domain, block: Block) -> tuple[str, ...]:
    """Return the domain's contracts that run another program than this dpki ships.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    return tuple(
        name
        for address, name in contracts_of(domain).items()
        if not is_ours(fetch_code(reader, address, block), name)
    )
