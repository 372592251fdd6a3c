"""T4: witnesses beside endpoints, or instead of their agreement, and what liars can do.

Nothing gets in by fewer than k witnesses, whatever all endpoints say; nor by k of them, where
what they signed is not the chain that the endpoints prove. Silence only delays, and is reported.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.observation import Observation
from dpki.agent.observe import observe
from dpki.agent.opened import OpenedBundles
from dpki.agent.state import AgentState, open_state
from dpki.agent.witnessed import ARCHIVE, Vouching
from dpki.certificates.keys import spki_of
from dpki.chain import layout
from dpki.chain.connect import Connection
from dpki.chain.domain import fetch_domain
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Call, RpcError
from dpki.config.device import Access, DeviceConfig
from dpki.config.finality import Finality
from dpki.config.witnesses import Mode, Witness, Witnesses
from dpki.devices.keys import generate_device_keys
from dpki.errors import CouldNotCheck
from dpki.model import AuthorityState, Block, DeviceState, Hash32
from dpki.verification.checkpoint import Checkpoint
from dpki.witness.connect import SignedPanel, read_signed
from dpki.witness.source import LATEST, folder_of
from tests.fakes.chain import START, FakeChain, entries
from tests.fakes.proving import ProvingChain, Tell, sources, truth
from tests.witnesses import Witnessing

KEY = Ed25519PrivateKey.generate()
THIEF = Ed25519PrivateKey.generate()
MODES = pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)


@dataclass
class World:
    """A chain with one CA and one device, three witnesses of whom two are needed, and an agent."""

    folder: Path
    mode: Mode
    chain: ProvingChain = field(default_factory=ProvingChain)
    now: datetime = START + timedelta(minutes=30)
    before: Observation | None = None
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        self.keys = generate_device_keys()
        self.witnesses = [Witnessing(name) for name in ("a", "b", "c")]
        self.ca = self.chain.register(spki_of(KEY.public_key()))
        self.chain.enroll(self.keys.address, Hash32(b"\7" * 32))
        self.issue(0)

    def issue(self, tag: int, chain: ProvingChain | None = None) -> Hash32:
        """Anchor a certificate; return its hash."""
        (entry,) = entries(1, tag=tag)
        (chain or self.chain).issue(self.ca, [entry])
        return entry.certificate_hash

    def checkpoint(self, block: Block | None = None) -> Checkpoint:
        seen = block or self.chain.head
        return Checkpoint(self.chain.domain.id, seen.number, seen.hash, Hash32.zero())

    def place(self, witness: Witnessing) -> Path:
        return self.folder / witness.name

    def sign(self, *who: int, seen: Checkpoint | None = None) -> Checkpoint:
        """Have witnesses sign and publish the chain's head, or something else."""
        checkpoint = seen or self.checkpoint()
        for number in who:
            self.witnesses[number].publishes(self.place(self.witnesses[number]), checkpoint)
        return checkpoint

    def look(self, *tells: Tell) -> Observation:
        """Look as the agent does, at three endpoints of which two must agree."""
        named = tuple(Witness(w.key, str(self.place(w))) for w in self.witnesses)
        config = DeviceConfig(
            domain=self.chain.domain.id,
            rpc=("unused",),
            access=Access(console_access=True),
            chain=Finality(authority_finality="latest"),
            witnesses=Witnesses(named, 2, self.mode),
        )
        assert config.witnesses is not None
        asked = sources(self.chain, *(tells or (truth, truth, truth)))

        class Asking(Vouching):
            def connect(self, checkpoint: Checkpoint) -> Connection:
                panel = SignedPanel(asked, checkpoint, self.said(checkpoint))
                return read_signed(panel, config.domain)

        def connect() -> Connection:
            proven = ProvenReader(Panel(asked, 2, 31337))
            return Connection(proven, fetch_domain(proven, config.domain), proven.evidence)

        vouching = Asking(config.witnesses, config.domain, config.rpc, self.folder / ARCHIVE)
        with self._state() as state:

            def observe_by(chain: Connection, config: DeviceConfig) -> Observation:
                return observe(
                    chain.reader,
                    chain.domain,
                    config,
                    self.keys,
                    [],
                    state,
                    OpenedBundles(self.folder / "bundles", self.folder / "keys"),
                    self.now,
                )

            self.before, self.evidence = vouching.observe(
                config, self.keys.address, connect, observe_by, state, self.before, self.now
            )
        return self.before

    @contextmanager
    def _state(self) -> Iterator[AgentState]:
        (self.folder / "agent").mkdir(exist_ok=True)
        with open_state(self.folder / "agent") as state:
            yield state

    def fork(self) -> ProvingChain:
        """Return a chain that is this one so far, for a liar to go on with."""
        return copy.deepcopy(self.chain)


@pytest.fixture
def world(tmp_path: Path, mode: Mode) -> World:
    return World(tmp_path, mode)


def served(chain: FakeChain) -> Tell:
    """An endpoint of another chain."""
    return lambda call, answer: chain.call(call.method, call.params)


def hashes(seen: Observation) -> list[Hash32]:
    return [known.entry.certificate_hash for known in seen.known]


def first_of(world: World) -> Hash32:
    return entries(1, tag=0)[0].certificate_hash


def said(world: World) -> str:
    """Look, and return what is not as it should be."""
    try:
        return "; ".join(world.look().problems)
    except CouldNotCheck as error:
        return error.message


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# --- the truth ------------------------------------------------------------------------------------


@MODES
class TestTheTruth:
    def test_counts_up_to_the_block_that_enough_signed(self, world: World) -> None:
        world.sign(0, 1)
        second = world.issue(1)
        seen = world.look()
        assert hashes(seen) == [first_of(world)]
        assert seen.problems == ()
        world.sign(1, 2)
        assert hashes(world.look()) == [first_of(world), second]
        assert world.evidence is not None
        assert "2 of 3 witnesses signed block" in str(world.evidence)
        assert world.evidence.level == "proven"

    def test_a_new_ca_counts_at_the_witnesses_block(self, world: World) -> None:
        world.sign(0, 1)
        new = world.chain.register(spki_of(THIEF.public_key()))
        assert new not in world.look().snapshot.authorities
        world.sign(0, 1)
        assert new in world.look().snapshot.authorities

    def test_one_witness_is_not_enough(self, world: World) -> None:
        world.sign(0)
        with pytest.raises(CouldNotCheck, match="no block that 2 of 3 witnesses signed"):
            world.look()

    def test_silent_witnesses_only_delay(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        for witness in world.witnesses:
            for path in files_in(world.place(witness)):
                path.unlink()
        second = world.issue(1)
        if world.mode is Mode.INSTEAD:
            with pytest.raises(CouldNotCheck, match="no block that 2 of 3"):
                world.look()
        else:
            seen = world.look()
            assert hashes(seen) == [first_of(world)]
            assert any("no block that 2 of 3 witnesses signed" in p for p in seen.problems)
        world.sign(0, 2)
        assert hashes(world.look()) == [first_of(world), second]

    def test_one_honest_endpoint_serves_the_state(self, world: World) -> None:
        world.sign(0, 1)

        def forging(call: Call, answer: Callable[[], object]) -> object:
            return {} if call.method == "eth_getProof" else answer()

        assert hashes(world.look(forging, forging, truth)) == [first_of(world)]


class TestRemovals:
    """Beside endpoints, what these show at their newest block is taken away at once."""

    @pytest.fixture
    def mode(self) -> Mode:
        return Mode.BESIDE

    def test_a_revocation_acts_before_any_witness_saw_it(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        world.chain.revoke(world.ca, [1])
        assert world.look().snapshot.authorities[world.ca].is_revoked(1)

    def test_and_where_the_witnesses_are_silent(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        for witness in world.witnesses:
            for path in files_in(world.place(witness)):
                path.unlink()
        world.chain.revoke(world.ca, [1])
        assert world.look().snapshot.authorities[world.ca].is_revoked(1)

    def test_so_does_a_suspension_and_its_end_waits(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        world.chain.set_state(world.ca, AuthorityState.SUSPENDED)
        assert not world.look().snapshot.authorities[world.ca].state.is_trusted
        world.sign(0, 1)
        world.chain.set_state(world.ca, AuthorityState.ACTIVE)
        assert not world.look().snapshot.authorities[world.ca].state.is_trusted
        world.sign(0, 1)
        assert world.look().snapshot.authorities[world.ca].state.is_trusted

    def test_and_a_device_that_is_one_no_more(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        slot = layout.device_slots(world.keys.address)[1]
        world.chain.put(world.chain.domain.devices, slot, DeviceState.RETIRED | 1 << 8)
        world.chain.mine()
        record = world.look().snapshot.devices[world.keys.address]
        assert record.state is DeviceState.RETIRED

    def test_the_newest_block_is_what_freshness_goes_by(self, world: World) -> None:
        signed = world.sign(0, 1)
        world.issue(1)
        seen = world.look()
        assert seen.snapshot.block == world.chain.head
        assert seen.snapshot.block.number > signed.number

    def test_an_old_witnesses_block_is_reported(self, world: World) -> None:
        world.sign(0, 1)
        world.now = START + timedelta(hours=25)
        assert any("older than allowed" in problem for problem in world.look().problems)


# --- lies -----------------------------------------------------------------------------------------


@MODES
class TestLies:
    def test_a_forged_signature_counts_for_nothing(self, world: World) -> None:
        world.sign(0)
        impostor = Witnessing("b")
        impostor.publishes(world.place(world.witnesses[1]), world.checkpoint())
        with pytest.raises(CouldNotCheck, match="b: "):
            world.look()
        note = world.witnesses[1].note(world.checkpoint())
        path = world.place(world.witnesses[1]) / folder_of(world.chain.domain.id) / LATEST
        path.write_bytes(note[:-10] + b"AAAAAAAA=\n")
        with pytest.raises(CouldNotCheck, match="no block that 2 of 3"):
            world.look()
        world.sign(1)
        assert hashes(world.look()) == [first_of(world)]

    def test_a_checkpoint_of_another_domain_counts_for_nothing(self, world: World) -> None:
        world.sign(0)
        seen = world.checkpoint()
        other = replace(seen, domain=replace(seen.domain, chain_id=1))
        note = world.witnesses[1].note(other)
        place = world.place(world.witnesses[1]) / folder_of(seen.domain)
        place.mkdir(parents=True)
        (place / LATEST).write_bytes(note)
        with pytest.raises(CouldNotCheck, match="another trust domain"):
            world.look()

    def test_fewer_than_needed_and_every_endpoint_get_nothing_in(self, world: World) -> None:
        """A thief of wallet and CA key, all endpoints, and one of the witnesses."""
        world.sign(0, 1, 2)
        world.look()
        lying = world.fork()
        stolen = world.issue(9, lying)
        lying.mine()
        world.sign(2, seen=world.checkpoint(lying.head))
        seen = world.look(*[served(lying)] * 3)
        assert stolen not in hashes(seen)
        # and the truth is believed afterwards
        true = world.issue(1)
        world.chain.mine()
        world.chain.mine()
        world.sign(0, 1)
        assert hashes(world.look()) == [first_of(world), true]

    def test_a_lie_about_the_state_of_the_block_that_was_signed(self, world: World) -> None:
        """All endpoints agree on the witnesses' block, and hold up another state for it."""
        lying = world.fork()
        stolen = world.issue(9, lying)
        world.sign(0, 1, 2)

        def tell(call: Call, answer: Callable[[], object]) -> object:
            if call.method in ("eth_getProof", "eth_getStorageAt"):
                at = {"blockHash": str(lying.head.hash)}
                return lying.call(call.method, [*call.params[:2], at])
            if call.method == "eth_getLogs":
                return lying.call(call.method, call.params)
            return answer()

        with pytest.raises(CouldNotCheck):
            world.look(tell, tell, tell)
        seen = world.look()
        assert stolen not in hashes(seen)
        assert hashes(seen) == [first_of(world)]

    def test_endpoints_that_prove_nothing_get_nothing_in(self, world: World) -> None:
        """With a quorum alone their word would do; it does not where witnesses are asked."""
        world.sign(0, 1, 2)

        def tell(call: Call, answer: Callable[[], object]) -> object:
            if call.method == "eth_getProof":
                raise RpcError("rpc", call.method, -32601, "method not found")
            return answer()

        with pytest.raises(CouldNotCheck, match="no endpoint proves the state"):
            world.look(tell, tell, tell)

    def test_who_contradicts_itself_counts_no_more(self, world: World) -> None:
        checkpoint = world.sign(0, 1)
        world.look()
        world.sign(1, seen=replace(checkpoint, state_digest=Hash32(b"\1" * 32)))
        second = world.issue(1)
        assert "b signed two different checkpoints" in said(world)
        world.sign(0, 1)
        assert "no block that 2 of 3 witnesses signed" in said(world)
        world.sign(2)
        seen = world.look()
        assert hashes(seen) == [first_of(world), second]
        assert any("b signed two different checkpoints" in p for p in seen.problems)
        assert any(str(world.folder / ARCHIVE) in p for p in seen.problems)

    def test_a_replayed_checkpoint_takes_nothing_back(self, world: World) -> None:
        old = world.sign(0, 1)
        world.look()
        world.issue(1)
        world.chain.revoke(world.ca, [1])
        for _ in range(2):
            world.chain.mine()
            world.sign(0, 1)
            world.look()
        world.sign(0, 1, seen=old)
        assert "already final" in said(world)
        assert world.before is not None
        assert len(world.before.known) == 2
        assert world.before.snapshot.authorities[world.ca].is_revoked(1)
        world.sign(0, 1)
        assert len(world.look().known) == 2

    def test_a_number_that_is_not_the_block_s_is_noticed(self, world: World) -> None:
        wrong = replace(world.checkpoint(), number=world.chain.head.number - 1)
        world.sign(0, 1, seen=wrong)
        with pytest.raises(CouldNotCheck, match=r"and it is|disagree"):
            world.look()


class TestDisagreement:
    @pytest.fixture
    def mode(self) -> Mode:
        return Mode.BESIDE

    def test_of_witnesses_and_endpoints_is_loud_and_nothing_new_counts(self, world: World) -> None:
        world.sign(0, 1)
        world.look()
        lying = world.fork()
        stolen = world.issue(9, lying)
        lying.mine()
        world.issue(1)
        world.chain.revoke(world.ca, [1])
        # k witnesses that lie together, and honest endpoints
        world.sign(0, 1, seen=world.checkpoint(lying.head))
        seen = world.look()
        assert stolen not in hashes(seen)
        assert hashes(seen) == [first_of(world)]
        assert any("witnesses and endpoints disagree" in problem for problem in seen.problems)
        assert seen.snapshot.authorities[world.ca].is_revoked(1)
        world.chain.mine()
        world.sign(0, 1)
        assert len(world.look().known) == 2
