"""Finding a trust domain on a chain, from its id alone."""

from __future__ import annotations

from dataclasses import dataclass

from dpki.chain import decode, rlp
from dpki.chain.rpc import Reader, fetch_block
from dpki.errors import DomainNotShown, WrongDomain
from dpki.keccak import keccak
from dpki.model import Address, Block, DomainId, Hash32

DOMAIN_CREATED = Hash32(keccak(b"DomainCreated(address,address,address,address,address)"))
_HINT = "compare the domain id and the RPC endpoint with what `dpki deploy` printed"


@dataclass(frozen=True)
class Contracts:
    """A trust domain's id and where its registries are, which follows from it. Immutable.

    Attributes:
        id: The domain's id.
        authorities: The AuthorityRegistry's address.
        certificates: The CertificateRegistry's address.
        devices: The DeviceRegistry's address.
        watchdogs: The WatchdogRegistry's address.
    """

    id: DomainId
    authorities: Address
    certificates: Address
    devices: Address
    watchdogs: Address

    @classmethod
    def of(cls, domain_id: DomainId) -> Contracts:
        """Return the contracts of a domain that nobody was asked about."""
        return Contracts(domain_id, *registries_of(domain_id.address))


@dataclass(frozen=True)
class Domain(Contracts):
    """A trust domain that a chain was seen to hold.

    Attributes:
        block: The block that it was deployed in.
    """

    block: Block


def fetch_domain(reader: Reader, domain_id: DomainId) -> Domain:
    """Return the domain of this id, after finding its creation on the endpoint's chain.

    The chain id must be the id's, its deployment block must be on the chain (not only known), and
    that block must hold exactly one DomainCreated event of the id's address (docs/formats.md,
    "Domain id").

    Raises:
        WrongDomain: The endpoint shows something else in its place.
        DomainNotShown: It shows no such block or event, which proves nothing (claim T11).
        EndpointUnavailable: No answer, or nonsense.
    """
    verify_chain_id(reader, domain_id.chain_id)
    block = fetch_block(reader, domain_id.block_hash)
    canonical = None if block is None else fetch_block(reader, block.number)
    if block is None or canonical is None:
        raise DomainNotShown(
            f"{reader.name} does not show block {domain_id.block_hash}, in which the trust domain"
            " was deployed",
            hint=f"{_HINT}; a node may be behind, and a development chain forgets everything when"
            " it restarts",
        )
    if canonical.hash != block.hash:
        raise WrongDomain(
            f"the chain behind {reader.name} has another block {block.number} than"
            f" {domain_id.block_hash}, in which the trust domain was deployed",
            hint=_HINT,
        )
    logs = decode.sequence(
        reader.call(
            "eth_getLogs",
            [
                {
                    "blockHash": str(domain_id.block_hash),
                    "address": str(domain_id.address),
                    "topics": [str(DOMAIN_CREATED)],
                }
            ],
        ),
        reader.name,
    )
    if not logs:
        raise DomainNotShown(
            f"{reader.name} does not show that a trust domain was created at {domain_id.address} in"
            f" block {block.number}",
            hint=_HINT,
        )
    if len(logs) > 1:
        raise WrongDomain(
            f"{len(logs)} trust domains were created at {domain_id.address} in block"
            f" {block.number} of the chain behind {reader.name}: it is no TrustDomain",
            hint=_HINT,
        )
    parts = _created(logs[0], domain_id, reader.name)
    if parts != registries_of(domain_id.address):
        raise decode.nonsense(
            reader.name, "the trust domain has other registries than it can have made"
        )
    return Domain(domain_id, *parts, block)


def registries_of(domain: Address) -> tuple[Address, Address, Address, Address]:
    """Return the addresses of a domain's registries, which follow from its own.

    A TrustDomain makes them in its constructor, one after another, and an account that a contract
    makes has an address that is the hash of the maker's and of how many it made before (Yellow
    Paper, section 7; a contract's count begins at 1, EIP-161). So no endpoint can put another
    registry in the place of one.
    """
    made = [
        Address(keccak(rlp.encode_list([rlp.encode(domain), rlp.encode_integer(count)]))[12:])
        for count in (1, 2, 3, 4)
    ]
    return made[0], made[1], made[2], made[3]


def verify_chain_id(reader: Reader, expected: int) -> None:
    """Check that the endpoint's chain is the one expected.

    Raises:
        WrongDomain: It is another.
    """
    actual = decode.quantity(reader.call("eth_chainId"), reader.name)
    if actual != expected:
        raise WrongDomain(
            f"{reader.name} serves chain {actual}, and the trust domain is on chain {expected}",
            hint="use an RPC endpoint of that chain",
        )


def _created(
    log: object, domain_id: DomainId, source: str
) -> tuple[Address, Address, Address, Address]:
    """Return the addresses of the four registries from the DomainCreated event."""
    fields = decode.mapping(log, source)
    topics = [
        decode.hash32(topic, source) for topic in decode.sequence(fields.get("topics"), source)
    ]
    data = decode.data(fields.get("data"), source)
    if (
        decode.data(fields.get("address"), source) != domain_id.address
        or decode.hash32(fields.get("blockHash"), source) != domain_id.block_hash
        or len(topics) != 2
        or topics[0] != DOMAIN_CREATED
        or len(data) != 128
        or any(any(data[i : i + 12]) for i in (0, 32, 64, 96))
    ):
        raise decode.nonsense(source, "the DomainCreated event is not the one asked for")
    return (
        Address(data[12:32]),
        Address(data[44:64]),
        Address(data[76:96]),
        Address(data[108:128]),
    )
