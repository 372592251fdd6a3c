"""What needs the governor, done the way that this domain's governor decides.

An account makes the call at once. A council opens a round with it, or joins the round that asks
for the same. A timelock schedules it. Doing the same again goes on where things stand: it votes,
executes what has become executable, or says what is still missing; so nothing is lost when it is
interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from dpki.chain.rpc import Reader
from dpki.council.casting import CouncilDesk, RoundPlan
from dpki.council.roles import Body, Nature, Roles
from dpki.council.trial import try_calls
from dpki.council.words import spell
from dpki.errors import NotAllowed, TransactionReverted
from dpki.model import Address
from dpki.transactions.abi import decode_call
from dpki.transactions.actions import DomainActions
from dpki.transactions.calls import encode_call
from dpki.transactions.flight import Rehearsal
from dpki.transactions.governed import GovernanceCall, Governed, Pending, Way
from dpki.transactions.timelock import (
    TIMELOCK,
    OperationState,
    Scheduled,
    fetch_delay,
    find_slot,
)
from dpki.transactions.writer import DomainWriter

FREE = Rehearsal(0, 0)
"""What it costs to send nothing."""


class Route(ABC):
    """One way to get calls made."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Say how, for people; empty where it needs no word."""

    @abstractmethod
    def rehearse(self, calls: Sequence[GovernanceCall]) -> Rehearsal:
        """Try the calls and the next transaction as far as signing; raises what either raises."""

    @abstractmethod
    def make(self, calls: Sequence[GovernanceCall]) -> Governed:
        """Get the calls made, as far as that goes now."""


@dataclass(frozen=True)
class Direct(Route):
    """The wallet makes the calls itself."""

    reader: Reader
    writer: DomainWriter

    @property
    def name(self) -> str:
        """Say how."""
        return ""

    def rehearse(self, calls: Sequence[GovernanceCall]) -> Rehearsal:
        """Try the calls, one on top of the other; what depends on another can't be priced."""
        if len(calls) == 1:
            return self.writer.rehearse(calls[0])
        try_calls(self.writer.reader, self.writer.domain, self.writer.account, calls)
        total = self.writer.rehearse(calls[0])
        for call in calls[1:]:
            with suppress(TransactionReverted):
                total += self.writer.rehearse(call)
        return total

    def make(self, calls: Sequence[GovernanceCall]) -> Governed:
        """Make the calls, one transaction each, once all of them would be taken."""
        if len(calls) > 1:
            try_calls(self.writer.reader, self.writer.domain, self.writer.account, calls)
        *_, last = [self.writer.send(call) for call in calls]
        return Governed(last)


@dataclass(frozen=True)
class ByRound(Route):
    """A council opens a round, or joins it."""

    reader: Reader
    desk: CouncilDesk

    @property
    def name(self) -> str:
        """Say how."""
        return f"by a round of the council {self.desk.council}"

    def rehearse(self, calls: Sequence[GovernanceCall]) -> Rehearsal:
        """Try the calls as the council, and the next transaction as this member."""
        try_calls(self.desk.writer.reader, self.desk.writer.domain, self.desk.council, calls)
        steps = self.desk.next_steps(RoundPlan.of(calls))
        return self.desk.writer.rehearse(steps[0]) if steps else FREE

    def make(self, calls: Sequence[GovernanceCall]) -> Governed:
        """Open or join the round, vote, and execute it if that is all that it lacks."""
        try_calls(self.desk.writer.reader, self.desk.writer.domain, self.desk.council, calls)
        return self.desk.carry(RoundPlan.of(calls))


@dataclass(frozen=True)
class ByTimelock(Route):
    """A timelock schedules, and later executes."""

    reader: Reader
    writer: DomainWriter
    timelock: Address

    @property
    def name(self) -> str:
        """Say how."""
        return (
            f"by the timelock {self.timelock}, which waits"
            f" {spell(fetch_delay(self.reader, self.timelock))}"
        )

    def rehearse(self, calls: Sequence[GovernanceCall]) -> Rehearsal:
        """Try the calls as the timelock, and the next transaction."""
        try_calls(self.writer.reader, self.writer.domain, self.timelock, calls)
        step = self._next(find_slot(self.reader, self.timelock, calls))
        return FREE if step is None else self.writer.rehearse(step)

    def make(self, calls: Sequence[GovernanceCall]) -> Governed:
        """Schedule the calls; execute them where they have waited."""
        try_calls(self.writer.reader, self.writer.domain, self.timelock, calls)
        before = find_slot(self.reader, self.timelock, calls)
        step = self._next(before)
        receipt = None if step is None else self.writer.send(step)
        if before.state is OperationState.READY:
            return Governed(receipt)
        after = find_slot(self.reader, self.timelock, calls)
        return Governed(receipt, waiting(after))

    def _next(self, found: Scheduled) -> GovernanceCall | None:
        if found.state is OperationState.WAITING:
            return None
        if found.state is OperationState.READY:
            return execution(self.timelock, found)
        delay = int(fetch_delay(self.reader, self.timelock).total_seconds())
        several = "" if len(found.operation.calls) == 1 else "Batch"
        data = encode_call(TIMELOCK, f"schedule{several}", *found.operation.arguments(), delay)
        return GovernanceCall(self.timelock, data)


def execution(timelock: Address, found: Scheduled) -> GovernanceCall:
    """Return the call that executes an operation."""
    several = "" if len(found.operation.calls) == 1 else "Batch"
    data = encode_call(TIMELOCK, f"execute{several}", *found.operation.arguments())
    return GovernanceCall(timelock, data)


def cancellation(timelock: Address, found: Scheduled) -> GovernanceCall:
    """Return the call that cancels an operation."""
    data = encode_call(TIMELOCK, "cancel", bytes(found.operation.id))
    return GovernanceCall(timelock, data)


def waiting(found: Scheduled) -> Pending:
    """Return what an operation waits for."""
    until = f"{found.ready_at:%Y-%m-%d %H:%M:%S} UTC" if found.ready_at else "it is scheduled"
    missing = (f"it waits until {until}",)
    return Pending(Way.OPERATION, found.operation.id, missing, found.ready_at)


@dataclass(frozen=True)
class Elsewhere(Route):
    """Only somebody's own tools get the governor to do it."""

    reader: Reader
    writer: DomainWriter
    body: Body

    @property
    def name(self) -> str:
        """Say how."""
        return f"by the {self.body}"

    def rehearse(self, calls: Sequence[GovernanceCall]) -> Rehearsal:
        """Refuse, with the calls at hand."""
        raise self._refusal(calls)

    def make(self, calls: Sequence[GovernanceCall]) -> Governed:
        """Refuse, with the calls at hand."""
        raise self._refusal(calls)

    def _refusal(self, calls: Sequence[GovernanceCall]) -> NotAllowed:
        """Return the refusal; raises what the calls would raise, for nobody to try them in vain."""
        try_calls(self.writer.reader, self.writer.domain, self.body.address, calls)
        made = "; ".join(f"to {call.target}, data 0x{call.data.hex()}" for call in calls)
        return NotAllowed(
            f"the governor is a contract that dpki does not know: {self.body.address}",
            hint=f"have it make this call by its own tools: {made}",
        )


class Governance(DomainActions[Governed]):
    """Every action on a domain, carried out the way that its governor decides.

    Args:
        reader: The endpoint.
        writer: The wallet's writer.
        roles: Who holds the domain's roles.
        length: How long a round stays open; None for as long as usual.
    """

    def __init__(
        self,
        reader: Reader,
        writer: DomainWriter,
        roles: Roles,
        length: timedelta | None = None,
    ) -> None:
        super().__init__(writer.domain)
        self.roles = roles
        self.writer = writer
        self.reader = reader
        self._length = length

    @property
    def account(self) -> Address:
        """Return the account that signs."""
        return self.writer.account

    def rehearsal(self) -> GovernanceRehearsal:
        """Return the same actions, without effect."""
        return GovernanceRehearsal(self)

    def route(self, calls: Sequence[GovernanceCall]) -> Route:
        """Return the way that these calls go."""
        body = self._body(calls)
        match body.nature:
            case Nature.ACCOUNT:
                return Direct(self.reader, self.writer)
            case Nature.COUNCIL:
                desk = CouncilDesk(self.reader, self.writer, body.address, self._length)
                return ByRound(self.reader, desk)
            case Nature.TIMELOCK:
                return ByTimelock(self.reader, self.writer, body.address)
            case Nature.CONTRACT:
                return Elsewhere(self.reader, self.writer, body)

    def _body(self, calls: Sequence[GovernanceCall]) -> Body:
        roles = self.roles
        names = [decoded.function.name for c in calls if (decoded := decode_call(c.data))]
        if names == ["acceptGovernor"]:
            return roles.offered or Body(self.account, Nature.ACCOUNT)
        if names == ["suspend"] and roles.guardian is not None:
            own = {roles.guardian.address, roles.governor.address}
            if self.account in own:
                return Body(self.account, Nature.ACCOUNT)
            if roles.governor.nature is not Nature.COUNCIL:
                # A governor that waits, or that is not at hand, is no help at the first suspicion.
                return roles.guardian
        return roles.governor

    def _perform(self, contract: Address, data: bytes) -> Governed:
        calls = [GovernanceCall(contract, data)]
        return self.route(calls).make(calls)


class GovernanceRehearsal(DomainActions[Rehearsal]):
    """Tries each action as the one who would make it, and the next transaction up to signing.

    Args:
        governance: What would carry it out.
    """

    def __init__(self, governance: Governance) -> None:
        super().__init__(governance.domain)
        self._governance = governance

    def _perform(self, contract: Address, data: bytes) -> Rehearsal:
        calls = [GovernanceCall(contract, data)]
        return self._governance.route(calls).rehearse(calls)
