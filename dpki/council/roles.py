"""Who governs a domain and who guards it: an account, a council, a timelock, or something else."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader, RpcError
from dpki.council.reading import COUNCIL
from dpki.errors import EndpointUnavailable, WrongDomain
from dpki.model import Address
from dpki.transactions import abi
from dpki.transactions.timelock import PROPOSER_ROLE, TIMELOCK

_DELEGATED = bytes.fromhex("ef0100")
"""What the code of an account begins with that lends itself code (EIP-7702): it still signs."""


class Nature(enum.Enum):
    """What holds a role; the value is the word that people see."""

    ACCOUNT = "account"
    COUNCIL = "council"
    TIMELOCK = "timelock"
    CONTRACT = "contract"
    """One that dpki does not know: a multi-signature wallet, say."""


@dataclass(frozen=True)
class Body:
    """Who holds a role."""

    address: Address
    nature: Nature

    def __str__(self) -> str:
        """Return the nature and the address, for people."""
        return f"{self.nature.value} {self.address}"


@dataclass(frozen=True)
class Roles:
    """Who holds a domain's roles; None for nobody."""

    governor: Body
    guardian: Body | None
    offered: Body | None


def fetch_roles(reader: Reader, domain: Domain) -> Roles:
    """Return who holds the domain's roles now.

    Raises:
        WrongDomain: One of them is the council of another domain.
        EndpointUnavailable: No answer, or nonsense.
    """
    governor, guardian, offered = (
        Address.parse(abi.ask(reader, domain.id.address, abi.find_function("TrustDomain", role)))
        for role in ("governor", "guardian", "offeredGovernor")
    )
    return Roles(
        recognise(reader, domain, governor),
        recognise(reader, domain, guardian) if any(guardian) else None,
        recognise(reader, domain, offered) if any(offered) else None,
    )


def recognise(reader: Reader, domain: Domain, address: Address) -> Body:
    """Return what is at an address, by what it answers.

    Raises:
        WrongDomain: It is the council of another domain.
        EndpointUnavailable: No answer, or nonsense.
    """
    code = decode.data(reader.call("eth_getCode", [str(address), "latest"]), reader.name)
    if not code or code.startswith(_DELEGATED):
        return Body(address, Nature.ACCOUNT)
    if _probe(reader, address, COUNCIL, "currentTable") is not None:
        its = _probe(reader, address, COUNCIL, "domain")
        if its is None or Address.parse(its) != domain.id.address:
            raise WrongDomain(
                f"the council {address} is another trust domain's: {its}",
                hint="it can do nothing here; offer the role to a council of this domain",
            )
        return Body(address, Nature.COUNCIL)
    if _probe(reader, address, TIMELOCK, "PROPOSER_ROLE") == bytes(PROPOSER_ROLE):
        return Body(address, Nature.TIMELOCK)
    return Body(address, Nature.CONTRACT)


def _probe(reader: Reader, address: Address, contract: str, name: str) -> Any:
    """Return what a view says, None where there is no such view."""
    function = abi.find_function(contract, name)
    call = abi.question(address, function, block="latest")
    try:
        answered = reader.call(call.method, call.params)
    except RpcError as error:
        if not error.is_revert:
            raise
        return None
    try:
        return abi.answer(function, answered, reader.name)
    except EndpointUnavailable:
        return None  # a contract that takes any call, and answers nothing
