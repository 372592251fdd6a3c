"""A real RootCouncil on a real Anvil against the model in council_model.py.

Hypothesis makes up members, rounds, votes and time. The model says what each call does or with
which error it reverts; after each, everything that can be read from the chain equals the model,
and the chain's own history keeps the invariants at the heads of RootCouncil.sol (I1 to I9) and
CouncilMembers.sol (M1 to M6). At the end all weights are recomputed from the events alone.

DPKI_COUNCIL_EXAMPLES and DPKI_COUNCIL_STEPS make it search longer.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dpki.council.history import Event
from dpki.council.parameters import DAY, DEFAULTS, HOUR, SEATS, Bounds, Parameters, Role
from dpki.council.recompute import recompute
from dpki.council.threshold import Kind, Question, Rule, Tally
from dpki.council.weights import pack
from tests.auditing import audit_chain
from tests.contracts.fresh import compile_fresh
from tests.property import contract_model
from tests.property.bare_chain import Chain, Contract, Reverted
from tests.property.contract_model import NOBODY
from tests.property.council_chain import (
    Events,
    ToldRound,
    View,
    history_of,
    look,
    parameters_abi,
    proposal_abi,
    round_id,
    signed,
)
from tests.property.council_model import (
    Call,
    Choice,
    Council,
    Proposal,
    State,
    Vote,
    attempt,
)

EXAMPLES = int(os.environ.get("DPKI_COUNCIL_EXAMPLES", "16"))
STEPS = int(os.environ.get("DPKI_COUNCIL_STEPS", "30"))

PEOPLE = 8
KEYS = (b"\x01" * 44, b"\x02" * 44)
CAS = tuple(hashlib.sha256(key).digest() for key in KEYS)
STRANGE_CA = b"\x77" * 32
ROLES = (Role.ORDINARY, Role.INTERMEDIATE, Role.ROOT)

QUICK = Parameters(delay=0, epoch=1, attendance=0, senior_after=0, seniority=1, cooling=HOUR)
STEEP = replace(
    QUICK,
    ordinary=Bounds(1, 1, 3),
    root=Bounds(40_000, 1, 65_535),
    gain=5_000,
    against=10_000,
    absent=5_000,
    seniority=5_000,
)
GOOD = (
    DEFAULTS,
    QUICK,
    STEEP,
    replace(DEFAULTS, root=Bounds(30, 20, 40), intermediate=Bounds(30, 30, 30)),
    replace(DEFAULTS, rule=Rule.SLIDE, faults=0),
    replace(QUICK, rule=Rule.SLIDE, faults=1),
    replace(QUICK, rule=Rule.SLIDE, faults=2),
)
BAD = (
    replace(DEFAULTS, against=1),
    replace(DEFAULTS, absent=0),
    replace(DEFAULTS, seniority=2),
    replace(DEFAULTS, epoch=0),
    replace(DEFAULTS, longest=DAY),
    replace(DEFAULTS, faults=1),
    replace(DEFAULTS, root=Bounds(10, 20, 40)),
    replace(DEFAULTS, rule=Rule.SLIDE, faults=200),
)


@dataclass
class Stage:
    """What each example begins with: a domain with two authorities, and how to found a council."""

    chain: Chain
    governor: str
    code: bytes
    events: Events


def mostly(good: Any, flaws: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return what is good three times in four: calls that fail lead nowhere."""
    return st.sampled_from([good] * (3 * len(flaws)) + list(flaws))


people = st.integers(0, PEOPLE - 1)
choices = st.sampled_from([Choice.APPROVE, Choice.APPROVE, Choice.REJECT, Choice.NONE])
parameter_sets = st.sampled_from([*GOOD, *GOOD, *GOOD, *BAD])
authorities = mostly(0, [1, -1])
picks = st.integers(0, 30)
durations = st.sampled_from([1, HOUR, 12 * HOUR, DAY, DAY, 2 * DAY, 8 * DAY])
FLAWS = ("chain", "contract", "round", "choice", "nonce", "thief", "malleable", "short")
#: How a vote by file is made: its choice (None: the usual one), what is wrong with its signature,
#: with its nonce, and when it ends: late by one second, in the last one, or not soon.
MAKES = (
    *[(choice, "", 0, 1) for choice in (0, 1, 2, 3, 255)],
    *[(None, flaw, 0, 1) for flaw in FLAWS],
    *[(None, "", ahead, 1) for ahead in (-1, 1)],
    *[(None, "", 0, left) for left in (0, 0, 0, -1, -1)],
)
brought = st.tuples(people, mostly((None, "", 0, 1), MAKES)).map(lambda vote: (vote[0], *vote[1]))


subjects = st.sampled_from([*range(PEOPLE), *range(PEOPLE), -1, PEOPLE])


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Any, Any]:
    """Draw what a decision calls, with people and authorities by number."""
    name = draw(
        st.sampled_from(
            ["addMember"] * 8
            + ["removeMember"] * 6
            + ["setRole"] * 4
            + ["setParameters"] * 4
            + ["suspend", "suspend", "lift", "lift", "setRegistrar", "setRegistrar"]
            + ["close", "retire", "setRevoker", "setGuardian", "offerGovernor"]
            + ["foreign"]
        )
    )
    return (
        name,
        draw(subjects),
        draw(st.one_of(st.sampled_from(ROLES), parameter_sets)),
    )


class CouncilMachine(RuleBasedStateMachine):
    """Rounds made up by Hypothesis, each on the model and on the chain."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.chain, self.stage = stage.chain, stage
        self.now = self.chain.now
        self.snapshot = self.chain.request("evm_snapshot")
        self.salt = 0
        self.proposals: dict[bytes, tuple[Any, ...]] = {}
        self.events: list[Event] = []
        self.seen: Counter[tuple[Any, ...]] = Counter()
        self.view: View | None = None
        self.executed_now = False
        self.model: Council

    def teardown(self) -> None:
        try:
            self.weights_recompute_from_events()
            self.an_auditor_finds_nothing()
        finally:
            self.chain.parts.pop("council", None)
            assert self.chain.request("evm_revert", self.snapshot)

    # -- the chain -------------------------------------------------------------------------------

    def tick(self) -> int:
        """Return the time of the next block."""
        self.now += 1
        self.chain.request("evm_setNextBlockTimestamp", self.now)
        return self.now

    def transact(self, transaction: dict[str, Any]) -> dict[str, Any]:
        """Send a transaction; return its receipt or raise what it reverted with."""
        sent = self.chain.request("eth_sendTransaction", {"gas": hex(16_000_000), **transaction})
        deadline = time.monotonic() + 30
        while (receipt := self.chain.request("eth_getTransactionReceipt", sent)) is None:
            assert time.monotonic() < deadline, "the transaction was never mined"
            time.sleep(0.0005)
        if receipt["status"] != "0x1":
            # By the trace and not by asking again: another block has another time.
            tracer = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
            trace = self.chain.request("debug_traceTransaction", sent, tracer)
            raise Reverted(self.chain.errors[trace["output"][:10]])
        found: dict[str, Any] = receipt
        return found

    def both(
        self,
        predict: Callable[[Council], Any],
        caller: str,
        function: str,
        *arguments: Any,
    ) -> Any:
        """Let the model predict, let the chain act, and compare; return what the model says."""
        council = self.chain.parts["council"]
        self.model, answer, refused = attempt(self.model, predict)
        data = council.data(function, arguments)
        transaction = {"from": caller, "to": council.address, "data": data}
        if refused is not None:
            with pytest.raises(Reverted) as reverted:
                self.transact(transaction)
            assert reverted.value.error == refused
            return None
        skipped = self.note(self.transact(transaction)["logs"])
        if isinstance(answer, list):
            assert skipped == [reason for reason in answer if reason is not None]
        return answer

    def note(self, logs: Sequence[dict[str, Any]]) -> list[int]:
        """Keep what the council announced; return why votes were skipped."""
        skipped = []
        for log in logs:
            if log["address"].lower() != self.chain.parts["council"].address:
                continue
            name, told = self.stage.events.decode(log)
            if (event := history_of(name, told, self.now)) is not None:
                self.events.append(event)
            if name == "VoteSkipped":
                skipped.append(told["reason"])
            if name in ("RoundExecuted", "RoundSettled", "RoundRejected", "RoundOpened"):
                # I2, I7, I8: each of these once a round.
                self.seen[name, told["round"]] += 1
                assert self.seen[name, told["round"]] == 1
            if name == "RoundExecuted":
                self.executed_now = True
            if name == "VoteCast":
                # I5: no nonce twice.
                place = (name, told["round"], told["voter"], told["nonce"])
                self.seen[place] += 1
                assert self.seen[place] == 1
        return skipped

    # -- helping the rules -----------------------------------------------------------------------

    def person(self, number: int) -> str:
        """Return an account; -1 is the zero address, one too many the council itself."""
        if number < 0:
            return NOBODY
        return self.chain.actors[number] if number < PEOPLE else self.model.address

    def ca(self, number: int) -> bytes:
        return STRANGE_CA if number < 0 else CAS[number]

    def pick(self, number: int) -> bytes:
        """Return a round, mostly one that is not settled; one that never was if there is none."""
        living = list(self.model.opened.values())
        known = living if living and number % 4 else list(self.proposals)
        return known[-1 - number % len(known)] if known else b"\x01" * 32

    def proposer(self, number: int, *, decision: bool) -> str:
        """Return who may open a round of this sort; mostly makes way for one if need be."""
        members = self.model.members.items()
        able = {s: m.account for s, m in members if m.role is Role.ROOT or not decision}
        free = [seat for seat in able if (seat, decision) not in self.model.opened]
        if not free and number % 8:
            busy = list(able)[number % len(able)]
            id = self.model.opened[busy, decision]
            if self.model.state(self.model.rounds[id], self.now) is not State.REJECTED:
                left = self.model.rounds[id].proposal.deadline - self.now
                self.sleep(max(left, 1))
            self.end(id)
            free = [busy]
        chosen = list(able) if not number % 8 else free or list(able)
        return able[chosen[number % len(chosen)]]

    def end(self, id: bytes) -> None:
        """Settle a round, or try to."""
        now = self.tick()
        self.both(lambda council: council.settle(id, now), self.chain.actors[-1], "settle", id)

    def call(self, drawn: tuple[str, Any, Any]) -> Call:
        name, number, extra = drawn
        who = self.person(number)
        if 0 <= number < PEOPLE:
            # Whom it can be done to, where there is anybody.
            seated = {member.account for member in self.model.members.values()}
            fitting = [a for a in self.chain.actors if (a in seated) is (name != "addMember")]
            if name in ("removeMember", "setRole") and number % 3 == 0:
                # The last root is the one whom a council can not do without.
                members = self.model.members.values()
                fitting = [m.account for m in members if m.role is Role.ROOT]
            who = fitting[number % len(fitting)] if fitting else who
        ca = self.fitting_ca(name, number)
        role = extra if isinstance(extra, Role) else ROLES[number % 3]
        parameters = extra if isinstance(extra, Parameters) else GOOD[number % len(GOOD)]
        match name:
            case "addMember" | "setRole":
                return Call("council", name, (who, role))
            case "removeMember":
                return Call("council", name, (who,))
            case "setParameters":
                return Call("council", name, (parameters,))
            case "suspend" | "lift" | "close" | "retire":
                return Call("certificates", name, (ca,))
            case "setRevoker":
                return Call("certificates", name, (ca, who, number % 2 == 0))
            case "setRegistrar":
                return Call("devices", name, (who, number % 2 == 0))
            case "setGuardian" | "offerGovernor":
                return Call("domain", name, (who,))
        # None of a council's business: a vote of its own, and what only an operator does.
        if number % 2:
            return Call("council", "settle", (b"\x01" * 32,))
        return Call("devices", "retire", (self.person(0),))

    def fitting_ca(self, name: str, number: int) -> bytes:
        """Return an authority that this can be done to, where there is one."""
        wanted = {
            "suspend": (contract_model.ACTIVE, contract_model.CLOSED),
            "lift": (contract_model.SUSPENDED, contract_model.CLOSED_SUSPENDED),
        }.get(name, (contract_model.ACTIVE, contract_model.SUSPENDED))
        states = self.model.domain.authorities
        fitting = [ca for ca in CAS if states[ca].state in wanted] or list(CAS)
        return fitting[number % len(fitting)]

    def open(
        self, caller: str, kind: Kind, called: Sequence[Call], lasts: int, salt: int | None = None
    ) -> bytes:
        now = self.tick()
        self.salt += 1
        proposal = proposal_abi(
            self.chain, kind, called, now + lasts, self.salt if salt is None else salt
        )
        id = round_id(proposal)
        meant = Proposal(id, kind, tuple(called), now + lasts)
        self.both(lambda council: council.propose(caller, meant, now), caller, "propose", proposal)
        if id in self.model.rounds:
            self.proposals[id] = proposal
        return id

    def votes_of(
        self, id: bytes, drawn: Sequence[tuple[int, int | None, str, int, int]], usual: Choice
    ) -> tuple[list[Vote], list[tuple[Any, ...]]]:
        """Return votes by file as the model and as the chain take them."""
        known = self.model.rounds.get(id)
        nonces: Counter[str] = Counter()
        meant, made = [], []
        for number, choice, flaw, ahead, left in drawn:
            voter = self.person(number)
            seat = None if known is None else known.electorate.get(voter)
            counted = 0 if known is None or seat is None else known.nonces.get(seat, 0)
            nonce = min(max(counted + nonces[voter] + ahead, 0), 255)
            deadline = self.now + 1 + left if left != 1 else self.now + 60 * DAY
            vote = Vote(
                voter, usual if choice is None else choice, nonce, deadline, genuine=not flaw
            )
            meant.append(vote)
            thief = self.person((number + 1) % PEOPLE)
            made.append(signed(self.chain, id, vote, flaw=flaw, thief=thief))
            if not flaw and not ahead and left >= 0:
                nonces[voter] += 1
        return meant, made

    def voting(self, id: bytes, drawn: Sequence[Any]) -> list[Any]:
        """Return the drawn votes, most of them as those of people who have one."""
        known = self.model.rounds.get(id)
        able = [a for a in self.chain.actors if known and self.model.voter(known, a) is not None]
        if not able:
            return list(drawn)
        return [
            (self.chain.actors.index(able[who % len(able)]) if who > 1 else who, *how)
            for who, *how in drawn
        ]

    def everybodys(
        self, id: bytes, choice: Choice, share: int
    ) -> list[tuple[int, None, str, int, int]]:
        """Return who has to sign so that `share` of ten of a round's voters have this choice."""
        known = self.model.rounds[id]
        seats = [
            seat
            for account, seat in known.electorate.items()
            if self.model.voter(known, account) is not None
        ]
        chosen = seats[: -(-len(seats) * share // 10)]
        accounts = {seat: account for account, seat in known.electorate.items()}
        actors = self.chain.actors
        return [
            (actors.index(accounts[seat]), None, "", 0, 1)
            for seat in chosen
            if known.choices.get(seat) is not choice
        ]

    def bring(self, id: bytes, choice: Choice, share: int) -> None:
        meant, made = self.votes_of(id, self.everybodys(id, choice, share), choice)
        now = self.tick()
        stranger = self.chain.actors[-1]
        self.both(lambda council: council.relay(id, meant, now), stranger, "relay", id, made)

    def run(self, id: bytes, votes: Sequence[tuple[int, int | None, str, int, int]] = ()) -> None:
        """Execute a round."""
        proposal, known = self.proposals[id], self.model.rounds[id]
        meant, made = self.votes_of(id, votes, Choice.APPROVE)
        now = self.tick()
        self.both(
            lambda council: council.execute(known.proposal, meant, now),
            self.chain.actors[-1],
            "execute",
            proposal,
            made,
        )

    def sleep(self, seconds: int) -> None:
        self.now += seconds
        self.chain.request("evm_setNextBlockTimestamp", self.now)
        self.chain.request("evm_mine")

    # -- rules -----------------------------------------------------------------------------------

    @initialize(
        roles=st.lists(st.sampled_from([*ROLES, Role.ROOT]), min_size=0, max_size=PEOPLE - 2),
        parameters=st.sampled_from(GOOD[:-2]),
        guardian_only=mostly(False, [True]),
    )
    def found(self, roles: list[Role], parameters: Parameters, guardian_only: bool) -> None:
        """Found a council and, by its first round, make it the governor of its domain."""
        roles = [Role.ROOT, *roles]
        founders = [(self.chain.actors[seat], role) for seat, role in enumerate(roles)]
        domain = self.chain.parts["domain"]
        now = self.tick()
        arguments = encode(
            ["address", "(address,uint8)[]", PARAMETERS],
            [domain.address, [(a, int(r)) for a, r in founders], parameters_abi(parameters)],
        )
        governor = self.stage.governor
        data = "0x" + (self.stage.code + arguments).hex()
        receipt = self.transact({"from": governor, "data": data})
        address = receipt["contractAddress"].lower()
        self.chain.parts["council"] = Contract(address, FUNCTIONS)
        self.note(receipt["logs"])
        known = contract_model.Domain(governor, governor, set())
        for key in KEYS:
            known.register(governor, 1, key, b"\x42" * 32, bytes(32), governor, 60)
        self.model = Council.founded(address, known, founders, parameters, now)
        for function in ("setGuardian", "offerGovernor"):
            self.tick()
            data = domain.data(function, [address])
            self.transact({"from": governor, "to": domain.address, "data": data})
        known.set_guardian(governor, address)
        known.offer_governor(governor, address)
        if not guardian_only:
            self.decide(0, [("accept", 0, None)], 0)

    @rule(number=picks, drawn=st.lists(calls(), min_size=1, max_size=2), short=mostly(0, [1, 2]))
    def decide(self, number: int, drawn: list[tuple[str, Any, Any]], short: int) -> None:
        """Open a decision, and let everybody agree and wait, or nearly."""
        called = [
            Call("domain", "acceptGovernor", ()) if one[0] == "accept" else self.call(one)
            for one in drawn
        ]
        id = self.open(self.proposer(number, decision=True), Kind.DECISION, called, 10 * DAY)
        if id not in self.model.rounds:
            return
        self.bring(id, Choice.APPROVE, 10 - short)
        self.sleep(self.model.rounds[id].delay)
        self.run(id)

    @rule(
        number=picks,
        wrong=mostly(None, range(PEOPLE)),
        drawn=st.lists(calls(), max_size=2),
        lasts=mostly(10 * DAY, [0, 1, DAY, DAY + 1, 30 * DAY, 31 * DAY]),
        again=mostly(False, [True]),
    )
    def propose(
        self,
        number: int,
        wrong: int | None,
        drawn: list[tuple[str, Any, Any]],
        lasts: int,
        again: bool,
    ) -> None:
        """Open a decision, by whoever may or may not."""
        caller = self.proposer(number, decision=True) if wrong is None else self.person(wrong)
        if again and self.proposals:
            id = self.pick(number)
            proposal, known = self.proposals[id], self.model.rounds[id]
            now = self.tick()
            self.both(
                lambda council: council.propose(caller, known.proposal, now),
                caller,
                "propose",
                proposal,
            )
            return
        self.open(caller, Kind.DECISION, [self.call(one) for one in drawn], lasts)

    @rule(
        number=picks,
        kind=st.sampled_from([Kind.SUSPENSION, Kind.LIFT]),
        ca=authorities,
        wrong=mostly("", ["decision", "two", "kind", "none"]),
        share=st.integers(0, 10),
        then_run=st.sampled_from([None, 0, -1, 0]),
    )
    def alarm(
        self, number: int, kind: Kind, ca: int, wrong: str, share: int, then_run: int | None
    ) -> None:
        """Suspend an authority or lift it, with some of the votes.

        At once, or in the last second in which the authority cools or the one after.
        """
        name = "suspend" if (kind is Kind.SUSPENSION) is not (wrong == "kind") else "lift"
        called = [Call("certificates", name, (self.ca(ca),))]
        if wrong == "decision":
            called = [Call("devices", "setRegistrar", (self.person(0), False))]
        if wrong == "two":
            called = called * 2
        if wrong == "none":
            called = []
        id = self.open(self.proposer(number, decision=False), kind, called, 2 * DAY)
        if id not in self.model.rounds:
            return
        if share:
            self.bring(id, Choice.APPROVE, share)
        if then_run is not None:
            left = self.model.cooling.get(self.ca(ca), 0) + then_run - 1 - self.now
            if kind is Kind.SUSPENSION and left > 0:
                self.sleep(left)
            self.run(id)

    @rule(number=picks, who=people, choice=choices)
    def vote(self, number: int, who: int, choice: Choice) -> None:
        id, caller = self.pick(number), self.person(who)
        now = self.tick()
        self.both(
            lambda council: council.vote(caller, id, choice, now), caller, "vote", id, int(choice)
        )

    @rule(number=picks, drawn=st.lists(brought, max_size=5), usual=choices)
    def relay(self, number: int, drawn: list[Any], usual: Choice) -> None:
        id = self.pick(number)
        meant, made = self.votes_of(id, self.voting(id, drawn), usual)
        now = self.tick()
        stranger = self.chain.actors[-1]
        self.both(lambda council: council.relay(id, meant, now), stranger, "relay", id, made)

    @precondition(lambda self: self.proposals)
    @rule(number=picks, choice=choices, share=st.integers(1, 10))
    def most_vote(self, number: int, choice: Choice, share: int) -> None:
        self.bring(self.pick(number), choice, share)

    @precondition(lambda self: self.proposals)
    @rule(number=picks, drawn=st.lists(brought, max_size=2), patient=st.booleans())
    def execute(self, number: int, drawn: list[Any], patient: bool) -> None:
        id = self.pick(number)
        if patient:
            self.sleep(self.model.rounds[id].delay)
        self.run(id, self.voting(id, drawn))

    @rule(number=picks)
    def settle(self, number: int) -> None:
        self.end(self.pick(number))

    @rule(number=picks, who=people)
    def settle_a_rejection(self, number: int, who: int) -> None:
        """Propose, let some reject, and settle: what a third alone must gain nothing by."""
        id = self.open(
            self.proposer(number, decision=True),
            Kind.DECISION,
            [self.call(("suspend", who, None))],
            DAY,
        )
        if id not in self.model.rounds:
            return
        self.bring(id, Choice.REJECT, number % 11)
        self.end(id)

    @rule(
        number=picks,
        first=calls(),
        meanwhile=st.sampled_from(["removeMember", "addMember", "setRole", "setParameters"]),
        who=st.lists(people, min_size=1, max_size=2),
        choice=st.sampled_from([Choice.APPROVE, Choice.APPROVE, Choice.REJECT]),
        share=st.integers(0, 10),
    )
    def change_meanwhile(
        self,
        number: int,
        first: tuple[str, Any, Any],
        meanwhile: str,
        who: list[int],
        choice: Choice,
        share: int,
    ) -> None:
        """I6: while a round is open, members come and go by another one."""
        id = self.open(
            self.proposer(number, decision=True), Kind.DECISION, [self.call(first)], 9 * DAY
        )
        if id not in self.model.rounds:
            return
        self.bring(id, choice, share)
        changes = [(meanwhile, one, ROLES[one % 3]) for one in who]
        self.decide(number + 1, changes, 0)
        self.sleep(12 * HOUR)
        if self.model.rounds[id].settled:
            return
        if self.now < self.model.rounds[id].proposal.deadline:
            self.bring(id, choice, 10)
        if choice is Choice.APPROVE:
            self.sleep(self.model.rounds[id].delay)
            self.run(id)
        else:
            self.end(id)

    @rule(seconds=durations)
    def wait(self, seconds: int) -> None:
        self.sleep(seconds)

    @rule(who=people, drawn=calls().filter(lambda drawn: drawn[0] in OWN))
    def overreach(self, who: int, drawn: tuple[str, Any, Any]) -> None:
        """M6: members and parameters are nobody's to change but a round's."""
        call, caller = self.call(drawn), self.person(who)
        council = self.chain.parts["council"]
        arguments = [parameters_abi(a) if isinstance(a, Parameters) else a for a in call.arguments]
        self.tick()
        data = council.data(call.function, arguments)
        with pytest.raises(Reverted) as reverted:
            self.transact({"from": caller, "to": council.address, "data": data})
        assert reverted.value.error == "RootCouncilUnauthorized"

    # -- after each step -------------------------------------------------------------------------

    @invariant()
    def the_chain_is_what_the_model_says(self) -> None:
        if "council" not in self.chain.parts:
            return
        before, executed = self.view, self.executed_now
        rounds = list(self.proposals)
        living = set(self.model.opened.values())
        voting = [id for id in rounds if id in living] + [id for id in rounds if id not in living][
            -3:
        ]
        self.view = look(self.chain, self.chain.actors, rounds, voting, CAS, before)
        self.executed_now = False
        self.check_against_the_model(self.view)
        check_promises(self.view)
        if before is not None:
            check_history(before, self.view, executed=executed)

    def check_against_the_model(self, view: View) -> None:
        model = self.model
        assert view.current == len(model.tables)
        for told, frozen in zip(view.tables, model.tables, strict=True):
            table = frozen.table
            assert told == (
                pack(table.weights),
                table.electorate,
                table.heads,
                table.cap,
                table.total,
                frozen.rule,
                frozen.faults,
            )
        assert view.parameters == model.parameters
        assert view.last_moved == model.last_moved
        for person, told_member in view.members.items():
            seat = model.seat_of(person)
            if seat is None:
                assert told_member is None
            else:
                member = model.members[seat]
                assert told_member == (seat, member.role, member.since)
        for id, current in model.rounds.items():
            self.check_round(view, id, current)
        for person, opened in view.opened.items():
            seat = model.seat_of(person)
            assert opened == tuple(
                bytes(32) if seat is None else model.opened.get((seat, decision), bytes(32))
                for decision in (True, False)
            )
        assert view.cooling == {ca: model.cooling.get(ca, 0) for ca in CAS}
        domain = model.domain
        governor, offered, guardian, issuers, registrars = view.domain
        assert (governor, offered, guardian) == (domain.governor, domain.offered, domain.guardian)
        assert [issuer[4] for issuer in issuers] == [domain.authorities[ca].state for ca in CAS]
        assert set(registrars) == domain.registrars & set(self.chain.actors)

    def check_round(self, view: View, id: bytes, current: Any) -> None:
        told = view.rounds[id]
        approvals, rejections = current.tally(Choice.APPROVE), current.tally(Choice.REJECT)
        struck = current.struck_tally
        assert told.kind == current.proposal.kind
        assert told.state == self.model.state(current, self.now)
        assert told.settled == current.settled
        assert (told.proposer, told.table) == (current.proposer, current.number)
        assert (told.delay, told.deadline) == (current.delay, current.proposal.deadline)
        assert (told.opened_at, told.approved_at) == (current.opened, current.approved_at)
        assert told.approvals == bitmap(current.seats(Choice.APPROVE))
        assert told.rejections == bitmap(current.seats(Choice.REJECT))
        assert told.struck == bitmap(current.struck)
        assert Tally(told.approval_weight, told.approval_heads) == approvals
        assert Tally(told.rejection_weight, told.rejection_heads) == rejections
        assert Tally(told.struck_weight, told.struck_heads) == struck
        for person in self.chain.actors:
            if (id, person) not in view.votes:
                continue
            seat = self.model.voter(current, person)
            expected = (
                (Choice.NONE, 0)
                if seat is None
                else (current.choices.get(seat, Choice.NONE), current.nonces.get(seat, 0))
            )
            assert view.votes[id, person] == expected

    def weights_recompute_from_events(self) -> None:
        """Whoever has the events has the weights (dpki.council.recompute), to the bit."""
        if self.view is None:
            return
        recomputed = recompute(self.events)
        assert recomputed.differences == ()
        assert len(recomputed.moments) == self.view.current
        for moment, told in zip(recomputed.moments, self.view.tables, strict=True):
            assert (pack(moment.table.weights), moment.table.cap) == (told[0], told[3])
        assert recomputed.parameters == self.view.parameters

    def an_auditor_finds_nothing(self) -> None:
        """Whatever happened, its replay comes to the state that the chain holds."""
        if self.view is None:
            return
        chain, council = self.chain, self.chain.parts["council"].address
        report = audit_chain(chain.url, chain.chain_id, chain.parts["domain"].address)
        (found,) = report.councils.values()
        assert str(found.address).lower() == council
        assert found.ledger.number == self.view.current


OWN = ("addMember", "removeMember", "setRole", "setParameters")
BOUNDS = "(uint16,uint16,uint16)"
PARAMETERS = (
    f"({BOUNDS},{BOUNDS},{BOUNDS},uint16,uint16,uint16,uint16,"
    "uint32,uint32,uint32,uint32,uint32,uint32,uint8,uint8)"
)
FUNCTIONS: dict[str, tuple[bytes, list[str], list[str]]] = {}


def bitmap(seats: set[int]) -> int:
    return sum(1 << seat for seat in seats)


def check_promises(view: View) -> None:
    """What holds at every block, by the chain's own words."""
    words, electorate, heads, cap, total, told_rule, faults = view.tables[-1]
    weights = [words[seat // 16] >> 16 * (seat % 16) & 0xFFFF for seat in range(SEATS)]
    members = {told[0]: told for told in view.members.values() if told is not None}
    # M1, M3
    assert len(members) == sum(1 for told in view.members.values() if told is not None)
    assert electorate == bitmap(set(members))
    assert heads == len(members)
    for seat, weight in enumerate(weights):
        if seat not in members:
            assert weight == 0
        else:
            bounds = view.parameters.bounds(Role(members[seat][1]))
            assert bounds.minimum <= weight <= bounds.maximum
    # M4
    counted = [min(weight, cap) for weight in weights]
    assert sum(counted) == total
    if told_rule == Rule.MORE_THAN_TWO_THIRDS and heads >= 4:
        assert all(3 * weight < total for weight in counted)
    # M5
    everybody = Tally(total, heads)
    assert Question(Kind.DECISION, Rule(told_rule), faults).passes(everybody, everybody)
    assert any(told[1] == Role.ROOT for told in members.values())
    for told in view.rounds.values():
        # I4
        maps = (told.approvals, told.rejections, told.struck)
        assert sum(m.bit_count() for m in maps) == (maps[0] | maps[1] | maps[2]).bit_count()
        frozen = view.tables[told.table - 1]
        for seats, weight, count in (
            (told.approvals, told.approval_weight, told.approval_heads),
            (told.rejections, told.rejection_weight, told.rejection_heads),
            (told.struck, told.struck_weight, told.struck_heads),
        ):
            assert seats & ~frozen[1] == 0
            assert count == seats.bit_count()
            row = [
                min(frozen[0][seat // 16] >> 16 * (seat % 16) & 0xFFFF, frozen[3])
                for seat in range(SEATS)
                if seats >> seat & 1
            ]
            assert weight == sum(row)


def check_execution(told: ToldRound, after: View) -> None:
    """I2: executed in its time, and with votes that suffice; what was struck, the round struck."""
    assert told.settled
    assert told.opened_at <= told.approved_at
    assert told.approved_at + told.delay < told.deadline
    _, _, heads, _, total, told_rule, faults = after.tables[told.table - 1]
    weight = told.approval_weight + told.struck_weight
    count = told.approval_heads + told.struck_heads
    question = Question(Kind(told.kind), Rule(told_rule), faults)
    assert question.passes(Tally(weight, count), Tally(total, heads))


def check_history(before: View, after: View, *, executed: bool) -> None:
    """What never goes back, and what only an executed round changes, by the chain's own words."""
    # M2, I6
    assert after.tables[: len(before.tables)] == before.tables
    for id, told in after.rounds.items():
        was = before.rounds.get(id)
        if told.state == State.EXECUTED and (was is None or was.state != State.EXECUTED):
            check_execution(told, after)
        if was is None:
            continue
        assert (told.table, told.delay, told.deadline) == (was.table, was.delay, was.deadline)
        assert told.struck & was.struck == was.struck
        # I7, I8
        if was.state in (State.EXECUTED, State.REJECTED):
            assert told.state == was.state
        if was.settled:
            assert told == was
    # I5
    for place, (_, nonce) in before.votes.items():
        counted = after.votes.get(place, (0, 0))
        assert counted[1] >= nonce or counted == (0, 0)
    # I1, M6
    if not executed:
        assert after.domain == before.domain
        assert after.members == before.members
        assert after.parameters == before.parameters
        assert after.cooling == before.cooling
    assert after.last_moved >= before.last_moved


@pytest.fixture
def stage(project: Any, chain: Any, accounts: Any) -> Stage:
    """Deploy a domain with two authorities."""
    compile_fresh(project)
    governor = accounts[PEOPLE]
    domain = project.TrustDomain.deploy(governor, governor, [], sender=governor)
    instances = {
        "domain": domain,
        "authorities": project.AuthorityRegistry.at(domain.authorities()),
        "certificates": project.CertificateRegistry.at(domain.certificates()),
        "devices": project.DeviceRegistry.at(domain.devices()),
    }
    for key in KEYS:
        instances["authorities"].register(
            1, key, b"\x42" * 32, bytes(32), governor, 60, sender=governor
        )
    council_type = project.RootCouncil.contract_type
    errors = {}
    for errors_of in (council_type, *(i.contract_type for i in instances.values())):
        for error in errors_of.errors:
            errors["0x" + keccak(error.selector.encode())[:4].hex()] = error.name
    for method in [*council_type.view_methods, *council_type.mutable_methods]:
        inputs = [part.canonical_type for part in method.inputs]
        outputs = [part.canonical_type for part in method.outputs]
        FUNCTIONS[method.name] = (keccak(method.selector.encode())[:4], inputs, outputs)
    people = [accounts[number] for number in range(PEOPLE)]
    return Stage(
        chain=Chain(
            url=chain.provider.uri,
            chain_id=chain.chain_id,
            parts={name: Contract.of(instance) for name, instance in instances.items()},
            errors=errors,
            actors=[str(person.address).lower() for person in people],
            keys={str(person.address).lower(): person.private_key for person in people},
        ),
        governor=str(governor.address).lower(),
        code=bytes(council_type.deployment_bytecode.to_bytes()),
        events=Events.of(council_type),
    )


@pytest.mark.slow
@pytest.mark.timeout(300 + EXAMPLES * STEPS // 2)
def test_the_council_does_what_the_model_says(stage: Stage) -> None:
    """I1 to I9 of RootCouncil.sol, M1 to M6 of CouncilMembers.sol."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: CouncilMachine(stage),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # A failing story is short enough to read; making it shorter takes minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
