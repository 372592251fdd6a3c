"""Each rule of a council's replay; that honest councils break none, the state machines find out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dpki.audit.digest import state_digest
from dpki.audit.evidence import HistoryContradicted
from dpki.audit.history import THROUGH_A_CONTRACT
from dpki.audit.index import Index
from dpki.audit.run import replay
from dpki.council.parameters import DEFAULTS, Parameters, Role
from dpki.council.reading import dump_parameters
from dpki.council.rounds import Proposal
from dpki.council.threshold import Kind
from dpki.council.weights import freeze, pack
from dpki.model import Address, Block, Hash32, from_timestamp
from dpki.transactions.abi import find_event
from dpki.transactions.artifacts import load_artifact
from dpki.transactions.calls import encode_call
from dpki.transactions.governed import GovernanceCall
from tests.fakes.chronicle import GOVERNOR, NEXT, OPERATOR, STRANGER, Chronicle

HOME = Address(b"\xc0" * 20)
ROOTS = tuple(Address(bytes([n]) * 20) for n in (0xB1, 0xB2, 0xB3))
NEWCOMER = Address(b"\xb4" * 20)
OPEN, APPROVED, REJECTED, EXPIRED, EXECUTED = range(1, 6)
APPROVE, REJECT = 1, 2


def council_of(domain: Address) -> bytes:
    """Return a council's program as its constructor leaves it, as far as an audit looks."""
    artifact = load_artifact("RootCouncil")
    start, length = artifact.immutables[0]
    return artifact.runtime[:start] + bytes(12) + domain + artifact.runtime[start + length :]


@dataclass
class Council:
    """A history of a domain that a council of three roots governs, told event by event."""

    chronicle: Chronicle = field(default_factory=lambda: Chronicle().create())
    parameters: Parameters = DEFAULTS
    table: int = 0
    salt: int = 0

    def __post_init__(self) -> None:
        c = self.chronicle
        c.addresses["RootCouncil"] = HOME
        c.codes[HOME] = council_of(c.domain.id.address)
        self.ca = c.register()
        with c.sent(STRANGER, None):
            self.event("CouncilFounded", c.domain.id.address)
            for seat, root in enumerate(ROOTS):
                self.event("MemberAdded", root, seat, int(Role.ROOT))
            self.event("ParametersChanged", dump_parameters(self.parameters))
            self.weigh(dict.fromkeys(range(3), 100))
        c.tell(GOVERNOR, "TrustDomain", "GovernorOffered", GOVERNOR, HOME)
        accepts = GovernanceCall(c.domain.id.address, encode_call("TrustDomain", "acceptGovernor"))
        taken = self.propose(accepts)
        self.approve(taken)
        self.wait()
        with c.sent(STRANGER, "RootCouncil"):
            c.event("TrustDomain", "GovernorChanged", GOVERNOR, HOME)
            self.ends(taken)

    # -- telling -----------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.chronicle.time()

    def event(self, name: str, *values: Any) -> None:
        self.chronicle.event("RootCouncil", name, *values)

    def tell(self, sender: Address, name: str, *values: Any) -> None:
        self.chronicle.tell(sender, "RootCouncil", name, *values)

    def wait(self, seconds: int = DEFAULTS.delay) -> None:
        self.chronicle.number += seconds // 2 + 1

    def weigh(self, weights: dict[int, int], **change: int) -> None:
        self.table += 1
        table = freeze(weights, self.parameters.rule)
        told = {"electorate": table.electorate, "cap": table.cap, "total": table.total} | change
        self.event("WeightsChanged", self.table, list(pack(table.weights)), *told.values())

    def retire(self) -> GovernanceCall:
        data = encode_call("CertificateRegistry", "retire", bytes(self.ca))
        return GovernanceCall(self.chronicle.domain.certificates, data)

    def operator(self) -> GovernanceCall:
        data = encode_call("CertificateRegistry", "setOperator", bytes(self.ca), str(NEXT))
        return GovernanceCall(self.chronicle.domain.certificates, data)

    def own(self, function: str, *arguments: Any) -> GovernanceCall:
        return GovernanceCall(HOME, encode_call("RootCouncil", function, *arguments))

    def propose(
        self,
        *calls: GovernanceCall,
        by: Address = ROOTS[0],
        kind: Kind = Kind.DECISION,
        delay: int | None = None,
        lasts: int = 3 * DEFAULTS.delay,
        table: int | None = None,
        id: Hash32 | None = None,
    ) -> Proposal:
        self.salt += 1
        deadline = datetime.fromtimestamp(self.now + lasts, UTC)
        made = Proposal(kind, calls, deadline, Hash32(self.salt.to_bytes(32)))
        adds = any(call.data[:4] != self.retire().data[:4] for call in calls)
        waits = (DEFAULTS.delay if adds else 0) if delay is None else delay
        on = self.table if table is None else table
        self.tell(by, "RoundOpened", id or made.id, by, int(kind), on, waits, made.abi())
        return made

    def cast(self, made: Proposal, voter: Address, choice: int = APPROVE, nonce: int = 0) -> None:
        self.tell(voter, "VoteCast", made.id, voter, choice, nonce)

    def approve(self, made: Proposal, delay: int | None = None) -> None:
        for root in ROOTS[:2]:
            self.cast(made, root)
        waits = DEFAULTS.delay if delay is None else delay
        with self.chronicle.sent(ROOTS[2], "RootCouncil"):
            self.event("VoteCast", made.id, ROOTS[2], APPROVE, 0)
            self.event("RoundApproved", made.id, self.now + waits)

    def ends(self, made: Proposal, *, moves: bool = True) -> None:
        self.event("RoundExecuted", made.id, STRANGER)
        self.event("RoundSettled", made.id, EXECUTED, moves)
        if moves:
            self.weigh(dict.fromkeys(range(3), 101))


def audited(council: Council, folder: Path, **options: Any) -> Any:
    with Index(folder / "index.sqlite", council.chronicle.domain.id) as index:
        return council.chronicle.audit(index, **options)


def carried(council: Council) -> Proposal:
    """Carry a decision that adds nothing, up to its execution."""
    made = council.propose(council.retire(), delay=0)
    council.approve(made, delay=0)
    return made


def execute(council: Council, made: Proposal) -> None:
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        state = ("CertificateRegistry", "StateChanged", council.ca, 1, 5, HOME)
        council.chronicle.event(*state)
        # An epoch has not passed: nobody's weight moves.
        council.ends(made, moves=False)


def test_a_council_that_takes_over_and_decides(tmp_path: Path) -> None:
    council = Council()
    execute(council, carried(council))
    council.chronicle.settle(tmp_path)
    report = audited(council, tmp_path)
    (rules,) = report.councils.values()
    assert report.state.governor == HOME
    assert [member.weight for member in rules.ledger.seats.values()] == [101] * 3
    assert report.counts.get("calls through a contract", 0) == 0


def test_the_digest_is_the_same_wherever_it_was_resumed(tmp_path: Path) -> None:
    """A council's rounds are made again from the index, in the middle of a vote as well."""
    council = Council()
    execute(council, carried(council))
    chronicle = council.chronicle.settle(tmp_path)
    whole = audited(council, tmp_path)
    domain, path = chronicle.domain, tmp_path / "resumed.sqlite"
    for number in sorted({int(log["blockNumber"], 16) for log in chronicle.logs}):
        block = Block(number, chronicle.hash(number), from_timestamp(chronicle.time(number)))
        # Nothing is remembered but what is in the file.
        with Index(path, domain.id) as index:
            history = replay(chronicle, domain, index, block)
            digest = state_digest(domain, block, history.state, history.councils, index)
    assert (block, digest) == (whole.block, whole.digest)
    assert history.counts == whole.counts


def one(name: str, *values: Any, by: Address = STRANGER) -> Callable[[Council], None]:
    return lambda council: council.tell(by, name, *values)


def of_a_round(name: str, *values: Any) -> Callable[[Council], None]:
    def forge(council: Council) -> None:
        made = council.propose(council.retire(), delay=0)
        told = [council.now if value is NOW else value for value in values]
        council.tell(STRANGER, name, made.id, *told)

    return forge


NOW = object()


def voted_twice(council: Council) -> None:
    made = council.propose(council.retire(), delay=0)
    council.cast(made, ROOTS[0])
    council.cast(made, ROOTS[0], REJECT, 0)


def voted_the_same(council: Council) -> None:
    made = council.propose(council.retire(), delay=0)
    council.cast(made, ROOTS[0])
    council.cast(made, ROOTS[0], APPROVE, 1)


def voted_late(council: Council) -> None:
    made = council.propose(council.retire(), delay=0)
    council.wait(4 * DEFAULTS.delay)
    council.cast(made, ROOTS[0])


def executed_early(council: Council) -> None:
    made = council.propose(council.operator())
    council.approve(made)
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        council.chronicle.event(
            "CertificateRegistry", "OperatorChanged", council.ca, OPERATOR, NEXT
        )
        council.ends(made, moves=False)


def executed_late(council: Council) -> None:
    made = carried(council)
    council.wait(4 * DEFAULTS.delay)
    execute(council, made)


def executed_twice(council: Council) -> None:
    made = carried(council)
    execute(council, made)
    council.tell(STRANGER, "RoundExecuted", made.id, STRANGER)


def something_else_executed(council: Council) -> None:
    made = carried(council)
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        council.chronicle.event("CertificateRegistry", "StateChanged", council.ca, 1, 3, HOME)
        council.ends(made, moves=False)


def withdrawn_and_executed(council: Council) -> None:
    made = carried(council)
    council.cast(made, ROOTS[0], 0, 1)
    execute(council, made)


def weights_moved_too_soon(council: Council) -> None:
    made = carried(council)
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        council.chronicle.event("CertificateRegistry", "StateChanged", council.ca, 1, 5, HOME)
        council.ends(made)


def other_weights(council: Council) -> None:
    made = carried(council)
    council.wait()
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        council.chronicle.event("CertificateRegistry", "StateChanged", council.ca, 1, 5, HOME)
        council.event("RoundExecuted", made.id, STRANGER)
        council.event("RoundSettled", made.id, EXECUTED, True)
        council.weigh({0: 150, 1: 102, 2: 102})


def joined(council: Council, seat: int = 3, account: Address = NEWCOMER) -> None:
    with council.chronicle.sent(STRANGER, "RootCouncil"):
        council.event("MemberAdded", account, seat, int(Role.ORDINARY))
        council.weigh({0: 101, 1: 101, 2: 101, 3: 20})


def opened(**options: Any) -> Callable[[Council], None]:
    def forge(council: Council) -> None:
        council.propose(council.retire(), **{"delay": 0} | options)

    return forge


def unwaited(council: Council) -> None:
    council.propose(council.operator(), delay=0)


def empty(council: Council) -> None:
    council.propose(delay=0)


def forbidden(council: Council) -> None:
    council.propose(GovernanceCall(STRANGER, b"none"), delay=0)


def one_round_too_many(council: Council) -> None:
    council.propose(council.retire(), delay=0)
    council.propose(council.retire(), delay=0)


FORGED: dict[str, tuple[Callable[[Council], None], str]] = {
    "founded again": (one("CouncilFounded", Address(b"\x01" * 20)), "a council is founded once"),
    "a member without a round": (joined, "a council acts by an executed round"),
    "not the lowest seat": (lambda c: joined(c, 5), "who is new takes the lowest free seat"),
    "a member twice": (lambda c: joined(c, 3, ROOTS[0]), "a member has one seat"),
    "another's seat left": (one("MemberRemoved", ROOTS[0], 1), "who leaves leaves its own seat"),
    "a stranger's role": (one("RoleChanged", STRANGER, 3, 1), "members have roles, nobody else"),
    "from another role": (one("RoleChanged", ROOTS[0], 1, 2), "a role changes from what it was"),
    "to the same role": (one("RoleChanged", ROOTS[0], 3, 3), "a role changes"),
    "weights of nothing": (
        one("WeightsChanged", 9, [0] * 8, 0, 0, 0),
        "weights",
    ),
    "other weights": (other_weights, "a council's weights are those that its rules make"),
    "moved too soon": (weights_moved_too_soon, "a council's weights are those"),
    "another id": (
        opened(id=Hash32(b"\x01" * 32)),
        "a round's id",
    ),
    "a stranger's round": (
        opened(by=STRANGER),
        "members open rounds",
    ),
    "two rounds at once": (one_round_too_many, "a member has one round of a sort open"),
    "no wait": (unwaited, "what adds trust waits"),
    "for ever open": (
        opened(lasts=DEFAULTS.longest + 9),
        "a round ends in its time",
    ),
    "an old table": (opened(table=1), "weights"),
    "no calls": (empty, "a round makes a call"),
    "a call that none may make": (
        forbidden,
        "a round makes the calls that it may",
    ),
    "an alarm that does not suspend": (
        opened(kind=Kind.SUSPENSION),
        "a suspension suspends",
    ),
    "a vote in no round": (
        one("VoteCast", b"\x07" * 32, ROOTS[0], APPROVE, 0),
        "a round was opened",
    ),
    "a stranger's vote": (
        of_a_round("VoteCast", STRANGER, APPROVE, 0),
        "members of a round's table",
    ),
    "a nonce used again": (voted_twice, "a voter's nonces follow"),
    "the same vote": (voted_the_same, "a vote changes"),
    "a vote too late": (voted_late, "votes count while a round is open"),
    "a member struck": (of_a_round("VoteStruck", ROOTS[0]), "who was removed is struck"),
    "approved by nobody": (of_a_round("RoundApproved", NOW), "a round is approved when"),
    "another wait": (of_a_round("RoundApproved", 5), "a round waits for its delay"),
    "reopened and never approved": (of_a_round("RoundReopened"), "a round is reopened when"),
    "rejected by nobody": (of_a_round("RoundRejected"), "a round is rejected when"),
    "executed and never approved": (
        of_a_round("RoundExecuted", STRANGER),
        "a round is executed when",
    ),
    "executed too early": (executed_early, "a round is executed when"),
    "executed too late": (executed_late, "a round is executed when"),
    "executed twice": (executed_twice, "a round is executed when"),
    "executed after a vote was withdrawn": (withdrawn_and_executed, "a round is executed when"),
    "another call than the round's": (
        something_else_executed,
        "a council acts by an executed round",
    ),
    "settled while open": (of_a_round("RoundSettled", EXPIRED, False), "a round is settled once"),
    "a council's act without a round": (
        lambda c: c.chronicle.tell(
            STRANGER, "CertificateRegistry", "OperatorChanged", c.ca, OPERATOR, STRANGER
        ),
        "a council acts by an executed round",
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_event(what: str, tmp_path: Path) -> None:
    forge, rule = FORGED[what]
    council = Council()
    first = council.chronicle.number
    forge(council)
    with pytest.raises(HistoryContradicted, match=rule) as caught:
        audited(council, tmp_path)
    assert first <= caught.value.evidence.block < council.chronicle.number


def test_a_council_whose_founding_is_withheld(tmp_path: Path) -> None:
    council = Council()
    founding = str(find_event("RootCouncil", "CouncilFounded").topic)
    logs = council.chronicle.logs
    logs[:] = [log for log in logs if log["topics"][0] != founding]
    with pytest.raises(HistoryContradicted, match="a council begins with its founding"):
        audited(council, tmp_path)


def test_another_domains_council_is_a_contract_like_others(tmp_path: Path) -> None:
    council = Council()
    council.chronicle.codes[HOME] = council_of(STRANGER)
    council.chronicle.settle(tmp_path / "honest")
    report = audited(council, tmp_path)
    assert report.councils == {}
    assert report.counts[THROUGH_A_CONTRACT] == 1
