"""A council as the chain has it: members, weights, rounds; each state at one block."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from dpki.chain import decode
from dpki.chain.domain import Domain
from dpki.chain.logs import Log, fetch_logs
from dpki.chain.rpc import Call, Reader, fetch_block
from dpki.council.history import Choice
from dpki.council.parameters import SEATS, Bounds, Parameters, Role
from dpki.council.rounds import Ballot, Proposal, Round, State
from dpki.council.threshold import Kind, Rule, Tally
from dpki.council.weights import Table, unpack
from dpki.errors import (
    CouldNotCheck,
    EndpointUnavailable,
    MalformedInput,
    NotAllowed,
    UsageError,
)
from dpki.model import Address, Block, Hash32, from_timestamp
from dpki.transactions import abi
from dpki.transactions.governed import GovernanceCall

COUNCIL = "RootCouncil"

_Word = TypeVar("_Word", bound=enum.IntEnum)

_PROBES = 32


@dataclass(frozen=True)
class Member:
    """Who sits in a seat."""

    account: Address
    role: Role
    since: datetime


@dataclass(frozen=True)
class Council:
    """A council at one block.

    Attributes:
        seats: The members by their seats' numbers.
        number: Which table of weights stands.
        table: The table.
    """

    address: Address
    domain: Address
    block: Block
    parameters: Parameters
    seats: Mapping[int, Member]
    number: int
    table: Table

    def seat_of(self, account: Address) -> int | None:
        """Return a member's seat; None for who is none."""
        return next((n for n, member in self.seats.items() if member.account == account), None)

    def member(self, account: Address) -> Member:
        """Return a member.

        Raises:
            NotAllowed: The account is none.
        """
        seat = self.seat_of(account)
        if seat is None:
            raise NotAllowed(
                f"account {account} is no member of the council {self.address}",
                hint="see who is with: dpki council members",
            )
        return self.seats[seat]


@dataclass(frozen=True)
class View:
    """Asks one contract's views, all at one block.

    Attributes:
        reader: The endpoint.
        address: The contract.
        block: The block.
        contract: Whose interface it has.
    """

    reader: Reader
    address: Address
    block: Block
    contract: str = COUNCIL

    def one(self, name: str, *arguments: Any) -> Any:
        """Return what one view returns."""
        return self.many([(name, arguments)])[0]

    def many(self, questions: Iterable[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Return what several views return, in one exchange."""
        asked = [(abi.find_function(self.contract, n), arguments) for n, arguments in questions]
        at = {"blockHash": str(self.block.hash)}
        calls = [abi.question(self.address, f, *arguments, block=at) for f, arguments in asked]
        found = self.reader.batch(calls)
        return [
            abi.answer(function, value, self.reader.name)
            for (function, _), value in zip(asked, found, strict=True)
        ]


def view_council(reader: Reader, address: Address, block: Block | None = None) -> View:
    """Return a view on a council at a block; None for the newest."""
    return View(reader, address, block or newest(reader))


def newest(reader: Reader) -> Block:
    """Return the newest block."""
    block = fetch_block(reader, "latest")
    if block is None:
        raise EndpointUnavailable(f"{reader.name} has no newest block", hint="try another one")
    return block


def fetch_council(view: View) -> Council:
    """Return the council.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    domain, parameters, number, *seats = view.many(
        [
            ("domain", ()),
            ("parameters", ()),
            ("currentTable", ()),
            *(("seat", (seat,)) for seat in range(SEATS)),
        ]
    )
    members = {
        seat: Member(
            Address.parse(fields["account"]),
            known(Role, fields["role"]),
            from_timestamp(fields["since"]),
        )
        for seat, fields in enumerate(seats)
        if fields["role"]
    }
    table = _table(view.one("table", number))
    return Council(
        view.address,
        Address.parse(domain),
        view.block,
        parse_parameters(parameters),
        members,
        number,
        table,
    )


def fetch_round(view: View, council: Council, round_id: Hash32) -> Round:
    """Return a round.

    Raises:
        UsageError: There is none of this id.
        EndpointUnavailable: No answer, or nonsense.
    """
    fields = view.one("round", bytes(round_id))
    state = known(State, fields["state"])
    if state is State.UNKNOWN:
        raise UsageError(
            f"the council {view.address} has no round {round_id}",
            hint="see which there are with: dpki council list --all",
        )
    stored = view.one("table", fields["table"])
    table = _table(stored)
    seats = [seat for seat in range(SEATS) if table.weights[seat]]
    voters = _voters(view, council, seats, fields)
    votes = view.many([("voteOf", (bytes(round_id), str(voter))) for voter in voters.values()])
    ballots = {
        voter: Ballot(
            voter,
            seat,
            table.counted(seat),
            known(Choice, vote["choice"]),
            vote["nonce"],
            is_struck=bool(fields["struck"] >> seat & 1),
        )
        for (seat, voter), vote in zip(voters.items(), votes, strict=True)
    }
    approved = fields["approvedAt"]
    return Round(
        id=round_id,
        kind=known(Kind, fields["kind"]),
        state=state,
        is_settled=fields["settled"],
        proposer=fields["proposer"],
        delay=timedelta(seconds=fields["delay"]),
        opened_at=from_timestamp(fields["openedAt"]),
        deadline=from_timestamp(fields["deadline"]),
        approved_at=from_timestamp(approved) if approved else None,
        ballots=ballots,
        everybody=Tally(stored["total"], stored["heads"]),
        rule=known(Rule, stored.get("rule", council.parameters.rule)),
        faults=stored.get("faults", council.parameters.faults),
    )


def fetch_case(view: View, council: Council, round_id: Hash32) -> tuple[Round, Proposal]:
    """Return a round and what it holds.

    Raises:
        UsageError: There is none of this id.
        CouldNotCheck, EndpointUnavailable: As `fetch_proposal`.
    """
    found = fetch_round(view, council, round_id)
    proposal = fetch_proposal(view, found)
    if found.kind is Kind.SUSPENSION and len(proposal.calls) == 1:
        until = view.one("coolingUntil", proposal.calls[0].data[4:36])
        found = replace(found, is_cooling=from_timestamp(until) > view.block.time)
    return found, proposal


def fetch_proposal(view: View, found: Round) -> Proposal:
    """Return what a round holds, from the event of its opening; its hash is its id.

    Raises:
        CouldNotCheck: The endpoint doesn't give the event, or another one's.
        EndpointUnavailable, MalformedInput: No answer, or nonsense.
    """
    event = abi.find_event(COUNCIL, "RoundOpened")
    # Some chains make several blocks a second.
    first = _first_block_from(view.reader, view.block, found.opened_at)
    last = _first_block_from(view.reader, view.block, found.opened_at + timedelta(seconds=1))
    topics = [str(event.topic), str(found.id)]
    logs = fetch_logs(view.reader, view.address, first, last, topics)
    proposals = [parse_proposal(event.decode(log.topics, log.data)["proposal"]) for log in logs]
    if len(proposals) != 1 or proposals[0].id != found.id:
        raise CouldNotCheck(
            f"{view.reader.name} does not say what round {found.id} holds",
            hint="ask another RPC endpoint; vote on nothing that you have not seen",
        )
    return proposals[0]


def fetch_proposals(view: View, domain: Domain) -> tuple[Proposal, ...]:
    """Return what every round holds that was ever opened, in order.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    events = fetch_events(view.reader, domain, view.address, view.block, ["RoundOpened"])
    proposals = tuple(parse_proposal(values["proposal"]) for _, values, _ in events)
    if [one.id for one in proposals] != [Hash32(values["round"]) for _, values, _ in events]:
        raise decode.nonsense(view.reader.name, "a round's contents are not those of its id")
    return proposals


def fetch_open(view: View, council: Council) -> tuple[Hash32, ...]:
    """Return the rounds that members have open, ended and unsettled ones too."""
    slots = view.many(
        [("openRoundsOf", (str(member.account),)) for member in council.seats.values()]
    )
    ids = [Hash32(slot[name]) for slot in slots for name in ("decision", "alarm")]
    return tuple(dict.fromkeys(one for one in ids if any(one)))


def fetch_events(
    reader: Reader, domain: Domain, council: Address, last: Block, names: Iterable[str]
) -> list[tuple[str, dict[str, Any], Log]]:
    """Return a council's events of these names, from the domain's deployment on.

    Raises:
        EndpointUnavailable: No answer, or nonsense.
    """
    events = {event.topic: event for event in (abi.find_event(COUNCIL, name) for name in names)}
    logs = fetch_logs(
        reader, council, domain.block.number, last.number, [[str(topic) for topic in events]]
    )
    found = []
    for log in logs:
        event = events[log.topics[0]]
        found.append((event.name, event.decode(log.topics, log.data), log))
    return found


def known(words: type[_Word], number: int) -> _Word:
    """Return the word that a number from the chain stands for.

    Raises:
        MalformedInput: There is none.
    """
    try:
        return words(number)
    except ValueError as error:
        raise MalformedInput(f"a council has no {words.__name__.lower()} {number}") from error


def parse_proposal(fields: Mapping[str, Any]) -> Proposal:
    """Return the contents of a round as eth-abi decodes them."""
    calls = tuple(
        GovernanceCall(Address.parse(call["target"]), call["data"]) for call in fields["calls"]
    )
    deadline = from_timestamp(fields["deadline"])
    return Proposal(known(Kind, fields["kind"]), calls, deadline, Hash32(fields["salt"]))


def parse_parameters(fields: Mapping[str, Any]) -> Parameters:
    """Return the parameters as eth-abi decodes them."""
    same = ("gain", "against", "absent", "seniority", "epoch", "attendance", "delay", "cooling")
    return Parameters(
        ordinary=_bounds(fields["ordinary"]),
        intermediate=_bounds(fields["intermediate"]),
        root=_bounds(fields["root"]),
        **{name: fields[name] for name in (*same, "longest", "faults")},
        senior_after=fields["seniorAfter"],
        rule=known(Rule, fields["rule"]),
    )


def dump_parameters(parameters: Parameters) -> tuple[Any, ...]:
    """Return the parameters as the contract takes them."""
    p = parameters
    bounds = ((b.initial, b.minimum, b.maximum) for b in (p.ordinary, p.intermediate, p.root))
    moved = (p.gain, p.against, p.absent, p.seniority)
    times = (p.senior_after, p.epoch, p.attendance, p.delay, p.cooling, p.longest)
    return (*bounds, *moved, *times, int(p.rule), p.faults)


def _bounds(fields: Mapping[str, Any]) -> Bounds:
    return Bounds(fields["initial"], fields["minimum"], fields["maximum"])


def _table(fields: Mapping[str, Any]) -> Table:
    return Table(unpack(fields["weights"]), fields["cap"])


def _voters(
    view: View, council: Council, seats: list[int], fields: Mapping[str, Any]
) -> dict[int, Address]:
    """Return who sat in these seats when the round was opened, and sits there still."""
    struck, opened = fields["struck"], from_timestamp(fields["openedAt"])
    return {
        seat: council.seats[seat].account
        for seat in seats
        if seat in council.seats and not struck >> seat & 1 and council.seats[seat].since <= opened
    }


def _first_block_from(reader: Reader, last: Block, time: datetime) -> int:
    """Return the number of the first block at or after this time; the last one where none is.

    A batch of questions divides what is left by thirty-three: a chain of a year takes five.
    """
    low, high = 0, last.number
    while low < high:
        step = max(1, (high - low) // (_PROBES + 1))
        numbers = range(low, high, step)[: _PROBES + 1]
        calls = [Call("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        blocks = [decode.block(answer, reader.name) for answer in reader.batch(calls)]
        late = [block.number for block in blocks if block.time >= time]
        early = [block.number + 1 for block in blocks if block.time < time]
        low, high = max([low, *early]), min([high, *late])
    return low
