"""T12: who steals one root's key can't add trust, nor anything else that the governor may.

Against a real chain, with the contracts' own words: the thief has root 1's wallet and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

import pytest

from dpki.chain.domain import fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.council.casting import CouncilDesk, RoundPlan
from dpki.council.history import Choice
from dpki.council.parameters import DEFAULTS
from dpki.council.reading import COUNCIL, dump_parameters, fetch_round
from dpki.council.roles import fetch_roles
from dpki.council.rounds import Proposal, State
from dpki.council.routing import Governance
from dpki.council.votes import RoundFile, Vote, sign_vote
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.errors import TransactionForbidden, TransactionReverted
from dpki.model import Address, AuthorityId, AuthorityKind, Hash32
from dpki.transactions.actions import DomainCalls
from dpki.transactions.calls import encode_call, encode_deployment
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.governed import GovernanceCall
from dpki.transactions.writer import DomainWriter
from tests.domains import ISSUER_KEY, LIFETIME

COUNT, STOLEN = 4, 1
HONEST = (0, 2, 3)


@dataclass(frozen=True)
class Heist:
    """A domain under a council of four roots, and what the thief has."""

    governances: tuple[Governance, ...]
    council: Address

    @property
    def loot(self) -> Governance:
        return self.governances[STOLEN]

    def desk(self, member: int) -> CouncilDesk:
        governance = self.governances[member]
        return CouncilDesk(governance.reader, governance.writer, self.council)

    @property
    def calls(self) -> DomainCalls:
        return DomainCalls(self.loot.domain)

    def own_ca(self) -> tuple[AuthorityId, GovernanceCall]:
        """The thief's own CA, and what would register it."""
        key = b"a thief's key".ljust(91)
        register = self.calls.register_authority(
            AuthorityKind.SSH_USER,
            key,
            ISSUER_KEY,
            operator=self.loot.account,
            maximum_lifetime=LIFETIME,
        )
        return AuthorityId(sha256(key).digest()), register

    def is_registered(self, ca: AuthorityId) -> bool:
        return ca in fetch_snapshot(self.loot.reader, self.loot.domain).authorities


@pytest.fixture(scope="module")
def heist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heist]:
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil, Endpoint(anvil.url) as endpoint:
        wallets = [development_wallet(i, chain_id=CHAIN_ID) for i in range(COUNT)]
        first = wallets[0]
        domain_id, _ = deploy_domain(endpoint, first, governor=first.address)
        domain = fetch_domain(endpoint, domain_id)
        writers = [DomainWriter(endpoint, domain, wallet) for wallet in wallets]
        founders = [(str(wallet.address), 3) for wallet in wallets]
        parameters = dump_parameters(replace(DEFAULTS, delay=0))
        code = encode_deployment(COUNCIL, str(domain.id.address), founders, parameters)
        council, _ = writers[0].deploy(code)
        writers[0].set_guardian(council)
        writers[0].offer_governor(council)
        for writer in writers[:3]:
            Governance(endpoint, writer, fetch_roles(endpoint, domain)).accept_governor()
        roles = fetch_roles(endpoint, domain)
        assert roles.governor.address == council
        yield Heist(tuple(Governance(endpoint, w, roles) for w in writers), council)


def test_the_domain_refuses_the_thief_itself(heist: Heist) -> None:
    thief, calls = heist.loot.account, heist.calls
    ca, register = heist.own_ca()
    for call in (
        register,
        calls.set_registrar(thief, allowed=True),
        calls.set_guardian(thief),
        calls.offer_governor(thief),
        calls.accept_governor(),
    ):
        with pytest.raises(TransactionForbidden):
            heist.loot.writer.send(call)
    for function, *arguments in (
        ("addMember", str(Address(b"\7" * 20)), 3),
        ("removeMember", str(thief)),
    ):
        own = GovernanceCall(heist.council, encode_call(COUNCIL, str(function), *arguments))
        with pytest.raises(TransactionForbidden):
            heist.loot.writer.send(own)
    assert not heist.is_registered(ca)


def test_a_round_of_the_thiefs_does_not_pass(heist: Heist) -> None:
    ca, register = heist.own_ca()
    governed = heist.loot.route([register]).make([register])
    assert governed.pending is not None
    assert governed.pending.missing
    desk = heist.desk(STOLEN)
    case = desk.find(RoundPlan.of([register]))
    assert case is not None
    found, proposal = case
    with pytest.raises(TransactionReverted, match="RootCouncilUnexpectedState"):
        desk.writer.send(desk.execution(proposal))
    forged = [forge(heist, proposal, member) for member in HONEST]
    with pytest.raises(TransactionReverted, match="RootCouncilUnexpectedState"):
        desk.writer.send(desk.execution(proposal, forged))
    desk.writer.send(desk.bringing(found.id, forged))
    assert standing(heist, found.id) is State.OPEN
    for member in HONEST:
        other = heist.desk(member)
        other.writer.send(other.voting(found.id, Choice.REJECT))
    assert standing(heist, found.id) is State.REJECTED
    assert not heist.is_registered(ca)


def test_what_others_signed_for_another_round_does_not_count(heist: Heist) -> None:
    """The honest roots agree to one thing by file; the thief brings their votes for another."""
    calls = heist.calls
    wanted = [calls.set_registrar(heist.governances[0].account, allowed=True)]
    honest, thief = heist.desk(2), heist.desk(STOLEN)
    proposal, _ = honest.open(RoundPlan.of(wanted))
    votes = [sign(heist, proposal, member) for member in HONEST]
    for step in heist_settled(heist):
        thief.writer.send(step)
    other, _ = thief.open(RoundPlan.of([calls.set_registrar(heist.loot.account, allowed=True)]))
    thief.writer.send(thief.bringing(other.id, votes))
    thief.writer.send(thief.bringing(other.id, [replace(vote, round=other.id) for vote in votes]))
    assert standing(heist, other.id) is State.OPEN
    # And they do count where they belong.
    honest.writer.send(honest.execution(proposal, votes))
    assert standing(heist, proposal.id) is State.EXECUTED


def test_one_root_does_not_even_suspend(heist: Heist) -> None:
    writer = heist.governances[0]
    key = b"an honest key".ljust(91)
    mine = heist.calls.register_authority(
        AuthorityKind.SSH_USER,
        key,
        ISSUER_KEY,
        operator=writer.account,
        maximum_lifetime=timedelta(days=1),
    )
    for member in HONEST:
        heist.governances[member].route([mine]).make([mine])
    ca = AuthorityId(sha256(key).digest())
    assert heist.is_registered(ca)
    assert heist.loot.suspend(ca).pending is not None
    snapshot = fetch_snapshot(heist.loot.reader, heist.loot.domain)
    assert snapshot.authorities[ca].state.is_trusted
    assert heist.governances[2].suspend(ca).pending is None


def sign(heist: Heist, proposal: Proposal, member: int, by: int | None = None) -> Vote:
    about = RoundFile(heist.loot.domain.id, heist.council, proposal)
    wallet = development_wallet(member if by is None else by, chain_id=CHAIN_ID)
    return sign_vote(wallet, about, Choice.APPROVE, nonce=0, deadline=proposal.deadline)


def forge(heist: Heist, proposal: Proposal, member: int) -> Vote:
    """A vote in another's name that the thief signed."""
    vote = sign(heist, proposal, member, by=STOLEN)
    return replace(vote, voter=heist.governances[member].account)


def standing(heist: Heist, identifier: Hash32) -> State:
    view, council = heist.desk(0).look()
    return fetch_round(view, council, identifier).state


def heist_settled(heist: Heist) -> list[GovernanceCall]:
    """What makes room for another round of the thief's."""
    desk = heist.desk(STOLEN)
    view, _ = desk.look()
    before = Hash32(view.one("openRoundsOf", str(heist.loot.account))["decision"])
    return [desk.settling(before)] if any(before) else []
