"""A council's history as the chain tells it, for whoever recomputes its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.rpc import Call, Reader
from dpki.council import history
from dpki.council.history import Choice, Event
from dpki.council.parameters import SEATS, Role
from dpki.council.reading import fetch_events, parse_parameters
from dpki.council.rounds import State
from dpki.council.threshold import Kind
from dpki.council.weights import Outcome
from dpki.errors import MalformedInput, UsageError
from dpki.model import Address, Block, Hash32, to_timestamp

_OUTCOMES = {
    State.EXECUTED: Outcome.EXECUTED,
    State.REJECTED: Outcome.REJECTED,
    State.EXPIRED: Outcome.EXPIRED,
}


def fetch_history(
    reader: Reader, domain: Domain, council: Address, last: Block
) -> tuple[Event, ...]:
    """Return everything that moved a council's weights, in the chain's order.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    found = fetch_events(reader, domain, council, last, _READ)
    times = _times(reader, sorted({log.block_number for _, _, log in found}))
    try:
        return tuple(_READ[name](times[log.block_number], v) for name, v, log in found)
    except (ValueError, KeyError, MalformedInput, UsageError) as error:
        raise decode.nonsense(reader.name, "an event of the council is malformed") from error


def read_event(name: str, time: int, values: Mapping[str, Any]) -> Event | None:
    """Return an event as it moves weights; None for one that doesn't.

    Args:
        time: Its block's, in seconds.
        values: As eth-abi decodes them.

    Raises:
        ValueError, KeyError, MalformedInput, UsageError: No council emits it like this.
    """
    read = _READ.get(name)
    return None if read is None else read(time, values)


def _times(reader: Reader, numbers: list[int]) -> Mapping[int, int]:
    calls = [Call("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
    blocks = [decode.block(answer, reader.name) for answer in reader.batch(calls)]
    return {block.number: to_timestamp(block.time) for block in blocks}


def _added(time: int, v: Mapping[str, Any]) -> Event:
    if v["seat"] >= SEATS:
        raise ValueError("a seat that there is not")
    return history.MemberAdded(time, Address.parse(v["account"]), v["seat"], _role(v["role"]))


def _role(number: int) -> Role:
    role = Role(number)
    if role is Role.NONE:
        raise ValueError("a member without a role")
    return role


def _changed(time: int, v: Mapping[str, Any]) -> Event:
    parameters = parse_parameters(v["parameters"])
    parameters.check()
    return history.ParametersChanged(time, parameters)


def _weights(time: int, v: Mapping[str, Any]) -> Event:
    return history.WeightsChanged(
        time, v["table"], tuple(v["weights"]), v["electorate"], v["cap"], v["total"]
    )


def _opened(time: int, v: Mapping[str, Any]) -> Event:
    return history.RoundOpened(
        time, Hash32(v["round"]), Address.parse(v["proposer"]), Kind(v["kind"]), v["table"]
    )


def _cast(time: int, v: Mapping[str, Any]) -> Event:
    return history.VoteCast(
        time, Hash32(v["round"]), Address.parse(v["voter"]), Choice(v["choice"])
    )


def _settled(time: int, v: Mapping[str, Any]) -> Event:
    outcome = _OUTCOMES[State(v["outcome"])]
    return history.RoundSettled(time, Hash32(v["round"]), outcome, v["moved"])


_READ: Mapping[str, Callable[[int, Mapping[str, Any]], Event]] = {
    "MemberAdded": _added,
    "MemberRemoved": lambda time, v: history.MemberRemoved(
        time, Address.parse(v["account"]), v["seat"]
    ),
    "RoleChanged": lambda time, v: history.RoleChanged(
        time, Address.parse(v["account"]), _role(v["current"])
    ),
    "ParametersChanged": _changed,
    "WeightsChanged": _weights,
    "RoundOpened": _opened,
    "VoteCast": _cast,
    "RoundSettled": _settled,
}
