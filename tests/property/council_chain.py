"""A council on a chain: its calls encoded, its events decoded, everything it says read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from dpki.council import history
from dpki.council.parameters import Bounds, Parameters, Role
from dpki.council.threshold import Kind, Rule
from dpki.council.weights import Outcome
from dpki.model import Address, Hash32
from tests.contracts import reference
from tests.property.bare_chain import Chain
from tests.property.council_model import Call, State, Vote

PROPOSAL = "(uint8,(address,bytes)[],uint64,bytes32)"
OUTCOMES = {
    State.EXECUTED: Outcome.EXECUTED,
    State.REJECTED: Outcome.REJECTED,
    State.EXPIRED: Outcome.EXPIRED,
}


def parameters_abi(given: Parameters) -> tuple[Any, ...]:
    """Return parameters as the contract takes them."""
    bounds = [
        (b.initial, b.minimum, b.maximum) for b in (given.ordinary, given.intermediate, given.root)
    ]
    return (
        *bounds,
        given.gain,
        given.against,
        given.absent,
        given.seniority,
        given.senior_after,
        given.epoch,
        given.attendance,
        given.delay,
        given.cooling,
        given.longest,
        int(given.rule),
        given.faults,
    )


def parameters_of(told: Sequence[Any]) -> Parameters:
    """Return what the contract gives as parameters."""
    ordinary, intermediate, root, *rest = told
    *numbers, rule, faults = rest
    return Parameters(
        Bounds(*ordinary), Bounds(*intermediate), Bounds(*root), *numbers, Rule(rule), faults
    )


def plain(value: Any) -> Any:
    return parameters_abi(value) if isinstance(value, Parameters) else value


def call_abi(chain: Chain, call: Call) -> tuple[str, bytes]:
    """Return a call as a round holds it."""
    contract = chain.parts[call.part]
    data = contract.data(call.function, [plain(argument) for argument in call.arguments])
    return contract.address, bytes.fromhex(data[2:])


def proposal_abi(
    chain: Chain, kind: Kind, calls: Sequence[Call], deadline: int, salt: int
) -> tuple[Any, ...]:
    encoded = [call_abi(chain, call) for call in calls]
    return (int(kind), encoded, deadline, salt.to_bytes(32, "big"))


def round_id(proposal: tuple[Any, ...]) -> bytes:
    return bytes(keccak(encode([PROPOSAL], [proposal])))


def signed(
    chain: Chain, id: bytes, vote: Vote, *, flaw: str = "", thief: str = ""
) -> tuple[Any, ...]:
    """Return a vote as it is relayed; a flaw makes its signature one of something else."""
    council = chain.parts["council"].address
    digest = reference.vote_digest(
        chain.chain_id + (flaw == "chain"),
        chain.parts["domain"].address if flaw == "contract" else council,
        keccak(id) if flaw == "round" else id,
        vote.voter,
        vote.choice ^ 3 if flaw == "choice" else vote.choice,
        vote.nonce + (flaw == "nonce"),
        vote.deadline,
    )
    signature = reference.sign(chain.keys[thief if flaw == "thief" else vote.voter], digest)
    if flaw == "malleable":
        signature = reference.malleate(signature)
    if flaw == "short":
        signature = signature[:64]
    return (vote.voter, vote.choice, vote.nonce, vote.deadline, signature)


@dataclass(frozen=True)
class Events:
    """How a contract's events are decoded."""

    known: dict[bytes, tuple[str, list[tuple[str, str, bool]]]]

    @classmethod
    def of(cls, contract_type: Any) -> Events:
        known = {}
        for event in contract_type.events:
            parts = [(part.name, part.canonical_type, part.indexed) for part in event.inputs]
            known[keccak(event.selector.encode())] = (event.name, parts)
        return cls(known)

    def decode(self, log: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        name, parts = self.known[topics[0]]
        indexed = [part for part in parts if part[2]]
        others = [part for part in parts if not part[2]]
        values = {
            part: decode([kind], topic)[0]
            for (part, kind, _), topic in zip(indexed, topics[1:], strict=True)
        }
        told = decode([kind for _, kind, _ in others], bytes.fromhex(log["data"][2:]))
        return name, values | {part: v for (part, _, _), v in zip(others, told, strict=True)}


def account(text: str) -> Address:
    return Address(bytes.fromhex(text[2:]))


def history_of(name: str, told: dict[str, Any], time: int) -> history.Event | None:
    """Return an event as whoever recomputes the weights takes it."""
    match name:
        case "MemberAdded":
            role = Role(told["role"])
            return history.MemberAdded(time, account(told["account"]), told["seat"], role)
        case "MemberRemoved":
            return history.MemberRemoved(time, account(told["account"]), told["seat"])
        case "RoleChanged":
            return history.RoleChanged(time, account(told["account"]), Role(told["current"]))
        case "ParametersChanged":
            return history.ParametersChanged(time, parameters_of(told["parameters"]))
        case "WeightsChanged":
            return history.WeightsChanged(
                time,
                told["table"],
                tuple(told["weights"]),
                told["electorate"],
                told["cap"],
                told["total"],
            )
        case "RoundOpened":
            proposer = account(told["proposer"])
            kind = Kind(told["kind"])
            return history.RoundOpened(time, Hash32(told["round"]), proposer, kind, told["table"])
        case "VoteCast":
            voter = account(told["voter"])
            choice = history.Choice(told["choice"])
            return history.VoteCast(time, Hash32(told["round"]), voter, choice)
        case "RoundSettled":
            outcome = OUTCOMES[State(told["outcome"])]
            return history.RoundSettled(time, Hash32(told["round"]), outcome, told["moved"])
    return None


@dataclass(frozen=True)
class ToldRound:
    """A round as the contract tells it (IRootCouncil.Round)."""

    kind: int
    state: int
    settled: bool
    proposer: int
    table: int
    delay: int
    opened_at: int
    deadline: int
    approved_at: int
    approvals: int
    rejections: int
    struck: int
    approval_weight: int
    rejection_weight: int
    struck_weight: int
    approval_heads: int
    rejection_heads: int
    struck_heads: int


@dataclass
class View:
    """Everything that the council, and the domain below it, say at one block."""

    current: int
    tables: list[tuple[Any, ...]]
    parameters: Parameters
    last_moved: int
    members: dict[str, tuple[int, int, int] | None]
    rounds: dict[bytes, ToldRound]
    votes: dict[tuple[bytes, str], tuple[int, int]]
    opened: dict[str, tuple[bytes, bytes]]
    cooling: dict[bytes, int]
    domain: tuple[Any, ...]


def look(
    chain: Chain,
    people: Sequence[str],
    rounds: Sequence[bytes],
    voting: Sequence[bytes],
    cas: Sequence[bytes],
    before: View | None,
) -> View:
    """Read it all.

    Args:
        people: Everybody who may ever be a member.
        voting: Of which rounds each person's vote is asked.
        before: The last view; of tables that were there then only some are asked again.
    """
    calls: list[tuple[str, str, tuple[Any, ...]]] = []
    keys: list[tuple[Any, ...]] = []

    def ask(key: tuple[Any, ...], part: str, function: str, *arguments: Any) -> None:
        keys.append(key)
        calls.append((part, function, arguments))

    (current,) = chain.read([("council", "currentTable", ())])
    old = [] if before is None else before.tables
    for number in range(1, current + 1):
        if number > len(old) - 2 or number % 5 == current % 5:
            ask(("table", number), "council", "table", number)
    ask(("parameters",), "council", "parameters")
    ask(("moved",), "council", "lastMoved")
    for seat in range(len(people)):
        ask(("seat", seat), "council", "seat", seat)
    for person in people:
        ask(("member", person), "council", "isMember", person)
        ask(("opened", person), "council", "openRoundsOf", person)
        for id in voting:
            ask(("vote", id, person), "council", "voteOf", id, person)
    for id in rounds:
        ask(("round", id), "council", "round", id)
        ask(("state", id), "council", "stateOf", id)
    for ca in cas:
        ask(("cooling", ca), "council", "coolingUntil", ca)
        ask(("issuer", ca), "certificates", "issuer", ca)
    for role in ("governor", "offeredGovernor", "guardian"):
        ask((role,), "domain", role)
    for person in people:
        ask(("registrar", person), "devices", "isRegistrar", person)
    told = dict(zip(keys, chain.read(calls), strict=True))

    seats = {told["seat", seat][0]: (seat, *told["seat", seat][1:]) for seat in range(len(people))}
    members = {p: seats[p] if told["member", p] else None for p in people}
    assert sum(1 for seat in seats if int(seat, 16)) == sum(told["member", p] for p in people)
    for id in rounds:
        assert told["state", id] == told["round", id][1]
    return View(
        current=current,
        tables=[
            told["table", number] if ("table", number) in told else old[number - 1]
            for number in range(1, current + 1)
        ],
        parameters=parameters_of(told["parameters",]),
        last_moved=told["moved",],
        members=members,
        rounds={id: ToldRound(*told["round", id]) for id in rounds},
        votes={(k[1], k[2]): v for k, v in told.items() if k[0] == "vote"},
        opened={person: told["opened", person] for person in people},
        cooling={ca: told["cooling", ca] for ca in cas},
        domain=(
            told["governor",],
            told["offeredGovernor",],
            told["guardian",],
            tuple(told["issuer", ca] for ca in cas),
            tuple(person for person in people if told["registrar", person]),
        ),
    )
