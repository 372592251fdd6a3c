"""A member at work: opening rounds, voting, bringing others' votes, executing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from dpki.chain.rpc import Reader
from dpki.council.history import Choice
from dpki.council.reading import (
    COUNCIL,
    Council,
    View,
    fetch_council,
    fetch_open,
    fetch_proposal,
    fetch_round,
    known,
    view_council,
)
from dpki.council.rounds import Proposal, Round, State
from dpki.council.threshold import Kind
from dpki.council.votes import Vote
from dpki.errors import CheckedFalse
from dpki.model import Address, Hash32, from_timestamp, to_timestamp
from dpki.transactions.abi import decode_call
from dpki.transactions.account import Receipt
from dpki.transactions.calls import encode_call
from dpki.transactions.governed import GovernanceCall, Governed, Pending, Way
from dpki.transactions.writer import DomainWriter

LENGTH = timedelta(days=7)
"""How long a round stays open unless somebody says otherwise."""

_ALARMS = {"suspend": Kind.SUSPENSION, "lift": Kind.LIFT}


@dataclass(frozen=True)
class RoundPlan:
    """What somebody wants decided."""

    kind: Kind
    calls: tuple[GovernanceCall, ...]

    @classmethod
    def of(cls, calls: Sequence[GovernanceCall]) -> RoundPlan:
        """Return the plan for these calls: one suspension or lift alone takes the shorter way."""
        decoded = [decode_call(call.data) for call in calls]
        if len(decoded) == 1 and decoded[0] is not None:
            return cls(_ALARMS.get(decoded[0].function.name, Kind.DECISION), tuple(calls))
        return cls(Kind.DECISION, tuple(calls))


@dataclass(frozen=True)
class CouncilDesk:
    """A wallet before a council.

    Attributes:
        writer: The wallet's writer.
        council: The council.
        length: How long a new round stays open; None for as long as usual.
    """

    reader: Reader
    writer: DomainWriter
    council: Address
    length: timedelta | None = None

    def look(self) -> tuple[View, Council]:
        """Return the council as it stands now."""
        view = view_council(self.reader, self.council)
        return view, fetch_council(view)

    def find(self, plan: RoundPlan) -> tuple[Round, Proposal] | None:
        """Return the round that asks for exactly this and may still pass, if there is one."""
        view, council = self.look()
        for identifier in fetch_open(view, council):
            found = fetch_round(view, council, identifier)
            if not found.state.may_pass or found.kind is not plan.kind:
                continue
            proposal = fetch_proposal(view, found)
            if proposal.calls == plan.calls:
                return found, proposal
        return None

    def next_steps(self, plan: RoundPlan) -> list[GovernanceCall]:
        """Return the transactions that would be sent next, as far as that is known."""
        case = self.find(plan)
        if case is None:
            view, council = self.look()
            opening = self.opening(self.proposal(plan, view, council))
            return [*self._settling(view, council, plan.kind), opening]
        found, proposal = case
        if self._lacks_my_approval(found):
            return [self.voting(found.id, Choice.APPROVE)]
        if found.is_executable(view_council(self.reader, self.council).block.time):
            return [self.execution(proposal)]
        return []

    def carry(self, plan: RoundPlan) -> Governed:
        """Open the round or join it, approve it, and execute it if nothing else is missing.

        Raises:
            TransactionForbidden: The account may not open such a round.
            TransactionFailed, CouldNotCheck: As they say.
        """
        case, receipt = self.find(plan), None
        if case is None:
            proposal, receipt = self.open(plan)
        else:
            proposal = case[1]
        found = self._round(proposal.id)
        if self._lacks_my_approval(found):
            receipt = self.writer.send(self.voting(proposal.id, Choice.APPROVE))
        return self.finish(proposal, receipt)

    def open(self, plan: RoundPlan) -> tuple[Proposal, Receipt]:
        """Open a round; an ended one of this member's is settled first, to make room."""
        view, council = self.look()
        for step in self._settling(view, council, plan.kind):
            self.writer.send(step)
        proposal = self.proposal(plan, view, council)
        return proposal, self.writer.send(self.opening(proposal))

    def finish(self, proposal: Proposal, receipt: Receipt | None) -> Governed:
        """Execute a round if nothing is missing; return how far it got."""
        view, council = self.look()
        found = fetch_round(view, council, proposal.id)
        if found.is_executable(view.block.time):
            return Governed(self.writer.send(self.execution(proposal)))
        return Governed(receipt, pending(found))

    def proposal(self, plan: RoundPlan, view: View, council: Council) -> Proposal:
        """Return a new round's contents, with a deadline that the council takes."""
        parameters = council.parameters
        delay, longest = (timedelta(seconds=s) for s in (parameters.delay, parameters.longest))
        # A third of the time at most goes by waiting, so that votes have the rest.
        length = self.length or min(max(LENGTH, 3 * delay), longest)
        end = from_timestamp(to_timestamp(view.block.time + length))
        return Proposal(plan.kind, plan.calls, end, Hash32(secrets.token_bytes(32)))

    def opening(self, proposal: Proposal) -> GovernanceCall:
        """Return the call that opens a round."""
        return self._call("propose", proposal.abi())

    def voting(self, identifier: Hash32, choice: Choice) -> GovernanceCall:
        """Return the call that votes."""
        return self._call("vote", bytes(identifier), int(choice))

    def bringing(self, identifier: Hash32, votes: Sequence[Vote]) -> GovernanceCall:
        """Return the call that brings signed votes."""
        return self._call("relay", bytes(identifier), [vote.abi() for vote in votes])

    def execution(self, proposal: Proposal, votes: Sequence[Vote] = ()) -> GovernanceCall:
        """Return the call that executes a round, with votes that it brings."""
        return self._call("execute", proposal.abi(), [vote.abi() for vote in votes])

    def settling(self, identifier: Hash32) -> GovernanceCall:
        """Return the call that settles an ended round."""
        return self._call("settle", bytes(identifier))

    def _settling(self, view: View, council: Council, kind: Kind) -> list[GovernanceCall]:
        """Return what makes room for a round of this member's."""
        slots = view.one("openRoundsOf", str(self.writer.account))
        before = Hash32(slots["decision" if kind is Kind.DECISION else "alarm"])
        if not any(before):
            return []
        state = known(State, view.one("stateOf", bytes(before)))
        return [] if state.may_pass else [self.settling(before)]

    def _lacks_my_approval(self, found: Round) -> bool:
        ballot = found.ballots.get(self.writer.account)
        return ballot is not None and not ballot.is_struck and ballot.choice is not Choice.APPROVE

    def _round(self, identifier: Hash32) -> Round:
        view, council = self.look()
        return fetch_round(view, council, identifier)

    def _call(self, function: str, *arguments: object) -> GovernanceCall:
        return GovernanceCall(self.council, encode_call(COUNCIL, function, *arguments))


def pending(found: Round) -> Pending | None:
    """Return what a round waits for; None once it is executed.

    Raises:
        CheckedFalse: It ended otherwise.
    """
    if found.state is State.EXECUTED:
        return None
    if not found.state.may_pass:
        raise CheckedFalse(
            f"round {found.id} is {found.state.label}",
            hint="open another one, if it is still wanted",
        )
    missing = found.missing()
    ready = found.executable_from
    if ready is not None:
        missing = (f"it is approved, and waits until {ready:%Y-%m-%d %H:%M:%S} UTC",)
    return Pending(Way.ROUND, found.id, missing, ready)
