"""A council on the tests' trust domain: its members, its rounds, and votes by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak
from eth_keys import keys

from tests.contracts import reference
from tests.contracts.conftest import World, deploy_world

DAY = 86_400
HOUR = 3_600


class Role(IntEnum):
    NONE = 0
    ORDINARY = 1
    INTERMEDIATE = 2
    ROOT = 3


class Kind(IntEnum):
    DECISION = 0
    SUSPENSION = 1
    LIFT = 2


class RoundState(IntEnum):
    UNKNOWN = 0
    OPEN = 1
    APPROVED = 2
    REJECTED = 3
    EXPIRED = 4
    EXECUTED = 5


class Choice(IntEnum):
    NONE = 0
    APPROVE = 1
    REJECT = 2


class Rule(IntEnum):
    MORE_THAN_TWO_THIRDS = 0
    SLIDE = 1


class Effect(IntEnum):
    UNKNOWN = 0
    ADDS = 1
    REMOVES = 2


class Skipped(IntEnum):
    NOT_A_VOTER = 0
    WRONG_NONCE = 1
    LATE = 2
    INVALID_SIGNATURE = 3
    NOTHING_CHANGED = 4
    NONCES_EXHAUSTED = 5
    INVALID_CHOICE = 6


@dataclass(frozen=True)
class Parameters:
    """What the contract takes, in its order."""

    ordinary: tuple[int, int, int] = (20, 5, 40)
    intermediate: tuple[int, int, int] = (60, 20, 90)
    root: tuple[int, int, int] = (100, 50, 150)
    gain: int = 1
    against: int = 5
    absent: int = 2
    seniority: int = 1
    senior_after: int = 180 * DAY
    epoch: int = DAY
    attendance: int = 12 * HOUR
    delay: int = DAY
    cooling: int = DAY
    longest: int = 30 * DAY
    rule: int = Rule.MORE_THAN_TWO_THIRDS
    faults: int = 0

    @property
    def abi(self) -> tuple[Any, ...]:
        """The parameters as the contract takes them."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


#: Weights that never move, for tests of something else.
STILL = Parameters(gain=0, against=0, absent=0, seniority=0)


@dataclass(frozen=True)
class Member:
    """Somebody who may have a seat."""

    world: World
    address: str
    key: str = ""

    @property
    def account(self) -> Any:
        """What sends transactions: Anvil asks for no key. Funded anew, as tests are taken back."""
        provider = self.world.chain.provider
        provider.make_request("anvil_setBalance", [self.address, hex(10**24)])
        return provider.account_manager[self.address]


@dataclass(frozen=True)
class Opened:
    """A round that was opened."""

    id: bytes
    proposal: tuple[Any, ...]
    receipt: Any = None


Call = tuple[str, bytes]
PROPOSAL = "(uint8,(address,bytes)[],uint64,bytes32)"


def round_id(proposal: tuple[Any, ...]) -> bytes:
    """Return a round's id as docs/formats.md has it."""
    return bytes(keccak(encode([PROPOSAL], [proposal])))


def make_member(world: World, number: int) -> Member:
    """Return an account that anybody who runs these tests could have."""
    key = keccak(b"a member's key %d" % number)
    address = keys.PrivateKey(key).public_key.to_checksum_address()
    return Member(world, address, key.hex())


@dataclass
class Council:
    """A council and those who sit in it at its founding, each in the seat of its place."""

    world: World
    contract: Any
    members: list[Member]
    _salts: int = field(default=0)

    # -- calls ---------------------------------------------------------------------------------

    def call(self, method: Any, *arguments: Any) -> Call:
        """Return a call of a round."""
        return (str(method.contract.address), bytes(method.encode_input(*arguments)))

    def own(self, function: str, *arguments: Any) -> Call:
        """Return a call of the council itself."""
        plain = [a.address if isinstance(a, Member) else a for a in arguments]
        return self.call(getattr(self.contract, function), *plain)

    def removing(self) -> Call:
        """Return a call that waits for nothing, succeeds always, and nobody notices."""
        return self.call(self.world.devices.setRegistrar, self.world.stranger, False)

    def adding(self) -> Call:
        """Return a call that waits, and succeeds always."""
        return self.call(self.world.devices.setRegistrar, self.world.newcomer, True)

    # -- rounds --------------------------------------------------------------------------------

    def proposal(
        self, *calls: Call, kind: Kind = Kind.DECISION, lasts: int = 7 * DAY, salt: Any = None
    ) -> tuple[Any, ...]:
        """Return a proposal; its salt is fresh unless given."""
        self._salts += 1
        salt = self._salts if salt is None else salt
        return (kind, list(calls), self.world.now + lasts, reference.word(salt))

    def propose(
        self, *calls: Call, by: int | Member = 0, kind: Kind = Kind.DECISION, lasts: int = 7 * DAY
    ) -> Opened:
        """Open a round as the member of a seat."""
        proposal = self.proposal(*calls, kind=kind, lasts=lasts)
        receipt = self.contract.propose(proposal, sender=self.who(by).account)
        return Opened(round_id(proposal), proposal, receipt)

    def alarm(
        self, kind: Kind, by: int = 0, ca: bytes | None = None, lasts: int = 7 * DAY
    ) -> Opened:
        """Open a round that suspends or lifts an authority."""
        ca = self.world.ca if ca is None else ca
        name = "suspend" if kind == Kind.SUSPENSION else "lift"
        method = getattr(self.world.certificates, name)
        return self.propose(self.call(method, ca), by=by, kind=kind, lasts=lasts)

    def vote(self, opened: Opened, choice: Choice, *voters: int | Member) -> Any:
        """Vote directly, one after the other; return the last receipt."""
        receipt = None
        for voter in voters:
            receipt = self.contract.vote(opened.id, choice, sender=self.who(voter).account)
        return receipt

    def approve(self, opened: Opened, *voters: int | Member) -> Any:
        return self.vote(opened, Choice.APPROVE, *voters)

    def reject(self, opened: Opened, *voters: int | Member) -> Any:
        return self.vote(opened, Choice.REJECT, *voters)

    def withdraw(self, opened: Opened, *voters: int | Member) -> Any:
        return self.vote(opened, Choice.NONE, *voters)

    def relay(self, opened: Opened, *votes: tuple[Any, ...]) -> Any:
        return self.contract.relay(opened.id, list(votes), sender=self.world.stranger)

    def execute(self, opened: Opened, *votes: tuple[Any, ...]) -> Any:
        return self.contract.execute(opened.proposal, list(votes), sender=self.world.stranger)

    def settle(self, opened: Opened) -> Any:
        return self.contract.settle(opened.id, sender=self.world.stranger)

    def decide(self, *calls: Call, by: int = 0, voters: Sequence[int] | None = None) -> Any:
        """Bring calls about: propose, approve by everybody, wait, execute; return the receipt."""
        opened = self.propose(*calls, by=by)
        seats = range(len(self.members)) if voters is None else voters
        self.relay(opened, *[self.signed(opened, seat) for seat in seats])
        if delay := self.round(opened).delay:
            self.wait(delay)
        return self.execute(opened)

    def signed(
        self,
        opened: Opened,
        voter: int | Member,
        choice: int = Choice.APPROVE,
        nonce: int = 0,
        deadline: int | None = None,
        *,
        chain_id: int | None = None,
        contract: str | None = None,
        signer: Member | None = None,
        round: bytes | None = None,
    ) -> tuple[Any, ...]:
        """Return a vote by file; the keywords sign something else."""
        member = self.who(voter)
        deadline = self.world.now + 60 * DAY if deadline is None else deadline
        digest = reference.vote_digest(
            self.world.chain.chain_id if chain_id is None else chain_id,
            str(self.contract.address) if contract is None else contract,
            opened.id if round is None else round,
            member.address,
            choice,
            nonce,
            deadline,
        )
        signature = reference.sign((signer or member).key, digest)
        return (member.address, choice, nonce, deadline, signature)

    # -- what there is -------------------------------------------------------------------------

    def who(self, member: int | Member) -> Member:
        return self.members[member] if isinstance(member, int) else member

    def round(self, opened: Opened) -> Any:
        return self.contract.round(opened.id)

    def state(self, opened: Opened) -> RoundState:
        return RoundState(self.contract.stateOf(opened.id))

    @property
    def table(self) -> Any:
        """The table that stands."""
        return self.contract.table(self.contract.currentTable())

    def weights(self) -> list[int]:
        """Return the weights of all seats up to the last one taken."""
        return unpack(self.table.weights)

    def wait(self, seconds: int) -> None:
        self.world.chain.pending_timestamp += seconds
        self.world.chain.mine()


def revert_data(error: Any, *values: Any) -> bytes:
    """Return what a contract answers that reverts with this error."""
    types = [part.canonical_type for part in error.abi.inputs]
    return bytes(keccak(error.abi.selector.encode())[:4]) + encode(types, values)


def unpack(words: Sequence[int]) -> list[int]:
    """Return weights of a table, without the free seats at its end."""
    weights = [words[seat // 16] >> 16 * (seat % 16) & 0xFFFF for seat in range(128)]
    while weights and not weights[-1]:
        weights.pop()
    return weights


def found(
    world: World,
    roles: Sequence[Role],
    parameters: Parameters | None = None,
    *,
    members: Sequence[Member] | None = None,
) -> Council:
    """Found a council; it has no role in the domain yet."""
    members = [make_member(world, n) for n in range(len(roles))] if members is None else members
    founders = [(member.address, role) for member, role in zip(members, roles, strict=True)]
    contract = world.project.RootCouncil.deploy(
        world.domain, founders, (parameters or Parameters()).abi, sender=world.stranger
    )
    return Council(world, contract, list(members))


def another(world: World) -> World:
    """Return another domain with two authorities, for a council that is not the module's."""
    fresh = deploy_world(world.project, world.chain, world.roles.values())
    fresh.ca, fresh.other_ca = fresh.register(), fresh.register(operator=fresh.other_operator)
    return fresh


def govern(council: Council, voters: Sequence[int] | None = None) -> Council:
    """Make it governor and guardian, as an organisation does: an offer, a round that accepts."""
    world = council.world
    world.domain.setGuardian(council.contract, sender=world.governor)
    world.domain.offerGovernor(council.contract, sender=world.governor)
    council.decide(council.call(world.domain.acceptGovernor), voters=voters)
    return council
