"""A domain's history, transaction by transaction: every event's rules, and who may have caused it.

Pure: what it is told comes from `feed`, what it keeps goes through a `Book`. What can be said of a
caller without tracing is in docs/threat-model.md, "What an audit can't see".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dpki.audit.acts import Act
from dpki.audit.council import CouncilRules
from dpki.audit.enrolling import DeviceRules
from dpki.audit.evidence import Broken
from dpki.audit.occurrence import COUNCIL, Occurrence
from dpki.audit.rules import DomainRules
from dpki.audit.state import Book, State
from dpki.audit.watching import WatchdogRules
from dpki.chain.domain import Domain
from dpki.model import Address, Hash32

THROUGH_A_CONTRACT = "calls through a contract"
"""How acts are counted whose caller can't be told from the transaction alone."""


@dataclass(frozen=True)
class Transaction:
    """Who sent what to whom.

    Attributes:
        to: None where it made a contract.
    """

    hash: Hash32
    sender: Address
    to: Address | None


@dataclass
class History:
    """Where a replay is.

    Attributes:
        has_code: Says whether there is a program at an address.
        councils: The councils of this domain that were ever named for a role.
        counts: Events by name, and acts whose caller had to be believed.
    """

    domain: Domain
    book: Book
    has_code: Callable[[Address], bool]
    state: State = field(default_factory=State)
    councils: dict[Address, CouncilRules] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the rules."""
        self._domain = DomainRules(self.domain, self.state, self.book)
        self._devices = DeviceRules(self.state, self.book)
        self._watchdogs = WatchdogRules(self.state, self.book)

    def replay(self, transaction: Transaction, events: Sequence[Occurrence]) -> None:
        """Go on by one transaction, the next with events of this domain.

        Raises:
            HistoryContradicted: One of its events can't follow, or its sender can't have caused it.
        """
        acts = [act for event in events if (act := self._apply(event)) is not None]
        for act in acts:
            self._verify_caller(act, transaction)
        last = events[-1]
        self._domain.finish(last)
        self._watchdogs.finish(last)
        for council in self.councils.values():
            council.finish(last)

    def remember(self, events: Sequence[Occurrence]) -> None:
        """Go on by one transaction's events of councils that were replayed before."""
        for event in events:
            self.councils[event.address].apply(event)
        for council in self.councils.values():
            council.finish(events[-1])

    def _apply(self, event: Occurrence) -> Act | None:
        self.counts[event.name] += 1
        try:
            if event.contract == COUNCIL:
                return self.councils[event.address].apply(event)
            self._domain.verify_order(event)
            self._watchdogs.verify_order(event)
            if event.contract == "WatchdogRegistry":
                return self._watchdogs.apply(event)
            if event.contract == "DeviceRegistry":
                return self._devices.apply(event)
            return self._domain.apply(event)
        except Broken as error:
            raise event.contradiction(error.what, error.expected, error.found) from error

    def _verify_caller(self, act: Act, transaction: Transaction) -> None:
        event, caller = act.occurrence, act.caller
        called = " or ".join(act.functions)
        if caller in self.councils:
            if not self.councils[caller].made(act):
                raise event.contradiction(
                    "a council acts by an executed round that says so",
                    f"a round of {caller} with this {called}",
                    "no such round in this transaction",
                )
        elif transaction.to == event.address:
            if transaction.sender != caller:
                raise event.contradiction(
                    "only who holds the role may do this",
                    f"{called} by {caller}",
                    transaction.sender,
                )
        elif not self.has_code(caller):
            raise event.contradiction(
                "an account without a program of its own calls directly",
                f"{called} by {caller}",
                f"a call of {transaction.to} by {transaction.sender}",
            )
        else:
            self.counts[THROUGH_A_CONTRACT] += 1
