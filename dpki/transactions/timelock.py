"""A TimelockController of OpenZeppelin's: what waits in it, and how calls get there.

Source: OpenZeppelin Contracts 5, governance/TimelockController.sol. An operation's id is the hash
of what it does, so whoever knows the calls finds it again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eth_abi.abi import encode

from dpki.chain.domain import Domain
from dpki.chain.logs import fetch_logs
from dpki.chain.rpc import Reader
from dpki.errors import UsageError
from dpki.keccak import keccak
from dpki.model import Address, Block, Hash32, from_timestamp
from dpki.transactions import abi
from dpki.transactions.governed import GovernanceCall

TIMELOCK = "TimelockController"
PROPOSER_ROLE = Hash32(keccak(b"PROPOSER_ROLE"))
_NOTHING = bytes(32)
_DONE = 1


class OperationState(enum.IntEnum):
    """Where an operation stands (TimelockController.OperationState)."""

    UNSET = 0
    WAITING = 1
    READY = 2
    DONE = 3

    @property
    def label(self) -> str:
        """The word that people see."""
        return self.name.lower()


@dataclass(frozen=True)
class Operation:
    """Calls that a timelock makes together."""

    calls: tuple[GovernanceCall, ...]
    salt: Hash32
    predecessor: Hash32

    @property
    def id(self) -> Hash32:
        """The hash by which the timelock knows it."""
        kinds = ["address", "uint256", "bytes", "bytes32", "bytes32"]
        if len(self.calls) != 1:
            kinds[:3] = [f"{kind}[]" for kind in kinds[:3]]
        return Hash32(keccak(encode(kinds, self.arguments())))

    def arguments(self) -> tuple[Any, ...]:
        """Return what the timelock's functions take of it."""
        targets = [str(call.target) for call in self.calls]
        data = [call.data for call in self.calls]
        last = (bytes(self.predecessor), bytes(self.salt))
        if len(self.calls) == 1:
            return (targets[0], 0, data[0], *last)
        return (targets, [0] * len(data), data, *last)


@dataclass(frozen=True)
class Scheduled:
    """An operation and where it stands.

    Attributes:
        ready_at: From when on it can be executed; None once it is done or was never scheduled.
    """

    operation: Operation
    state: OperationState
    ready_at: datetime | None


def find_slot(reader: Reader, timelock: Address, calls: Sequence[GovernanceCall]) -> Scheduled:
    """Return the operation that these calls wait in, or the one to schedule.

    Salts count up, so that the same calls can be made again later and are found without a record.
    """
    number = 0
    while True:
        operation = Operation(tuple(calls), Hash32(number.to_bytes(32)), Hash32(_NOTHING))
        found = fetch_state(reader, timelock, operation)
        if found.state is not OperationState.DONE:
            return found
        number += 1


def fetch_state(reader: Reader, timelock: Address, operation: Operation) -> Scheduled:
    """Return where an operation stands.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    name = bytes(operation.id)
    state = abi.ask(reader, timelock, abi.find_function(TIMELOCK, "getOperationState"), name)
    time = abi.ask(reader, timelock, abi.find_function(TIMELOCK, "getTimestamp"), name)
    ready = from_timestamp(time) if time > _DONE else None
    return Scheduled(operation, OperationState(state), ready)


def fetch_delay(reader: Reader, timelock: Address) -> timedelta:
    """Return how long an operation waits at least."""
    return timedelta(seconds=abi.ask(reader, timelock, abi.find_function(TIMELOCK, "getMinDelay")))


def fetch_scheduled(
    reader: Reader, domain: Domain, timelock: Address, last: Block
) -> tuple[Scheduled, ...]:
    """Return every operation that was ever scheduled since the domain is there, in order.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    scheduled = abi.find_event(TIMELOCK, "CallScheduled")
    salts = abi.find_event(TIMELOCK, "CallSalt")
    topics = [[str(scheduled.topic), str(salts.topic)]]
    calls: dict[bytes, list[GovernanceCall]] = {}
    predecessors: dict[bytes, Hash32] = {}
    salt: dict[bytes, Hash32] = {}
    for log in fetch_logs(reader, timelock, domain.block.number, last.number, topics):
        event = scheduled if log.topics[0] == scheduled.topic else salts
        values = event.decode(log.topics, log.data)
        name = values["id"]
        if event is salts:
            salt[name] = Hash32(values["salt"])
            continue
        if values["index"] == 0:
            calls[name] = []  # cancelled and scheduled anew, perhaps
        calls[name].append(GovernanceCall(Address.parse(values["target"]), values["data"]))
        predecessors[name] = Hash32(values["predecessor"])
    return tuple(
        fetch_state(
            reader,
            timelock,
            Operation(tuple(made), salt.get(name, Hash32(_NOTHING)), predecessors[name]),
        )
        for name, made in calls.items()
    )


def find_operation(found: Sequence[Scheduled], identifier: Hash32) -> Scheduled:
    """Return the operation of this id.

    Raises:
        UsageError: There is none.
    """
    for scheduled in found:
        if scheduled.operation.id == identifier:
            return scheduled
    raise UsageError(
        f"the timelock has no operation {identifier}",
        hint="see which there are with: dpki timelock list",
    )
