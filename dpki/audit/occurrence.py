"""A domain's events, decoded: all of its contracts', in the chain's order.

By the shipped interfaces alone; the one event that there is a million of has a decoder of its own,
which is `dpki.chain.events`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dpki.audit.evidence import Contradiction, HistoryContradicted
from dpki.chain.domain import Domain
from dpki.chain.events import CERTIFICATE_ISSUED, IssuedCertificate, parse_issued
from dpki.chain.logs import Log
from dpki.errors import EndpointUnavailable, MalformedInput
from dpki.model import Address, Hash32
from dpki.transactions import abi
from dpki.transactions.artifacts import load_artifact

COUNCIL = "RootCouncil"


@dataclass(frozen=True)
class Place:
    """Where on the chain something happened.

    Attributes:
        time: The block's, in seconds.
        index: The log's place in the block.
    """

    block: int
    time: int
    transaction: Hash32
    index: int


@dataclass(frozen=True)
class Occurrence:
    """An event.

    Attributes:
        contract: The contract's name.
        address: The contract's address.
        values: As eth-abi decodes them, by name. Never leaves this package.
        certificate: What was anchored, for CertificateIssued; `values` are empty then.
    """

    contract: str
    address: Address
    name: str
    values: Mapping[str, Any]
    place: Place
    certificate: IssuedCertificate | None = None

    def contradiction(self, what: str, expected: object, found: object) -> HistoryContradicted:
        """Return the error for a rule that this event breaks."""
        place = self.place
        event = f"{self.contract}.{self.name}"
        return HistoryContradicted(
            Contradiction(what, place.block, place.transaction, event, str(expected), str(found))
        )


def contracts_of(domain: Domain) -> dict[Address, str]:
    """Return the names of the domain's own contracts by their addresses."""
    return {
        domain.id.address: "TrustDomain",
        domain.authorities: "AuthorityRegistry",
        domain.certificates: "CertificateRegistry",
        domain.devices: "DeviceRegistry",
        domain.watchdogs: "WatchdogRegistry",
    }


def decode_log(log: Log, contract: str, time: int) -> Occurrence:
    """Return the event in a log.

    Raises:
        HistoryContradicted: The contract has no such event: what it runs is another program.
    """
    transaction = Hash32.zero() if log.transaction is None else log.transaction
    place = Place(log.block_number, time, transaction, log.index)
    if log.topics[:1] == (CERTIFICATE_ISSUED,) and contract == "CertificateRegistry":
        try:
            certificate = parse_issued(log, contract)
        except EndpointUnavailable as error:
            raise _foreign(log, contract, place) from error
        return Occurrence(
            contract, log.contract, "CertificateIssued", {}, place, certificate=certificate
        )
    event = _events(contract).get(log.topics[0]) if log.topics else None
    if event is None:
        raise _foreign(log, contract, place)
    try:
        values = event.decode(log.topics, log.data)
    except MalformedInput as error:
        raise _foreign(log, contract, place) from error
    return Occurrence(contract, log.contract, event.name, values, place)


def _foreign(log: Log, contract: str, place: Place) -> HistoryContradicted:
    found = str(log.topics[0]) if log.topics else "an event without a topic"
    return HistoryContradicted(
        Contradiction(
            "a contract emits only its own events, as it spells them",
            place.block,
            place.transaction,
            contract,
            "an event of its interface",
            f"topic {found}, {len(log.data)} bytes",
        )
    )


@cache
def _events(contract: str) -> Mapping[Hash32, abi.Event]:
    names = [item["name"] for item in load_artifact(contract).abi if item["type"] == "event"]
    return {event.topic: event for event in (abi.find_event(contract, name) for name in names)}
