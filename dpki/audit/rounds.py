"""A council's round as its events make it, and what it may do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dpki.audit.evidence import broken, require
from dpki.chain.domain import Domain
from dpki.council.history import Choice
from dpki.council.parameters import Parameters
from dpki.council.rounds import Proposal, State
from dpki.council.threshold import Kind, Tally
from dpki.council.weights import Table
from dpki.model import Address, AuthorityId, Hash32
from dpki.transactions.abi import find_function
from dpki.transactions.governed import GovernanceCall

_EFFECTS: Mapping[str, Mapping[str, bool | int]] = {
    "AuthorityRegistry": {"register": True},
    "CertificateRegistry": {
        "setOperator": True,
        "setMaximumLifetime": True,
        "lift": True,
        "setRevoker": 2,
        "close": False,
        "suspend": False,
        "retire": False,
        "revoke": False,
        "revokeBelow": False,
    },
    "DeviceRegistry": {"setRegistrar": 1},
    "WatchdogRegistry": {"setWatch": True},
    "TrustDomain": {"acceptGovernor": True, "offerGovernor": 0, "setGuardian": 0},
    "RootCouncil": {
        "addMember": True,
        "setRole": True,
        "setParameters": True,
        "removeMember": False,
    },
}
"""Whether a call adds, or at which argument: it adds unless that is zero."""


@dataclass
class RoundState:
    """A round.

    Attributes:
        proposer: The seat that opened it.
        number: Of the table that it was opened on.
        electorate: Who may vote, by seat.
        votes: What each voted last.
        nonces: How many votes of each were counted.
        struck: Who was removed since, and in which transaction.
        approved_at: When the votes last came to suffice; None while they do not.
    """

    id: Hash32
    proposal: Proposal
    proposer: int
    number: int
    table: Table
    parameters: Parameters
    delay: int
    opened_at: int
    deadline: int
    electorate: Mapping[int, Address]
    state: State = State.OPEN
    is_settled: bool = False
    approved_at: int | None = None
    votes: dict[Address, Choice] = field(default_factory=dict)
    nonces: dict[Address, int] = field(default_factory=dict)
    struck: dict[Address, Hash32] = field(default_factory=dict)

    @property
    def subject(self) -> AuthorityId | None:
        """The CA that a suspension or lift is about."""
        if self.proposal.kind is Kind.DECISION:
            return None
        return AuthorityId(self.proposal.calls[0].data[4:36])

    def seats(self, choice: Choice, *, despite: Hash32 | None = None) -> int:
        """Return a bitmap of the seats that stand for a choice.

        Args:
            despite: Count whoever was struck by this transaction: the round itself did it.
        """
        return sum(
            1 << seat
            for seat, voter in self.electorate.items()
            if self.votes.get(voter) is choice
            and (voter not in self.struck or self.struck[voter] == despite)
        )

    def struck_seats(self) -> int:
        """Return a bitmap of the seats of those who were removed since."""
        return sum(1 << seat for seat, voter in self.electorate.items() if voter in self.struck)

    def tally(self, seats: int) -> Tally:
        """Return what these seats weigh together."""
        return self.table.tally(seat for seat in self.electorate if seats >> seat & 1)


def delay_of(proposal: Proposal, domain: Domain, council: Address, parameters: Parameters) -> int:
    """Return how long a round has to wait, in seconds, after looking at what it would do.

    Raises:
        Broken: The council does not let a round do that.
    """
    if not proposal.calls:
        broken("a round makes a call", "one or more", "none")
    if proposal.kind is not Kind.DECISION:
        name = "suspend" if proposal.kind is Kind.SUSPENSION else "lift"
        (call, *others) = proposal.calls
        selector = find_function("CertificateRegistry", name).selector
        require(
            not others
            and call.target == domain.certificates
            and call.data[:4] == selector
            and len(call.data) == 36,
            "a suspension suspends, a lift lifts, one CA",
            name,
            f"0x{call.data.hex()[:72]}",
        )
        return 0
    adds = [_adds(call, domain, council) for call in proposal.calls]
    return parameters.delay if any(adds) else 0


def _adds(call: GovernanceCall, domain: Domain, council: Address) -> bool:
    """Return whether a call adds trust, as `effectOf` says."""
    parts = {
        domain.authorities: "AuthorityRegistry",
        domain.certificates: "CertificateRegistry",
        domain.devices: "DeviceRegistry",
        domain.watchdogs: "WatchdogRegistry",
        domain.id.address: "TrustDomain",
        council: "RootCouncil",
    }
    contract = parts.get(call.target, "")
    effects = {
        find_function(contract, name).selector: place
        for name, place in _EFFECTS.get(contract, {}).items()
    }
    place = effects.get(call.data[:4])
    if place is None:
        broken("a round makes the calls that it may", "one of them", f"0x{call.data.hex()[:72]}")
    if isinstance(place, bool):
        return place
    return any(call.data[4 + 32 * place : 36 + 32 * place])
