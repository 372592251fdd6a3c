"""What a council's events may follow from: members, votes, rounds, and weights by recomputation.

Pure. The rules are those of contracts/RootCouncil.sol and CouncilMembers.sol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dpki.audit.acts import Act
from dpki.audit.evidence import broken, require
from dpki.audit.occurrence import Occurrence
from dpki.audit.rounds import RoundState, delay_of
from dpki.chain.domain import Domain
from dpki.council.history import Choice
from dpki.council.parameters import DEFAULTS, Parameters, Role
from dpki.council.past import read_event
from dpki.council.reading import parse_parameters, parse_proposal
from dpki.council.recompute import Ledger
from dpki.council.rounds import Proposal, State
from dpki.council.threshold import Kind, Question
from dpki.errors import MalformedInput, UsageError
from dpki.model import Address, AuthorityId, Hash32, to_timestamp
from dpki.transactions.abi import decode_call, find_function

_CHANGES = {
    "MemberAdded": ("addMember",),
    "MemberRemoved": ("removeMember",),
    "RoleChanged": ("setRole",),
    "ParametersChanged": ("setParameters",),
}
_NONCES = 255


@dataclass
class CouncilRules:
    """Rules of one council's events.

    Attributes:
        ledger: Members and weights.
        rounds: Every round that was ever opened.
        cooling: Until when a CA cools, by the time of its lift.
        founded_in: The transaction of its founding.
        executed: The rounds that the present transaction executed.
        before: The parameters before the present transaction, where it changed them.
    """

    domain: Domain
    address: Address
    ledger: Ledger = field(default_factory=lambda: Ledger(DEFAULTS))
    rounds: dict[Hash32, RoundState] = field(default_factory=dict)
    cooling: dict[AuthorityId, int] = field(default_factory=dict)
    founded_in: Hash32 | None = None
    executed: list[Proposal] = field(default_factory=list)
    before: Parameters | None = None

    def apply(self, event: Occurrence) -> Act | None:
        """Change the state as the event says, and return who has to have caused it.

        Raises:
            Broken: The event can't follow from the state.
        """
        if self.founded_in is None:
            require(
                event.name == "CouncilFounded",
                "a council begins with its founding",
                "CouncilFounded",
                event.name,
            )
        found = _HANDLERS.get(event.name)
        if found is None:
            broken("an event is one that the contract emits", "another event", event.name)
        act = found(self, event)
        self._recompute(event)
        if event.name in _CHANGES and event.place.transaction != self.founded_in:
            return Act(event, self.address, _CHANGES[event.name])
        return act

    def finish(self, event: Occurrence) -> None:
        """End a transaction.

        Raises:
            HistoryContradicted: It changed weights and wrote no table.
        """
        self.executed.clear()
        self.before = None
        before = len(self.ledger.differences)
        self.ledger.check_written()
        if len(self.ledger.differences) > before:
            raise event.contradiction(
                "a council's weights are written", "a table", self.ledger.differences[-1].message
            )

    def made(self, act: Act) -> bool:
        """Whether a round of this transaction made the call that an act asks for."""
        contract = act.occurrence.contract
        selectors = {find_function(contract, name).selector for name in act.functions}
        return any(
            call.target == act.occurrence.address
            and call.data[:4] in selectors
            and act.argument in (None, call.data[4:36])
            for proposal in self.executed
            for call in proposal.calls
        )

    def _recompute(self, event: Occurrence) -> None:
        before = len(self.ledger.differences)
        try:
            moved = read_event(event.name, event.place.time, event.values)
            if moved is not None:
                self.ledger.take(moved)
        except (ValueError, KeyError, MalformedInput, UsageError) as error:
            broken("a council keeps to its rules", "an event that one can emit", error)
        if len(self.ledger.differences) > before:
            broken(
                "a council's weights are those that its rules make",
                "the recomputed ones",
                self.ledger.differences[before].message,
            )

    # -- members -----------------------------------------------------------------------------------

    def _founded(self, event: Occurrence) -> None:
        domain, right = Address.parse(event.values["domain"]), self.domain.id.address
        require(self.founded_in is None, "a council is founded once", "no other", event.name)
        require(domain == right, "a council is of its domain", right, domain)
        self.founded_in = event.place.transaction

    def _added(self, event: Occurrence) -> None:
        account, seat = Address.parse(event.values["account"]), event.values["seat"]
        lowest = next((s for s in range(128) if s not in self.ledger.seats), None)
        require(seat == lowest, "who is new takes the lowest free seat", lowest, seat)
        require(
            any(account) and self._seat_of(account) is None and account != self.address,
            "a member has one seat",
            "an account without one",
            account,
        )

    def _removed(self, event: Occurrence) -> None:
        account, seat = Address.parse(event.values["account"]), event.values["seat"]
        right = self._seat_of(account)
        require(seat == right, "who leaves leaves its own seat", right, seat)

    def _role_changed(self, event: Occurrence) -> None:
        seat = self._seat_of(Address.parse(event.values["account"]))
        if seat is None:
            broken("members have roles, nobody else", "a member", event.values["account"])
        role, previous = self.ledger.seats[seat].role, event.values["previous"]
        require(previous == role, "a role changes from what it was", int(role), previous)
        require(event.values["current"] != previous, "a role changes", "another one", previous)

    def _parameters_changed(self, event: Occurrence) -> None:
        self.before = self.before or self.ledger.parameters

    def _nothing(self, event: Occurrence) -> None:
        """Weights are the ledger's; a skipped vote changes nothing."""

    def _seat_of(self, account: Address) -> int | None:
        return next((s for s, one in self.ledger.seats.items() if one.account == account), None)

    # -- rounds ------------------------------------------------------------------------------------

    def _opened(self, event: Occurrence) -> Act:
        values, time = event.values, event.place.time
        round_id, proposer = Hash32(values["round"]), Address.parse(values["proposer"])
        try:
            proposal = parse_proposal(values["proposal"])
        except (MalformedInput, ValueError, OverflowError) as error:
            broken("a round holds a proposal", "one", error)
        require(proposal.id == round_id, "a round's id is its contents'", proposal.id, round_id)
        require(round_id not in self.rounds, "a round is opened once", "another one", round_id)
        require(
            int(proposal.kind) == values["kind"],
            "a round is of its proposal's kind",
            int(proposal.kind),
            values["kind"],
        )
        seat = self._seat_of(proposer)
        if seat is None:
            broken("members open rounds", "a member", proposer)
        decides = proposal.kind is Kind.DECISION
        require(
            not decides or self.ledger.seats[seat].role is Role.ROOT,
            "roots open decisions",
            "a root",
            proposer,
        )
        is_alone = not any(
            one.proposer == seat
            and not one.is_settled
            and (one.proposal.kind is Kind.DECISION) is decides
            for one in self.rounds.values()
        )
        require(is_alone, "a member has one round of a sort open", "none open", proposer)
        delay = delay_of(proposal, self.domain, self.address, self.ledger.parameters)
        require(values["delay"] == delay, "what adds trust waits", delay, values["delay"])
        deadline = to_timestamp(proposal.deadline)
        earliest, latest = time + delay + 1, time + self.ledger.parameters.longest
        require(
            earliest <= deadline <= latest,
            "a round ends in its time",
            f"{earliest} to {latest}",
            deadline,
        )
        self.rounds[round_id] = RoundState(
            round_id,
            proposal,
            seat,
            values["table"],
            self.ledger.current(),
            self.ledger.parameters,
            delay,
            time,
            deadline,
            {number: one.account for number, one in self.ledger.seats.items()},
        )
        return Act(event, proposer, ("propose",))

    def _voted(self, event: Occurrence) -> None:
        found, voter = self._round(event), Address.parse(event.values["voter"])
        choice, nonce = event.values["choice"], event.values["nonce"]
        require(
            found.state in (State.OPEN, State.REJECTED)
            and not found.is_settled
            and event.place.time < found.deadline,
            "votes count while a round is open",
            "an open round",
            found.state.label,
        )
        require(
            voter in found.electorate.values() and voter not in found.struck,
            "members of a round's table vote",
            "one of them",
            voter,
        )
        right, before = found.nonces.get(voter, 0), found.votes.get(voter, Choice.NONE)
        require(nonce == right < _NONCES, "a voter's nonces follow", right, nonce)
        require(choice <= 2 and choice != before, "a vote changes", "another choice", choice)
        found.votes[voter], found.nonces[voter] = Choice(choice), nonce + 1

    def _struck(self, event: Occurrence) -> None:
        found, voter = self._round(event), Address.parse(event.values["voter"])
        require(
            voter in found.electorate.values()
            and voter not in found.struck
            and self._seat_of(voter) is None,
            "who was removed is struck",
            "a member of then that is none now",
            voter,
        )
        found.struck[voter] = event.place.transaction

    def _approved(self, event: Occurrence) -> None:
        found, time = self._round(event), event.place.time
        right, told = time + found.delay, event.values["executableFrom"]
        require(told == right, "a round waits for its delay", right, told)
        require(
            found.state is State.OPEN and found.approved_at is None and self._passes(found, time),
            "a round is approved when its votes suffice",
            "votes that suffice",
            self._count(found),
        )
        found.approved_at = time

    def _reopened(self, event: Occurrence) -> None:
        found = self._round(event)
        require(
            found.approved_at is not None and not self._passes(found, event.place.time),
            "a round is reopened when its votes no longer suffice",
            "votes that don't",
            self._count(found),
        )
        found.approved_at = None

    def _rejected(self, event: Occurrence) -> None:
        found, time = self._round(event), event.place.time
        lost = found.seats(Choice.REJECT) | found.struck_seats()
        everybody = found.table.everybody
        hopeless = not self._question(found, time).passes(everybody - found.tally(lost), everybody)
        proposer = found.electorate[found.proposer]
        require(
            found.state is State.OPEN and (hopeless or self._seat_of(proposer) is None),
            "a round is rejected when nobody is left to approve it, or its proposer is gone",
            "too few left",
            self._count(found),
        )
        found.state = State.REJECTED

    def _executed_round(self, event: Occurrence) -> Act:
        found, place = self._round(event), event.place
        approved = found.approved_at
        is_time = approved is not None and (approved + found.delay <= place.time < found.deadline)
        require(
            found.state is State.OPEN
            and is_time
            and self._passes(found, place.time, despite=place.transaction),
            "a round is executed when it is approved, has waited and is not over",
            "an approved round, in its time",
            self._count(found),
        )
        found.state = State.EXECUTED
        self.executed.append(found.proposal)
        self._cool(found.proposal, place.time)
        return Act(event, Address.parse(event.values["by"]), ("execute",))

    def _cool(self, proposal: Proposal, time: int) -> None:
        """Let CAs cool that a round lifted, each by the parameters of that very call."""
        parameters = self.before or self.ledger.parameters
        for call in proposal.calls:
            done = decode_call(call.data)
            if done is None:
                continue
            if call.target == self.address and done.function.name == "setParameters":
                parameters = parse_parameters(done.values["parameters_"])
            if call.target == self.domain.certificates and done.function.name == "lift":
                self.cooling[AuthorityId(done.values["ca"])] = time + parameters.cooling

    def _settled(self, event: Occurrence) -> None:
        found, outcome = self._round(event), event.values["outcome"]
        is_over = event.place.time >= found.deadline
        right = State.EXPIRED if found.state is State.OPEN and is_over else found.state
        require(
            not found.is_settled and outcome == right and right is not State.OPEN,
            "a round is settled once, when it is over, as what it came to",
            right.label,
            outcome,
        )
        found.is_settled = True

    def _round(self, event: Occurrence) -> RoundState:
        found = self.rounds.get(Hash32(event.values["round"]))
        if found is None:
            broken("a round was opened", "a known round", f"0x{event.values['round'].hex()}")
        return found

    def _question(self, found: RoundState, time: int) -> Question:
        subject, rules = found.subject, found.parameters
        cools = subject is not None and time < self.cooling.get(subject, 0)
        return Question(found.proposal.kind, rules.rule, rules.faults, cools)

    def _passes(self, found: RoundState, time: int, despite: Hash32 | None = None) -> bool:
        approvals = found.tally(found.seats(Choice.APPROVE, despite=despite))
        return self._question(found, time).passes(approvals, found.table.everybody)

    def _count(self, found: RoundState) -> str:
        approvals = found.tally(found.seats(Choice.APPROVE))
        everybody = found.table.everybody
        return (
            f"{approvals.weight} of {everybody.weight} by {approvals.heads} of"
            f" {everybody.heads}, {found.state.label}"
        )


_HANDLERS: Mapping[str, Callable[[CouncilRules, Occurrence], Act | None]] = {
    "CouncilFounded": CouncilRules._founded,
    "MemberAdded": CouncilRules._added,
    "MemberRemoved": CouncilRules._removed,
    "RoleChanged": CouncilRules._role_changed,
    "ParametersChanged": CouncilRules._parameters_changed,
    "WeightsChanged": CouncilRules._nothing,
    "RoundOpened": CouncilRules._opened,
    "VoteCast": CouncilRules._voted,
    "VoteSkipped": CouncilRules._nothing,
    "VoteStruck": CouncilRules._struck,
    "RoundApproved": CouncilRules._approved,
    "RoundReopened": CouncilRules._reopened,
    "RoundRejected": CouncilRules._rejected,
    "RoundExecuted": CouncilRules._executed_round,
    "RoundSettled": CouncilRules._settled,
}
